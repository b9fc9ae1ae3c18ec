"""The output `finetune`: rows become training lines in sets, and a row that makes none is refused with its cause."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from penstock.errors import InputError
from penstock.outputs import Origin, Prepared
from penstock.outputs.finetune.check import check_files
from penstock.outputs.finetune.faults import ERRORS
from penstock.outputs.finetune.output import FineTune
from penstock.outputs.finetune.sets import SetRows

ASK = {"role": "user", "content": "{{ question }}"}
TELL = {"role": "assistant", "content": "{{ answer }}"}
MODEL = "gpt-4o-mini-2024-07-18"


def output(folder: Path, **fields: Any) -> FineTune:
    given: dict[str, Any] = {"uses": "finetune", "path": str(folder / "out"), "model": MODEL, **fields}
    if "messages_column" not in fields:
        given.setdefault("messages", [ASK, TELL])
    return FineTune.model_validate(given)


def parts(folder: Path, rows: list[dict[str, Any]], size: int = 7) -> list[Path]:
    """The rows as parts of `size` rows each."""
    made: list[Path] = []
    frame = pl.DataFrame(rows, infer_schema_length=None)
    for place in range(0, len(frame), size):
        made.append(folder / f"part-{place}.parquet")
        frame[place : place + size].write_parquet(made[-1])
    return made


def prepared(folder: Path, made: FineTune, rows: list[dict[str, Any]], keys: tuple[str, ...] = ("id",)) -> Prepared:
    return made.prepare(parts(folder, rows), keys, folder / "scratch")


def lines(folder: Path, name: str = "train") -> list[dict[str, Any]]:
    (file,) = (folder / "out").glob(f"{name}-*.jsonl")
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def rows(count: int = 12) -> list[dict[str, Any]]:
    return [{"id": f"r{n}", "question": f"What is {n}?", "answer": f"It is the number {n}."} for n in range(count)]


def refused(ready: Prepared) -> dict[str, str]:
    assert ready.refused is not None
    return dict(ready.refused.select("id", "message").iter_rows())


def test_each_row_is_a_line_in_its_order(tmp_path: Path) -> None:
    published = prepared(tmp_path, output(tmp_path), rows()).publish(Origin())
    assert published.rows == 12
    assert [line["messages"][1]["content"] for line in lines(tmp_path)] == [row["answer"] for row in rows()]


def test_the_same_rows_give_the_same_files_however_they_are_cut(tmp_path: Path) -> None:
    found = []
    for size in (3, 100):
        folder = tmp_path / str(size)
        folder.mkdir()
        ready = output(folder).prepare(parts(folder, rows(), size), ("id",), folder / "scratch")
        ready.publish(Origin(run=str(size)))
        found.append({file.name: file.read_bytes() for file in (folder / "out").glob("*.jsonl")})
    assert found[0] == found[1]


def test_a_row_with_a_blank_answer_is_refused_and_the_others_are_written(tmp_path: Path) -> None:
    blank = [{"id": "blank", "question": "And?", "answer": " "}, {"id": "null", "question": "?", "answer": None}]
    given = [*rows(), *blank]
    ready = prepared(tmp_path, output(tmp_path), given)
    assert set(refused(ready)) == {"blank", "null"}
    assert "message 2 (assistant) is blank" in refused(ready)["blank"]
    assert ready.refused is not None
    assert ready.refused.select("partition", "number").rows() == [(1, 5), (1, 6)]
    assert ready.publish(Origin()).rows == 12


def test_a_row_that_the_service_would_refuse_is_refused(tmp_path: Path) -> None:
    given = [*rows(), {"id": "reserved", "question": "say <|im_start|>", "answer": "No."}]
    ready = prepared(tmp_path, output(tmp_path), given)
    assert "<|im_start|> is reserved" in refused(ready)["reserved"]


def test_a_row_of_more_tokens_than_the_model_trains_on_is_refused(tmp_path: Path) -> None:
    given = [*rows(), {"id": "long", "question": "word " * 200, "answer": "No."}]
    ready = prepared(tmp_path, output(tmp_path, context=100), given)
    assert "trains on 100 of an example" in refused(ready)["long"]


def test_a_message_without_its_condition_is_left_out(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "{{ hint }}", "when": "hint IS NOT NULL"}, ASK, TELL]
    given = [{**row, "hint": "Be brief." if place % 2 else None} for place, row in enumerate(rows())]
    prepared(tmp_path, output(tmp_path, messages=messages), given).publish(Origin())
    assert [len(line["messages"]) for line in lines(tmp_path)] == [2, 3] * 6


def test_rows_of_a_conversation_make_one_line_in_the_order_of_a_column(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "About {{ ticket }}."},
        {"role": "user", "content": "{{ text }}", "when": "speaker = 'customer'"},
        {"role": "assistant", "content": "{{ text }}", "when": "speaker = 'agent'"},
    ]
    given = [
        {"id": f"{ticket}-{turn}", "ticket": ticket, "at": turn, "speaker": speaker, "text": f"{ticket} says {turn}"}
        for turn, speaker in [(3, "agent"), (0, "customer"), (2, "customer"), (1, "agent")]
        for ticket in [f"t{n}" for n in range(11)]
    ]
    made = output(tmp_path, messages=messages, conversation={"by": "ticket", "order_by": "at"})
    published = prepared(tmp_path, made, given).publish(Origin())
    assert published.rows == 44
    found = lines(tmp_path)
    assert len(found) == 11
    assert [(one["role"], one["content"]) for one in found[2]["messages"]] == [
        ("system", "About t2."), ("user", "t2 says 0"), ("assistant", "t2 says 1"), ("user", "t2 says 2"),
        ("assistant", "t2 says 3"),
    ]  # fmt: skip
    (beside,) = (tmp_path / "out").glob("train-*.rows.parquet")
    assert SetRows(beside).row(3) == "id t2-0; id t2-1; id t2-2 and 1 more"


def test_every_row_of_a_conversation_without_an_answer_is_refused_unless_it_is_trimmed(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "{{ text }}", "when": "speaker = 'customer'"},
        {"role": "assistant", "content": "{{ text }}", "when": "speaker = 'agent'"},
    ]
    given = [
        {"id": f"{n}-{turn}", "ticket": n, "speaker": speaker, "text": f"{n} {turn}"}
        for n in range(10)
        for turn, speaker in enumerate(["customer", "agent", "customer"])
    ]
    strict = output(tmp_path, messages=messages, conversation={"by": "ticket"})
    assert len(refused(prepared(tmp_path, strict, given))) == 30
    trimmed = output(tmp_path, messages=messages, conversation={"by": "ticket", "trim": True})
    ready = prepared(tmp_path, trimmed, given)
    assert ready.refused is None
    ready.publish(Origin())
    assert {len(line["messages"]) for line in lines(tmp_path)} == {2}


def test_sets_come_from_a_column_and_a_value_of_none_is_refused(tmp_path: Path) -> None:
    names = ["train"] * 10 + ["validation", "test"]
    given = [{**row, "set": name} for row, name in zip(rows(), names, strict=True)]
    ready = prepared(tmp_path, output(tmp_path, sets=["train", "validation"]), given)
    assert refused(ready) == {"r11": "the value 'test' of 'set' is none of `sets`: train, validation"}
    ready.publish(Origin())
    assert [len(lines(tmp_path, name)) for name in ("train", "validation")] == [10, 1]


def test_tools_calls_and_weights_stand_in_the_line(tmp_path: Path) -> None:
    tool = {"name": "find", "parameters": {"type": "object", "properties": {"id": {"type": "string"}}}}
    messages = [
        ASK,
        {"role": "assistant", "tool_calls": "calls", "weight": 0},
        {"role": "tool", "content": "{{ found }}", "tool_call_id": "c1"},
        {**TELL, "weight": "weight"},
    ]
    calls = [{"id": "c1", "name": "find", "arguments": '{"id": "7"}'}]
    given = [{**row, "calls": calls, "found": "seven", "weight": 1} for row in rows()]
    prepared(tmp_path, output(tmp_path, messages=messages, tools=[tool]), given).publish(Origin())
    line = lines(tmp_path)[0]
    assert line["tools"] == [{"type": "function", "function": tool}]
    assert line["messages"][1] == {
        "role": "assistant",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"id": "7"}'}}],
        "weight": 0,
    }
    assert (line["messages"][2]["tool_call_id"], line["messages"][3]["weight"]) == ("c1", 1)


def test_an_image_file_stands_in_the_line_and_a_missing_one_refuses_the_row(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 20)
    ask = {"role": "user", "content": [{"text": "What is it?"}, {"image": "{{ photo }}", "detail": "low"}]}
    given = [{**row, "photo": "a.png" if place else "gone.png"} for place, row in enumerate(rows())]
    made = output(tmp_path, model="gpt-4o-2024-08-06", messages=[ask, TELL], image_folder=str(tmp_path))
    ready = prepared(tmp_path, made, given)
    assert "gone.png cannot be read" in refused(ready)["r0"]
    ready.publish(Origin())
    part = lines(tmp_path)[0]["messages"][0]["content"][1]
    assert part["image_url"]["url"].startswith("data:image/png;base64,iVBOR")


def test_preferences_have_two_answers(tmp_path: Path) -> None:
    given = [{**row, "worse": "No idea."} for row in rows()]
    made = output(tmp_path, messages=[ASK], preferred_output="{{ answer }}", non_preferred_output="{{ worse }}")
    prepared(tmp_path, made, given).publish(Origin())
    assert lines(tmp_path)[1] == {
        "input": {"messages": [{"role": "user", "content": "What is 1?"}]},
        "preferred_output": [{"role": "assistant", "content": "It is the number 1."}],
        "non_preferred_output": [{"role": "assistant", "content": "No idea."}],
    }


def test_a_problem_of_the_check_names_line_and_row(tmp_path: Path) -> None:
    given = [*rows(), {**rows()[3], "id": "again"}]
    prepared(tmp_path, output(tmp_path), given).publish(Origin())
    report = (tmp_path / "out" / "report.txt").read_text("utf-8")
    assert ".jsonl:13: (row id again) the example stands on line 4 already" in report
    found = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["problems"]
    assert [(one["line"], one["rows"]) for one in found if one["code"] == "duplicate"] == [(13, "id again")]


def test_another_content_has_another_name_and_replaces_what_was_not_uploaded(tmp_path: Path) -> None:
    names = []
    for count in (12, 13):
        prepared(tmp_path, output(tmp_path), rows(count)).publish(Origin())
        names.append({file.name for file in (tmp_path / "out").glob("*.jsonl")})
    assert len(names[0]) == len(names[1]) == 1
    assert names[0] != names[1]


def test_a_folder_with_files_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'notes.txt', which this output did not write"):
        output(tmp_path).check()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"messages": [TELL, ASK]}, "the last message must be from the assistant"),
        ({"messages": [ASK]}, "no message is from the assistant"),
        ({"messages": [{**ASK, "weight": 1}, TELL]}, "only messages of the assistant have `weight`"),
        ({"messages": [{**ASK, "rows": "first"}, TELL]}, "`rows: first` goes with `conversation`"),
        ({"sets": {"validation": "v"}}, "one of the sets must be `train`"),
        ({"sets": {"train": "a", "validation": "a"}}, "the value 'a' belongs to two sets"),
        ({"job": {}}, "a job needs the files at the service"),
        ({"upload": "always", "job": {"try_out": 1}}, "so it needs `wait: true`"),
        ({"upload": "always", "job": {"method": "dpo"}}, "`method: dpo` goes with `preferred_output`"),
        ({"preferred_output": "x"}, "belong together"),
        ({"messages_column": "m", "messages": [ASK, TELL]}, "and not both"),
        ({"tools": [{"name": "has space"}]}, "is not 1 to 64 of letters"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_settings_that_cannot_be_meant_are_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        output(tmp_path, **fields)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from(["train", "validation"])), min_size=1, max_size=25), st.data())
def test_any_table_is_lines_that_are_valid_and_give_the_table_back(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("any")
    given = [
        {"id": place, "question": question, "answer": answer, "set": name}
        for place, (question, answer, name) in enumerate(table)
    ]
    size = data.draw(st.integers(1, 9), "rows of a part")
    ready = output(folder, sets=["train", "validation"]).prepare(parts(folder, given, size), ("id",), folder / "s")
    gone = {} if ready.refused is None else refused(ready)
    assert set(gone) == {row["id"] for row in given if not row["question"].strip() or not row["answer"].strip()}
    published = ready.publish(Origin())
    assert published.rows + len(gone) == len(given)
    back: dict[int, tuple[str, str, str]] = {}
    for name in ("train", "validation"):
        for file in (folder / "out").glob(f"{name}-*.jsonl"):
            beside = SetRows(file.with_name(file.name.replace(".jsonl", ".rows.parquet")))
            report = check_files(file)
            assert set(report.training.found.counts) & set(ERRORS) <= {"too_few_examples"}
            for number, line in enumerate(file.read_text("utf-8").split("\n")[:-1], 1):
                asked, told = json.loads(line)["messages"]
                back[int(beside.row(number).removeprefix("id "))] = (asked["content"], told["content"], name)
    assert back == {row["id"]: table[row["id"]] for row in given if row["id"] not in gone}
