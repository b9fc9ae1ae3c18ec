"""Every fault of a training file is found with its line, and none where there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import InputError
from penstock.outputs.finetune.check import CheckReport, check_files
from penstock.outputs.finetune.checks import check_example
from penstock.outputs.finetune.faults import ERRORS, WARNINGS
from penstock.outputs.finetune.limits import SUFFIX_2024, Rules
from penstock.outputs.finetune.lines import read_lines
from penstock.outputs.finetune.report import as_dict, as_lines
from penstock.outputs.finetune.shapes import plain_example, read_object
from penstock.sandbox.training_data import BadTrainingFile, check_training_file

SYSTEM = {"role": "system", "content": "You answer support tickets."}
SEES = Rules.of("gpt-4o-2024-08-06", tokens=False)


def chat(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [SYSTEM, *messages], **more}


def user(text: Any = "Where is my parcel?") -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: Any = "It left our house on Monday and arrives within three days.", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def good(number: int) -> dict[str, Any]:
    return chat(user(f"Question {number}: where is it?"), answer(f"Parcel {number} left our house, and is on its way."))


def tool(name: str = "find", **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}, **function}}


def call(number: str = "c1", name: str = "find", arguments: str = "{}") -> dict[str, Any]:
    return {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}


def image(url: Any, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


PICTURE = image("https://example.com/a.png")
BIG = image("data:image/png;base64," + "A" * (15 * 1024 * 1024))
ONE = '{"messages": [{"role": "user", "content": "%s"}, {"role": "assistant", "content": "%s"}]}'
HALF = ONE % ("a \\ud83d", "One half of a pair is no character at all.")
TWICE = ONE % ('a", "content": "b', "One of two contents is lost without a word.")
SAME = chat(user("What do you sell at the moment?"), answer("We sell parcels of all sizes, small and large."))
LONG = (
    "The man who brought it rang at the door of the neighbours on the left, left a brown box with them, and drove on. "
    "They say that nothing was in it but paper. What has become of the lamp that I have paid for?"
)
NEAR = chat(user(LONG), answer("It was left with Mrs Orchard, who lives next door."))

# A line each: what it is and the codes that are found in it, no others.
PLANTED: list[tuple[Any, set[str]]] = [
    (b'{"messages": "\xff\xfe"}', {"not_utf8"}),
    (b"", {"blank_line"}),
    (b"  \t\r", {"blank_line"}),
    ("{'messages': []}", {"not_json"}),
    ('{"messages": [NaN]}', {"not_json"}),
    ("[" * 100_000, {"not_json"}),
    ("[1, 2]", {"not_object"}),
    (TWICE, {"duplicate_key"}),
    (TWICE.replace('"content": "a"', '"content" : "a"').replace('"b"', '"d"'), {"duplicate_key"}),
    (HALF, {"bad_text"}),
    ({"prompt": "a", "completion": "b"}, {"legacy_format"}),
    ({"input": {"messages": [SYSTEM, user("mixed")]}, "preferred_output": [answer("yes, that is all that we have")],
      "non_preferred_output": [answer("no")]}, {"mixed_formats"}),
    (chat(user("k1"), answer(), metadata={}), {"unknown_key"}),
    ({"tools": [tool()]}, {"no_messages"}),
    ({"messages": {"role": "user"}}, {"bad_messages"}),
    ({"messages": []}, {"empty_messages"}),
    (chat("hello", answer()), {"message_not_object"}),
    (chat({"role": "bot", "content": "r1"}, answer()), {"unknown_role"}),
    (chat({"content": "r2"}, answer()), {"missing_role"}),
    (chat({**user("k2"), "recipient": "all"}, answer()), {"unknown_message_key"}),
    (chat({"role": "user"}, answer()), {"missing_content"}),
    (chat(user("n1"), answer(None)), {"null_content"}),
    (chat(user(17), answer("Seventeen is no question that we can answer.")), {"bad_content"}),
    (chat(user([]), answer("It is on its way to you, and has been since Monday.")), {"bad_content"}),
    (chat(user("e1"), answer(" ")), {"empty_answer"}),
    (chat(user([{"type": "text"}]), answer("A text part without its text has nothing to say to us.")),
     {"bad_part"}),
    (chat({**user("m1"), "name": 7}, answer()), {"bad_name"}),
    (chat(user("w1"), answer(weight=0.5)), {"bad_weight"}),
    (chat(user("w2"), answer(weight=True)), {"bad_weight"}),
    (chat({**user("w3"), "weight": 1}, answer()), {"weight_not_assistant"}),
    (chat(user("w4"), answer(weight=0)), {"nothing_to_train"}),
    (chat(user("a1 is a question without an answer in this file")), {"no_assistant"}),
    (chat(user("l1"), answer(), user("and this is one message too many for it")), {"last_not_assistant"}),
    (chat(user("t1 <|im_start|>"), answer()), {"reserved_token"}),
    (chat(user("f1"), answer(), tools={}), {"bad_tools"}),
    (chat(user("f2"), answer(), tools=[{"name": "find"}]), {"bad_tools"}),
    (chat(user("f3"), answer(), tools=[tool("find it")]), {"bad_tool_name"}),
    (chat(user("f4"), answer(), tools=[tool(), tool()]), {"duplicate_tool"}),
    (chat(user("f5"), answer(), tools=[tool(parameters={"type": "object", "properties": {"a": {"type": "txt"}}})]),
     {"bad_tool_schema"}),
    (chat(user("f6"), answer(), tools=[tool(parameters={"type": "array"})]), {"bad_tool_schema"}),
    (chat(user("f7"), answer(), tools=[tool()], parallel_tool_calls=1), {"bad_parallel_tool_calls"}),
    (chat(user("c1"), answer(None, tool_calls=[{"id": "c1"}])), {"bad_tool_calls"}),
    (chat(user("c2"), answer(None, tool_calls=[call(arguments="{")]), tools=[tool()]), {"arguments_not_json"}),
    (chat(user("c3"), answer(None, tool_calls=[call()])), {"undeclared_tool"}),
    (chat(user("c4"), {"role": "tool", "content": "12"}, answer()), {"missing_tool_call_id"}),
    (chat(user("c5"), {"role": "tool", "content": "12", "tool_call_id": "c9"}, answer()), {"tool_without_call"}),
    (chat(user("c6"), answer(None, tool_calls=[call()]), answer(), tools=[tool()]), {"call_without_answer"}),
    (chat({**user("c7"), "tool_calls": [call()]}, answer(), tools=[tool()]),
     {"tool_calls_not_assistant", "call_without_answer"}),
    (chat(user("i1"), answer([PICTURE, {"type": "text", "text": "Here it is, as you have asked me for."}])),
     {"image_not_user"}),
    (chat(user([image("ftp://example.com/a.png")]), answer()), {"bad_image"}),
    (chat(user([image("data:image/gif;base64,AAAA")]), answer()), {"bad_image"}),
    (chat(user([image("https://example.com/a.png", detail="best")]), answer()), {"bad_image"}),
    (chat(user([BIG]), answer()), {"image_too_large"}),
    (chat(user([PICTURE] * 11), answer()), {"too_many_images"}),
    ({"messages": [user("s1"), answer("Nobody has told us how we should speak in this one.")]}, {"no_system"}),
    (chat(user("s2"), answer("No")), {"short_answer"}),
    (chat(user(""), answer("You have asked me nothing, so there is no answer.")), {"empty_content"}),
    (SAME, set()),
    (SAME, {"duplicate"}),
    (chat(user("What do you sell at the moment?"), answer("We sell nothing at all, and never have sold anything.")),
     {"contradiction"}),
    (chat(user("My key is sk-" + "a1" * 20), answer("Thank you, I shall forget it at once.")), {"secret"}),
    (NEAR, set()),
    (chat(user(LONG.replace("brown", "black")), answer("It was left with Mrs Orchard, who lives next door.")),
     {"near_duplicate"}),
    (chat(user("p1"), answer("Write to ann.archer@example.org, and she will see to it.")), {"personal_mail"}),
    (chat(user("p2"), answer("Ring +44 20 7946 0018, and somebody will see to it soon.")), {"personal_phone"}),
    (chat(user("It was paid for with 4111 1111 1111 1111, I am sure."), answer()), {"personal_card"}),
    (chat(user("Please pay it back to GB29 NWBK 6016 1331 9268 19 today."), answer()), {"personal_iban"}),
    (chat(user("It comes from 203.0.113.77, as far as we can see."), answer()), {"personal_ip"}),
]  # fmt: skip


def encoded(line: Any) -> bytes:
    if isinstance(line, bytes):
        return line
    return (line if isinstance(line, str) else json.dumps(line)).encode()


def write(path: Path, lines: list[Any]) -> Path:
    path.write_bytes(b"".join(encoded(line) + b"\n" for line in lines))
    return path


def codes_by_line(report: CheckReport) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for problem in report.training.found.problems():
        found.setdefault(problem.line, set()).add(problem.code)
    return found


def codes(report: CheckReport) -> set[str]:
    return {code for found in report.founds for code in found.counts if found.counts[code]}


def test_every_planted_fault_is_found_on_its_line_and_no_other(tmp_path: Path) -> None:
    lines: list[Any] = [good(number) for number in range(150)]
    wanted: dict[int, set[str]] = {}
    for place, (line, expected) in enumerate(PLANTED):
        lines.append(line)
        if expected:
            wanted[len(lines)] = expected
        lines.append(good(1000 + place))
    report = check_files(write(tmp_path / "train.jsonl", lines), rules=SEES, most=None)
    assert codes_by_line(report) == wanted
    assert len(set().union(*wanted.values())) >= 40


def test_all_faults_of_one_line_are_told(tmp_path: Path) -> None:
    bad = {"messages": [{"role": "bot", "content": None, "x": 1}, answer(weight=3)], "y": 2}
    report = check_files(write(tmp_path / "t.jsonl", [*map(good, range(20)), bad]), rules=SEES)
    assert codes_by_line(report)[21] == {"unknown_role", "null_content", "unknown_message_key", "bad_weight",
                                         "unknown_key"}  # fmt: skip


def test_every_code_has_a_test(tmp_path: Path) -> None:
    elsewhere = {
        "byte_order_mark", "line_too_long", "missing_input", "missing_output", "output_not_assistant", "same_outputs",
        "input_ends_with_assistant", "image_not_taken", "over_context", "too_few_examples", "file_too_large",
        "too_many_image_examples", "suffix_too_long", "suffix_empty", "file_name", "leak", "leak_prompt",
        "leak_near", "leak_group", "flagged", "not_moderated", "format_not_taken", "over_context_estimated",
    }  # fmt: skip
    assert set().union(*(expected for _, expected in PLANTED)) | elsewhere == ERRORS.keys() | WARNINGS.keys()


def test_a_clean_file_has_no_problem(tmp_path: Path) -> None:
    with_tool = chat(
        user("Find parcel 7"),
        answer(None, tool_calls=[call()], weight=0),
        {"role": "tool", "content": "", "tool_call_id": "c1"},
        answer("Parcel 7 is on its way to you, and arrives on Monday.", weight=1),
        tools=[tool()],
        parallel_tool_calls=False,
    )
    with_tool["messages"][3]["content"] = "on its way"
    seen = chat(user([{"type": "text", "text": "What is it?"}, PICTURE]), answer("A parcel, brown and rather heavy."))
    lines = [*map(good, range(20)), with_tool, seen]
    path = write(tmp_path / "t.jsonl", lines)
    valid = write(tmp_path / "v.jsonl", [good(90)])
    report = check_files(path, valid, rules=Rules.of("gpt-4o-2024-08-06"), suffix="support")
    assert codes(report) == set()
    assert (report.errors, report.warnings, report.training.statistics.examples) == (0, 0, 22)


def test_line_ends_of_other_systems_and_a_missing_last_one_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"\r\n".join(encoded(good(number)) for number in range(12)))
    assert codes(check_files(path, rules=SEES)) == set()


def test_a_byte_order_mark_is_found_and_the_first_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(encoded(good(number)) for number in range(12)))
    report = check_files(path, rules=SEES)
    assert codes_by_line(report) == {1: {"byte_order_mark"}}
    assert report.training.statistics.examples == 12


@pytest.mark.parametrize("head", [b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b\x08"])
def test_another_encoding_or_a_compressed_file_is_one_problem(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(head + b"\n\n\n")
    assert codes(check_files(path, rules=SEES)) == {"not_utf8", "too_few_examples"}


def preference(number: int, **changed: Any) -> dict[str, Any]:
    line = {
        "input": {"messages": [SYSTEM, user(f"Question {number}: where is my parcel?")]},
        "preferred_output": [answer(f"Parcel {number} is on its way to you.")],
        "non_preferred_output": [answer(f"I do not know where parcel {number} is.")],
    }
    return {key: value for key, value in (line | changed).items() if value is not None}


def test_preference_lines_have_their_own_faults(tmp_path: Path) -> None:
    faulty = {
        "missing_input": preference(21, input=None),
        "missing_output": preference(22, non_preferred_output=None),
        "output_not_assistant": preference(23, preferred_output=[user("Parcel 23 is on its way to me?")]),
        "input_ends_with_assistant": preference(24, input={"messages": [SYSTEM, user("24"), answer()]}),
        "same_outputs": preference(25, non_preferred_output=preference(25)["preferred_output"]),
        "mixed_formats": good(26),
        "no_messages": preference(27, input={}),
    }
    lines = [*(preference(number) for number in range(20)), *faulty.values()]
    report = check_files(write(tmp_path / "t.jsonl", lines), rules=SEES)
    assert codes_by_line(report) == {21 + place: {code} for place, code in enumerate(faulty)}
    assert report.training.form == "preference"


def test_images_are_refused_where_the_model_takes_none(tmp_path: Path) -> None:
    seen = chat(user([{"type": "text", "text": "What is it?"}, PICTURE]), answer("A parcel, brown and rather heavy."))
    path = write(tmp_path / "t.jsonl", [*map(good, range(20)), seen])
    assert codes_by_line(check_files(path)) == {21: {"image_not_taken"}}
    assert codes(check_files(path, rules=Rules.of(images=True))) == set()


def test_a_line_over_the_context_is_an_error_by_model_and_by_setting(tmp_path: Path) -> None:
    long = chat(user("where is " * 5000), answer())
    path = write(tmp_path / "t.jsonl", [*map(good, range(20)), long])
    assert codes(check_files(path)) == set()
    assert codes_by_line(check_files(path, rules=Rules.of("gpt-4-0613"))) == {21: {"over_context"}}
    assert codes_by_line(check_files(path, rules=Rules.of(context=9_000))) == {21: {"over_context"}}


def test_a_suffix_has_18_characters_in_2024_and_64_today(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [good(number) for number in range(12)])
    old = Rules.of(suffix_longest=SUFFIX_2024, tokens=False)
    assert codes(check_files(path, rules=old, suffix="a" * 18)) == set()
    assert codes(check_files(path, rules=old, suffix="a" * 19)) == {"suffix_too_long"}
    assert codes(check_files(path, rules=SEES, suffix="a" * 64)) == set()
    assert codes(check_files(path, rules=SEES, suffix="a" * 65)) == {"suffix_too_long"}
    assert codes(check_files(path, rules=SEES, suffix="")) == {"suffix_empty"}


def test_few_examples_a_large_file_and_another_name_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "t.json", [good(number) for number in range(9)])
    monkeypatch.setattr("penstock.outputs.finetune.file_check.LARGEST_FILE", 100)
    report = check_files(path, rules=SEES)
    assert codes_by_line(report) == {0: {"too_few_examples", "file_too_large", "file_name"}}


def test_too_many_examples_with_images_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [chat(user([{"type": "text", "text": f"What is {at}?"}, PICTURE]), answer()) for at in range(12)]
    monkeypatch.setattr("penstock.outputs.finetune.file_check.MOST_IMAGE_EXAMPLES", 11)
    assert codes(check_files(write(tmp_path / "t.jsonl", seen), rules=SEES)) == {"too_many_image_examples"}


def test_leaks_between_the_files_are_found_exact_and_by_normalised_prompt(tmp_path: Path) -> None:
    training = write(tmp_path / "t.jsonl", [good(number) for number in range(12)])
    asked = chat(user("QUESTION 5:  where is\nit?"), answer("Parcel 5 was lost, and nobody knows where it is now."))
    validation = write(tmp_path / "v.jsonl", [good(99), good(3), asked])
    report = check_files(training, validation, rules=SEES)
    assert report.validation is not None
    told = [(one.line, one.code) for one in report.validation.found.problems()]
    assert told == [(2, "leak"), (3, "leak_prompt")]
    assert "line 4 " in report.validation.found.kept["leak"][0].message
    assert report.errors == 0


def test_no_system_message_is_a_warning_only_against_most_others(tmp_path: Path) -> None:
    bare = [{"messages": good(number)["messages"][1:]} for number in range(12)]
    assert codes(check_files(write(tmp_path / "t.jsonl", bare), rules=SEES)) == set()


def test_short_answers_of_a_classifier_are_no_warning(tmp_path: Path) -> None:
    labels = [chat(user(f"Is parcel {number} late?"), answer("yes" if number % 2 else "no")) for number in range(20)]
    assert codes(check_files(write(tmp_path / "t.jsonl", labels), rules=SEES)) == set()


def test_all_problems_are_counted_and_the_first_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", ["{"] * 50)
    report = check_files(path, rules=SEES, most=3)
    assert report.training.found.counts["not_json"] == 50
    assert [one.line for one in report.training.found.kept["not_json"]] == [1, 2, 3]
    told = as_dict(report)["training"]["problems"][0]
    assert (told["count"], len(told["first"])) == (50, 3)
    assert any("and 47 more" in line for line in as_lines(report))


def test_a_key_is_never_printed(tmp_path: Path) -> None:
    key = "sk-" + "a1" * 20
    path = write(tmp_path / "t.jsonl", [{"messages": [{"role": key, "content": key}], key: 1}])
    report = check_files(path, rules=SEES)
    assert key not in json.dumps(as_dict(report)) + "\n".join(as_lines(report))


def test_a_file_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.jsonl cannot be read"):
        check_files(tmp_path / "none.jsonl")


def test_a_line_that_is_too_long_is_left_out_and_numbers_stay_right(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"a\n" + b"b" * 3_000_000 + b"\nc\n\n" + b"d" * 5_000_000)
    with path.open("rb") as file:
        assert list(read_lines(file, longest=2_000_000)) == [(1, b"a"), (2, None), (3, b"c"), (4, b""), (5, None)]


@given(st.lists(st.binary(max_size=20)), st.booleans())
def test_lines_are_those_of_the_file_whatever_is_in_it(tmp_path_factory: Any, pieces: list[bytes], ended: bool) -> None:
    lines = [piece.replace(b"\n", b"") for piece in pieces]
    path = tmp_path_factory.mktemp("lines") / "t"
    path.write_bytes(b"\n".join(lines) + (b"\n" if ended else b""))
    text = path.read_bytes()
    wanted = text.split(b"\n")[:-1] if text.endswith(b"\n") or not text else text.split(b"\n")
    with path.open("rb") as file:
        assert [line for _, line in read_lines(file)] == wanted


TEXTS = st.text(st.sampled_from('ab "\\:{}\t\n<|é\ud83d'), max_size=8)
KEYS = st.sampled_from(["role", "content", "messages", "weight", "name", 'a"', "b\\"])
VALUES = st.recursive(
    st.none() | st.sampled_from(["user", "assistant", "system"]) | TEXTS | st.integers(0, 2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)
MESSAGES = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "x"]), "content": TEXTS | VALUES})
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :"), (",\t", "\t:"), (",", "  :")])


@given(st.lists(MESSAGES, max_size=3), SEPARATORS, st.booleans())
def test_the_fast_way_takes_no_line_that_the_exact_one_refuses(
    messages: list[Any], separators: tuple[str, str], ascii_only: bool
) -> None:
    text = json.dumps({"messages": messages}, separators=separators, ensure_ascii=ascii_only)
    line = text.encode("utf-8", "surrogatepass")
    if plain_example(line) is not None:
        value, problems = read_object(line, 1)
        assert not problems
        assert list(check_example(value, "chat", SEES)) == []


@given(st.lists(st.tuples(KEYS, VALUES), max_size=4), SEPARATORS)
def test_a_key_that_stands_twice_is_found_however_it_is_written(
    pairs: list[tuple[str, Any]], separators: tuple[str, str]
) -> None:
    comma, colon = separators
    members = [json.dumps(key) + colon + json.dumps(value, separators=separators) for key, value in pairs]
    line = ("{" + comma.join(members) + "}").encode()
    _, problems = read_object(line, 1)
    keys = [key for key, _ in pairs]
    assert ("duplicate_key" in {problem.code for problem in problems}) == (len(set(keys)) < len(keys))


def nested(depth: int) -> str:
    return '{"messages": [{"role": "user", "content": "a"}], "tools": ' + "[" * depth + "]" * depth + "}"


def deep_schema(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return chat(user(f"deep {depth}"), answer(), tools=[tool(parameters=schema)])


@pytest.mark.parametrize("depth", [10, 60, 200, 320, 480, 900, 950, 980, 995, 2000])
def test_deep_nesting_and_large_numbers_end_in_a_problem_and_not_in_a_crash(tmp_path: Path, depth: int) -> None:
    lines = [
        nested(depth),
        json.dumps(deep_schema(min(depth, 300))),
        {"messages": [{"role": 10**40, "content": 1e300}]},
    ]
    lines += ['{"messages": [], "tools": [' + "9" * 50 + "]}", '{"messages": 1e999}', '{"tools": "\\ud800"}']
    report = check_files(write(tmp_path / "t.jsonl", lines), rules=SEES, most=None)
    assert {1, 3, 4, 5, 6} <= codes_by_line(report).keys()


MUTATED = st.sampled_from([json.dumps(good(1)), json.dumps(preference(2)), *(encoded(line).decode("latin-1")
                           for line, _ in PLANTED if len(encoded(line)) < 2_000)])  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(MUTATED, st.integers(0, 400), st.integers(0, 9), st.text(max_size=3)), max_size=4))
def test_whatever_a_file_holds_is_told_without_a_crash(tmp_path: Path, cuts: list[tuple[str, int, int, str]]) -> None:
    lines = [(line[:at] + put + line[at + gone :]).encode("utf-8", "replace") for line, at, gone, put in cuts]
    report = check_files(write(tmp_path / "t.jsonl", lines), rules=Rules.of("gpt-4o"))
    assert json.loads(json.dumps(as_dict(report)))["errors"] == report.errors > 0
    assert list(as_lines(report))


@pytest.mark.parametrize("place", range(len(PLANTED)))
def test_what_the_service_refuses_is_an_error_here(tmp_path: Path, place: int) -> None:
    path = write(tmp_path / "t.jsonl", [*map(good, range(12)), PLANTED[place][0]])
    try:
        check_training_file(path, "supervised")
    except BadTrainingFile:
        assert check_files(path, rules=SEES).errors > 0
