"""What examples say: near ones, leaks between sets, personal data, verdicts, and the rows that lines were made of."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.outputs.finetune.check import CheckReport, check_files
from penstock.outputs.finetune.contents import BINS, WORDS, Contents
from penstock.outputs.finetune.example import Example
from penstock.outputs.finetune.faults import Found
from penstock.outputs.finetune.limits import KINDS, Rules
from penstock.outputs.finetune.origin import Origin
from penstock.outputs.finetune.report import as_dict, as_lines
from penstock.texts.minhash import sketches
from penstock.texts.near_pairs import nearest
from penstock.texts.personal import first_of_each

RULES = Rules.of(tokens=False)
SYSTEM = {"role": "system", "content": "You answer letters of the museum, politely and in at most four sentences. " * 5}


def words(seed: int, number: int = 40) -> str:
    chance = random.Random(seed)
    return " ".join("".join(chance.choices("abdeilmnorstu", k=chance.randint(2, 9))) for _ in range(number))


def example(asked: str, answered: str = "We thank you for it.") -> dict[str, Any]:
    return {
        "messages": [SYSTEM, {"role": "user", "content": asked}, {"role": "assistant", "content": answered}],
    }


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def told(report: CheckReport, *, validation: bool = False) -> list[tuple[int, str]]:
    file = report.validation if validation else report.training
    assert file is not None
    return [(one.line, one.code) for one in file.found.problems()]


def test_an_example_much_like_another_is_told_and_a_common_system_message_makes_none_alike(tmp_path: Path) -> None:
    lines = [example(words(seed), words(seed + 500)) for seed in range(20)]
    changed = words(7).split()
    changed[20] = "otherwise"
    lines.append(example(" ".join(changed).upper() + "!", words(507)))
    report = check_files(write(tmp_path / "t.jsonl", lines), rules=RULES)
    assert told(report) == [(21, "near_duplicate")]
    assert "like line 8" in report.training.found.kept["near_duplicate"][0].message


def test_texts_in_a_script_without_spaces_are_compared_by_their_characters(tmp_path: Path) -> None:
    chance = random.Random(3)
    texts = [
        "".join(chance.choices("小包裹在路上明天到请您等一会儿我们会查看再给答复今年春夏秋冬", k=80)) for _ in range(15)
    ]
    lines = [example(text, text[::-1]) for text in texts]
    lines.append(example(texts[4][:40] + "山" + texts[4][41:], texts[4][::-1]))
    assert told(check_files(write(tmp_path / "t.jsonl", lines), rules=RULES)) == [(16, "near_duplicate")]


def test_the_threshold_is_a_setting_and_none_looks_for_equal_ones_only(tmp_path: Path) -> None:
    lines = [example(words(seed), words(seed + 500)) for seed in range(12)]
    lines.append(example(" ".join([*words(3).split()[:25], *words(99).split()[:15]]), words(503)))
    path = write(tmp_path / "t.jsonl", lines)
    assert told(check_files(path, rules=RULES)) == []
    assert told(check_files(path, rules=Rules.of(tokens=False, near=0.5))) == [(13, "near_duplicate")]
    same = write(tmp_path / "s.jsonl", [*lines[:12], example(words(3) + " or", words(503))])
    assert told(check_files(same, rules=Rules.of(tokens=False, near=None))) == []


def test_leaks_are_found_exact_by_prompt_near_and_by_group(tmp_path: Path) -> None:
    training = write(tmp_path / "t.jsonl", [example(words(seed), words(seed + 500)) for seed in range(20)])
    near = example(" ".join([*words(11).split()[:-1], "then"]), words(511))
    lines = [example(words(60), words(61)), example(words(3), words(503)), example(words(5), words(62)), near]
    report = check_files(
        training,
        write(tmp_path / "v.jsonl", lines),
        rules=RULES,
        training_origin=Origin(group=lambda line: f"customer {line}"),
        validation_origin=Origin(group=lambda line: "customer 9" if line == 1 else None),
    )
    assert told(report, validation=True) == [(1, "leak_group"), (2, "leak"), (3, "leak_prompt"), (4, "leak_near")]
    messages = [one.message for one in report.validation.found.problems()] if report.validation else []
    assert [message.split("line ")[1].split()[0] for message in messages] == ["9", "4", "6", "12"]
    assert told(report) == []


def test_verdicts_and_rows_of_an_output_are_told_with_their_lines(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [example(words(seed), words(seed + 500)) for seed in range(12)]
    lines[4] = {"messages": []}
    origin = Origin(row=lambda line: f"ticket-{line}", flagged=lambda line: ["violence", "hate"] if line == 3 else None)
    report = check_files(write(tmp_path / "t.jsonl", lines), rules=RULES, training_origin=origin)
    assert [(one.line, one.code, one.row) for one in report.training.found.problems()] == [
        (3, "flagged", "ticket-3"),
        (5, "empty_messages", "ticket-5"),
    ]
    first = as_dict(report)["training"]["problems"][-1]["first"][0]
    assert first == {"line": 3, "row": "ticket-3", "message": "flagged as harmful: violence, hate"}
    assert any(f"{tmp_path}/t.jsonl:3: (row ticket-3) flagged" in line for line in as_lines(report))
    assert "row" not in str(as_dict(check_files(tmp_path / "t.jsonl", rules=RULES))["training"]["problems"])


def test_personal_data_is_told_by_kind_and_place_and_never_quoted(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "find", "description": "Ask bo@example.org about it."}}
    lines = [example(words(seed), words(seed + 500)) for seed in range(12)]
    lines += [
        example("Write to ann.archer@example.org or ring (212) 555-0187.", words(700)),
        {**example(words(701), words(702)), "tools": [tool]},
        {**example(words(703), words(704)), "tools": [tool]},
    ]
    path = write(tmp_path / "t.jsonl", lines)
    path.write_bytes(path.read_bytes() + b'{"broken": "ann.archer@example.org\n')
    report = check_files(path, rules=RULES)
    found = [(line, code) for line, code in told(report) if code != "not_json"]
    assert found == [
        (13, "personal_mail"), (13, "personal_phone"), (14, "personal_mail"), (15, "personal_mail"),
        (16, "personal_mail"),
    ]  # fmt: skip
    text = json.dumps(as_dict(report)) + "\n".join(as_lines(report))
    assert "in message 2: a mail address" in text
    assert "in its tools" in text
    assert "ann.archer" not in text
    assert told(check_files(path, rules=Rules.of(tokens=False, personal=("phone",))))[0] == (13, "personal_phone")


def test_a_card_is_no_telephone_number() -> None:
    found = first_of_each("Card 4111 1111 1111 1111, mail a@example.com", KINDS)
    assert found == {"card": 5, "mail": 31}


def test_a_model_that_takes_no_preferences_refuses_them_unless_told_otherwise(tmp_path: Path) -> None:
    lines = [
        {
            "input": {"messages": [{"role": "user", "content": words(seed)}]},
            "preferred_output": [{"role": "assistant", "content": words(seed + 100)}],
            "non_preferred_output": [{"role": "assistant", "content": words(seed + 200)}],
        }
        for seed in range(12)
    ]
    path = write(tmp_path / "t.jsonl", lines)
    refused = check_files(path, rules=Rules.of("gpt-3.5-turbo-0125", tokens=False))
    assert +refused.training.found.counts == {"format_not_taken": 12}
    own = Rules.of("gpt-3.5-turbo-0125", tokens=False, formats=("chat", "preference"))
    assert check_files(path, rules=own).errors == 0
    assert check_files(path, rules=Rules.of("llama-9", tokens=False)).errors == 0


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["", " ", "!", "one", "\ud800", "a b c d e f", "東京" * 30, "x" * 300]), max_size=12))
def test_every_example_has_one_row_of_sketches_whatever_it_says(texts: list[str]) -> None:
    contents = Contents(Found(), KINDS, sketched=True)
    for line, text in enumerate(texts, 1):
        contents.add(line, Example(["system", "user"], ["same", text]), sketched=True)
    table = contents.sketches()
    assert (len(table), table.columns) == (len(texts), list(WORDS))
    there = table[WORDS[0]].is_not_null().to_list()
    assert there == [bool(text.replace("\ud800", "?").strip()) for text in texts]


@pytest.mark.parametrize("threshold", [0.6, 0.9])
def test_the_nearest_is_found_among_those_that_are_alike_enough(threshold: float) -> None:
    chance = random.Random(5)
    others = [words(seed) for seed in range(60)]
    asked = []
    for at in range(60):
        changed = others[at].split()
        for _ in range(at % 6):
            changed[chance.randrange(40)] = "changed"
        asked.append(" ".join(changed))
    both = sketches(pl.Series([*asked, *others]), "words", 3, BINS, "w")
    found = nearest(both[:60], both[60:], threshold)
    assert found["row"].to_list() == sorted(set(found["row"].to_list()))
    assert (found["row"] == found["other"]).all()
    assert (found["similarity"] >= threshold).all()
    # Unchanged ones always; those with a changed word are some 86 of 100 alike.
    expected = [at for at in range(60) if at % 6 < (1 if threshold == 0.9 else 2)]
    assert set(expected) <= set(found["row"].to_list())


def test_how_far_it_is_is_told_while_a_long_file_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [example(f"{at}?") for at in range(3000)])
    told: list[tuple[Path, int]] = []
    check_files(path, rules=Rules.of(tokens=False, near=None, personal=()), progress=lambda *one: told.append(one))
    size = path.stat().st_size
    assert len(told) == 2
    assert all(one == path and 0 < done <= size for one, done in told)
