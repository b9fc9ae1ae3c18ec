"""`incremental:` is true, false or a mapping, and what does not go with it is a mistake with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import SpecError
from penstock.spec import load
from penstock.spec.columns import columns_read
from penstock.spec.incremental_key import Incremental

PIPELINE = """
name: nightly
provider: sandbox
source: {path: rows.csv, key: id}
steps:
  - {uses: embed, input: "{{ text }}", model: text-embedding-3-small}
outputs:
  - {uses: parquet, path: out}
"""

FINETUNE = (
    "uses: finetune, path: out, model: gpt-4o-mini-2024-07-18, "
    'messages: [{role: user, content: "{{ text }}"}, {role: assistant, content: "{{ text }}"}]'
)


def _load(folder: Path, text: str):  # type: ignore[no-untyped-def]  # what `load` gives
    (folder / "rows.csv").write_text("id,text,note\n1,a,b\n")
    (folder / "p.yaml").write_text(text)
    return load(folder / "p.yaml")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("true", Incremental()),
        ("false", None),
        ("{on_delete: keep}", Incremental(on_delete="keep")),
        ("{keep_runs: 3}", Incremental(keep_runs=3)),
        ("{}", Incremental()),
    ],
)
def test_a_word_or_a_mapping(tmp_path: Path, written: str, meant: Incremental | None) -> None:
    assert _load(tmp_path, f"{PIPELINE}incremental: {written}\n").spec.incremental_settings == meant


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (("incremental: true", "incremental: always"), 8, "`incremental` is true, false or a mapping"),
        (("incremental: true", "incremental: {on_delete: drop}"), 8, "`on_delete` must be one of"),
        (("path: out}", "path: out, mode: append}"), 7, "appending would have each of them many times"),
        ((", key: id}\n", "}\n"), 8, "`on_delete: keep` needs a `key`"),
        (("steps:\n", "steps:\n  - {uses: select, columns: [text]}\n"), 8, "does not reach this output"),
        (("uses: parquet, path: out", FINETUNE), 7, "training files are made of the rows that are there"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_it_is_told_with_its_line(
    tmp_path: Path, change: tuple[str, str], line: int, message: str
) -> None:
    keeps = "needs a `key`" in message or "reach" in message or "training" in message
    text = PIPELINE.lstrip() + ("incremental: {on_delete: keep}\n" if keeps else "incremental: true\n")
    with pytest.raises(SpecError) as raised:
        _load(tmp_path, text.replace(*change))
    problems = [problem for problem in raised.value.problems if message in problem.message]
    assert [problem.line for problem in problems] == [line]


def test_a_source_without_a_key_is_worth_a_note(tmp_path: Path) -> None:
    loaded = _load(tmp_path, PIPELINE.replace(", key: id", "") + "incremental: true\n")
    (note,) = loaded.notes
    assert "nothing that was answered is paid for again" in note
    assert "one deleted and one new" in note


def test_columns_that_neither_a_step_nor_an_output_has_are_not_read(tmp_path: Path) -> None:
    select = "steps:\n  - {uses: filter, where: note != 'x'}\n  - {uses: select, columns: [id]}\n"
    named = _load(tmp_path, PIPELINE.replace("steps:\n", select).replace("{{ text }}", "{{ id }}"))
    assert columns_read(named.spec.steps, named.columns) == {"id", "note"}
    whole = _load(tmp_path, PIPELINE)
    assert columns_read(whole.spec.steps, whole.columns) == {"id", "text", "note"}
