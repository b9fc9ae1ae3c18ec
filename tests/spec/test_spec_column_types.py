"""Types that are known without reading rows (a Parquet footer, `source.types`, what a step declares) are checked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from penstock.errors import Problem, SpecError
from penstock.spec import load

_TABLE = pa.table(
    {
        "id": [1],
        "text": ["a"],
        "price": pa.array([1.5]),
        "when": pa.array([0], pa.timestamp("us")),
        "tags": [["x"]],
        "parts": [[{"name": "n", "size": {"width": 1, "height": 2}}]],
        "nothing": pa.nulls(1),
    }
)
_CHAT = """uses: chat
    model: m
    prompt: "{{ text }}"
    unpack: true
    response_format:
      json_schema: {type: object, properties: {score: {type: integer}, topics: {type: array, items: {type: string}}},
        required: [score, topics], additionalProperties: false}"""


def _mistakes(folder: Path, *steps: str, source: str = "path: rows.parquet") -> list[Problem]:
    parquet.write_table(_TABLE, folder / "rows.parquet")
    (folder / "rows.csv").write_text("id,text,price,tags\n1,a,1.5,x\n")
    listed = "".join(f"  - {step}\n" for step in steps)
    file = folder / "pipeline.yaml"
    file.write_text(
        f"name: types\nprovider: sandbox\nsource: {{{source}, key: id}}\n"
        f"steps:\n{listed}outputs:\n  - {{uses: parquet, path: out}}\n"
    )
    try:
        load(file)
    except SpecError as error:
        return error.problems
    return []


@pytest.mark.parametrize(
    ("steps", "word", "said"),
    [
        (["{uses: chunk, input: price}"], "price", "chunk needs text, and the column 'price' is double"),
        (["{uses: chunk, input: when}"], "when", "chunk needs text"),
        (["{uses: chunk, input: parts}"], "parts", "chunk needs text"),
        (["{uses: redact, columns: [text, tags]}"], "tags", "redact needs text, and the column 'tags' is list"),
        (["{uses: explode, column: text}"], "text", "explode needs a list, and the column 'text' is string"),
        (["{uses: explode, column: tags, fields: [name]}"], "name", "takes fields of structs"),
        (["{uses: explode, column: parts, fields: [name, weight]}"], "weight", "no field 'weight'; they have: name,"),
        (["{uses: explode, column: parts, fields: {w: weight}}"], "weight", "no field 'weight'"),
        (["{uses: explode, column: tags}", "{uses: explode, id: more, column: tags}"], "tags", "explode needs a list"),
        ([_CHAT, "{uses: chunk, input: score}"], "score", "chunk needs text, and the column 'score' is Int64"),
        ([_CHAT, "{uses: explode, column: topics, fields: [a]}"], "a", "takes fields of structs"),
    ],
)  # fmt: skip
def test_a_column_of_another_type_is_a_mistake_at_its_name(
    tmp_path: Path, steps: list[str], word: str, said: str
) -> None:
    (problem,) = _mistakes(tmp_path, *steps)
    assert said in problem.message
    assert problem.source[problem.column - 1 :].startswith(word)


@pytest.mark.parametrize(
    "steps",
    [
        ["{uses: chunk, input: text}", "{uses: redact, columns: [text, chunk_text, nothing]}"],
        ["{uses: explode, column: tags}", "{uses: chunk, input: tags}"],
        ["{uses: explode, column: parts, fields: [name, size]}"],
        ["{uses: derive, columns: {price: CAST(price AS VARCHAR)}}", "{uses: chunk, input: price}"],
        [_CHAT, "{uses: explode, column: topics}", "{uses: chunk, input: topics}"],
    ],
)
def test_columns_of_the_right_type_are_no_mistake(tmp_path: Path, steps: list[str]) -> None:
    assert _mistakes(tmp_path, *steps) == []


def test_types_that_the_source_declares_are_known_and_those_of_a_csv_file_are_not(tmp_path: Path) -> None:
    step = "{uses: chunk, input: price}"
    assert _mistakes(tmp_path, step, source="path: rows.csv") == []
    (problem,) = _mistakes(tmp_path, step, source="path: rows.csv, types: {price: number}")
    assert "the column 'price' is Float64" in problem.message
    assert _mistakes(tmp_path, step, source="path: rows.parquet, types: {price: string}") == []


def test_types_are_checked_without_polars(tmp_path: Path) -> None:
    _mistakes(tmp_path, "{uses: chunk, input: price}", source="path: rows.csv, types: {price: number}")
    code = (
        "import sys, json\nfrom penstock.spec import load\nfrom penstock.errors import SpecError\n"
        "try:\n    load(sys.argv[1])\nexcept SpecError as error:\n"
        "    print(json.dumps([len(error.problems), 'polars' in sys.modules]))"
    )
    told = subprocess.run([sys.executable, "-c", code, tmp_path / "pipeline.yaml"], capture_output=True, check=True)
    assert json.loads(told.stdout) == [1, False]
