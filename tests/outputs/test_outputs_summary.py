"""The output `summary`: aggregates over the rows of a run, in groups."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outputs_tables import part, parts_of
from pyarrow import parquet
from pydantic import ValidationError

from penstock.errors import InputError, SpecError, StorageFailed
from penstock.outputs import KINDS, Origin, Output
from penstock.spec.load import load_text

TABLE = pa.table(
    {
        "category": ["tea", "soup", None, "tea", "soup", "tea"],
        "score": [1.0, 2.0, 4.0, None, 6.0, 2.0],
        "good": [True, False, True, None, True, True],
        "day": ["2026-01-31", "2026-02-01", "2026-02-02", "2026-02-03", "2026-02-04", "2026-02-05"],
    }
)


def summary(target: Path, **more: Any) -> Output:
    given = {"uses": "summary", "path": str(target), "columns": {"n": "count(*)"}, **more}
    return KINDS["summary"].model_validate(given)


@pytest.fixture
def lines(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """The summary of `TABLE`, cut into three parts, as rows."""

    def made(**more: Any) -> list[dict[str, Any]]:
        one = summary(tmp_path / "x.jsonl", **more)
        one.check(TABLE.schema)
        assert one.publish(parts_of(tmp_path, TABLE, [2, 2])).rows == 6
        return [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]

    return made


def test_each_group_is_a_row_in_the_order_of_its_name_and_null_is_a_group(lines: Callable[..., Any]) -> None:
    assert lines(by="category", columns={"rows": "count(*)", "mean": "avg(score)", "scored": "count(score)"}) == [
        {"category": "soup", "rows": 2, "mean": 4.0, "scored": 2},
        {"category": "tea", "rows": 3, "mean": 1.5, "scored": 2},
        {"category": None, "rows": 1, "mean": 4.0, "scored": 1},
    ]


def test_without_groups_there_is_one_row(lines: Callable[..., Any]) -> None:
    columns = {"rows": "count(*)", "best": "max(score)", "good": "count(*) FILTER (WHERE good)"}
    assert lines(columns=columns) == [{"rows": 6, "best": 6.0, "good": 4}]


@pytest.mark.parametrize(
    ("aggregate", "value"),
    [
        ("count(DISTINCT category)", 2),
        ("sum(score) / count(*)", 2.5),
        ("round(avg(CASE WHEN good THEN 1 ELSE 0 END), 3)", 0.667),
        ("median(score)", 2.0),
        ("quantile_disc(score, 0.9)", 6.0),
        ("stddev(score)", pytest.approx(2.0)),
        ("min(category)", "soup"),
        ("first(day)", "2026-01-31"),
        ("last(day)", "2026-02-05"),
        ("coalesce(sum(score) FILTER (WHERE score > 100), 0)", 0),
    ],
)
def test_aggregates_are_those_of_sql(lines: Callable[..., Any], aggregate: str, value: Any) -> None:
    assert lines(columns={"it": aggregate}) == [{"it": value}]


def test_groups_can_be_of_several_columns_and_of_expressions(lines: Callable[..., Any]) -> None:
    assert [tuple(row.values()) for row in lines(by=["good", "category"])] == [
        (False, "soup", 1), (True, "soup", 1), (True, "tea", 2), (True, None, 1), (None, "tea", 1),
    ]  # fmt: skip
    assert lines(by={"month": "left(day, 7)"}) == [{"month": "2026-01", "n": 1}, {"month": "2026-02", "n": 5}]


def test_the_order_is_as_asked_then_by_group_and_only_so_many_groups_are_written(lines: Callable[..., Any]) -> None:
    found = lines(by="category", order_by="n desc")
    assert [row["category"] for row in found] == ["tea", "soup", None]
    found = lines(by="category", columns={"best": "max(score)"}, order_by=["best DESC"], limit=2)
    assert [(row["category"], row["best"]) for row in found] == [("soup", 6.0), (None, 4.0)]
    assert [row["category"] for row in lines(by="category", order_by="category asc", limit=1)] == ["soup"]


def test_the_record_has_the_rows_summed_up_and_the_number_of_groups(tmp_path: Path) -> None:
    one = summary(tmp_path / "x.csv", by="category", limit=2)
    published = one.publish(parts_of(tmp_path, TABLE, [3]))
    assert (published.rows, one.rows(published.files), published.files[0]["groups"]) == (6, 6, 2)
    assert one.damage(published.files) == []
    one.target.write_text("category,n\n")
    assert one.damage(published.files) == [f"{one.target} is not what was written (its SHA-256 differs)"]


def test_the_ending_says_the_format(tmp_path: Path) -> None:
    parts = parts_of(tmp_path, TABLE, [])
    for ending in (".csv", ".tsv", ".csv.gz", ".jsonl", ".ndjson.zst", ".parquet"):
        summary(tmp_path / f"x{ending}", by="good").publish(parts, Origin("reviews", "20261122-100000-aaaa"))
    expected = [(False, 1), (True, 4), (None, 1)]
    assert pl.read_csv(tmp_path / "x.csv", schema_overrides={"good": pl.Boolean}).rows() == expected
    assert pl.read_csv(tmp_path / "x.csv.gz", schema_overrides={"good": pl.Boolean}).rows() == expected
    assert (tmp_path / "x.tsv").read_text() == "good\tn\nfalse\t1\ntrue\t4\n\t1\n"
    assert pl.read_ndjson(tmp_path / "x.jsonl").rows() == expected
    with pa.input_stream(str(tmp_path / "x.ndjson.zst"), compression="detect") as stream:
        assert len(stream.read().splitlines()) == 3
    assert pl.read_parquet(tmp_path / "x.parquet").rows() == expected
    footer = json.loads(parquet.read_metadata(tmp_path / "x.parquet").metadata[b"penstock"])
    assert (footer["pipeline"], footer["run"]) == ("reviews", "20261122-100000-aaaa")


def test_texts_that_look_like_formulas_are_escaped_when_asked(tmp_path: Path) -> None:
    rows = [part(tmp_path / "1", pa.table({"word": ["=1+1"]}))]
    summary(tmp_path / "x.csv", by="word", escape_formulas=True).publish(rows)
    assert (tmp_path / "x.csv").read_text() == "word,n\n'=1+1,1\n"


def test_parts_that_know_less_of_a_type_than_others_are_summed_up_with_them(tmp_path: Path) -> None:
    vectors = pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2))
    parts = [
        part(tmp_path / "1", pa.table({"word": pa.nulls(1), "vector": pa.nulls(1, pa.list_(pa.float32()))})),
        part(tmp_path / "2", pa.table({"word": ["a", "b"], "vector": vectors})),
    ]
    summary(tmp_path / "x.jsonl", columns={"words": "count(word)", "vectors": "count(vector)"}).publish(parts)
    assert json.loads((tmp_path / "x.jsonl").read_text()) == {"words": 2, "vectors": 1}


def test_of_no_rows_there_are_no_groups_and_the_count_is_0(tmp_path: Path) -> None:
    for parts in ([part(tmp_path / "1", TABLE.slice(0, 0))], []):
        assert summary(tmp_path / "x.csv", by="category").publish(parts).rows == 0
        assert (tmp_path / "x.csv").read_text() == "category,n\n"
        summary(tmp_path / "y.csv", columns={"n": "count(*)", "mean": "avg(score)"}).publish(parts)
        assert (tmp_path / "y.csv").read_text() == "n,mean\n0,\n"


def test_columns_named_like_words_of_sql_or_of_polars_can_be_grouped_by(tmp_path: Path) -> None:
    names = ["select", 'a "b"', "maintain_order", "$x", "count"]
    rows = [part(tmp_path / "1", pa.table({name: ["x"] for name in names}))]
    one = summary(tmp_path / "x.jsonl", by=names, columns={"maintain": 'max("count")'})
    one.publish(rows)
    assert json.loads(one.target.read_text()) == {**dict.fromkeys(names, "x"), "maintain": "x"}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.sampled_from(["a", "b", "", None]), st.one_of(st.none(), st.integers(-9, 9)))),
    cuts=st.lists(st.integers(0, 30), max_size=3),
)
def test_every_row_is_in_one_group_however_the_rows_are_cut(
    tmp_path: Path, rows: list[tuple[str | None, int | None]], cuts: list[int]
) -> None:
    table = pa.table(
        {"word": pa.array([word for word, _ in rows], pa.string()), "n": pa.array([n for _, n in rows], pa.int64())}
    )
    one = summary(tmp_path / "x.jsonl", by="word", columns={"rows": "count(*)", "sum": "coalesce(sum(n), 0)"})
    assert one.publish(parts_of(tmp_path, table, cuts)).rows == len(rows)
    expected: dict[str | None, list[int]] = defaultdict(lambda: [0, 0])
    for word, number in rows:
        expected[word][0] += 1
        expected[word][1] += number or 0
    found = [json.loads(line) for line in one.target.read_text().splitlines()]
    assert {row["word"]: [row["rows"], row["sum"]] for row in found} == expected
    assert sum(row["rows"] for row in found) == len(rows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": ["a", "a"]}, "'a' is named twice"),
        ({"by": ["n"]}, "'n' is a column of `by` already"),
        ({"order_by": "m desc"}, "the summary has no column 'm'; it has: n"),
        ({"columns": {}}, "at least 1 item"),
        ({"limit": 0}, "greater than 0"),
        ({"path": "/x/notes.md"}, "must end in .csv"),
        ({"path": "/x/y.parquet.gz"}, "compressed inside"),
    ],
)
def test_settings_that_make_no_table_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message.replace("(", "\\(")):
        summary(Path("/x/y.csv"), **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "words"}, r"by: 'words' is List\(String\); group by an element or a field of it"),
        ({"columns": {"x": "max(length(score))"}}, "columns: x: .*(str|String)"),
        ({"by": {"x": "length(score)"}}, "by: x: "),
    ],
)
def test_expressions_that_do_not_fit_the_types_are_told_before_anything_is_paid(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    schema = TABLE.append_column("words", pa.array([["a"]] * 6)).schema
    with pytest.raises(InputError, match=message):
        summary(tmp_path / "x.csv", **settings).check(schema)


def test_when_a_part_cannot_be_read_or_a_value_converted_the_file_is_as_it_was(tmp_path: Path) -> None:
    one = summary(tmp_path / "x.csv", columns={"n": "sum(CAST(word AS INTEGER))"})
    one.publish([part(tmp_path / "1", pa.table({"word": ["1", "2"]}))])
    with pytest.raises(StorageFailed, match="then resume"):
        one.publish([tmp_path / "missing"])
    with pytest.raises(InputError, match=r"cannot be made: .*conversion"):
        one.publish([part(tmp_path / "2", pa.table({"word": ["x"]}))])
    assert one.target.read_text() == "n\n3\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "x.csv"]


def test_a_rehearsal_stands_beside(tmp_path: Path) -> None:
    assert summary(tmp_path / "x.csv.gz").beside("first-10").target == tmp_path / "x.first-10.csv.gz"


PIPELINE = """\
name: reviews
provider: sandbox
source: {path: rows.csv, key: id}
outputs:
  - uses: summary
    path: out/x.csv
"""


@pytest.mark.parametrize(
    ("settings", "place", "message", "hint"),
    [
        ("by: langage", (7, 9), "there is no column `langage` here", "did you mean `language`?"),
        ("by: [id, langage]", (7, 14), "there is no column `langage` here", "did you mean `language`?"),
        ("by: {x: 'left(langage, 2)'}", (7, 19), "there is no column `langage` here", "did you mean `language`?"),
        ("columns: {x: avg(scor)}", (7, 22), "there is no column `scor` here", "did you mean `score`?"),
        ("columns: {x: avg(score) + score}", (7, 31), "`columns.x`: the column score stands outside of an aggregate",
         "for example max(score)"),
        ("columns: {x: cuont(*)}", (7, 18), "`columns.x`: SQL has no function `cuont`", "did you mean `count`?"),
        ("columns: {x: array_agg(id)}", (7, 18), "`columns.x`: `array_agg` gives no single value", "the functions"),
        ("columns: {x: max(avg(score))}", (7, 22), "`columns.x`: `avg` stands inside another aggregate", ""),
        ("columns: {x: count(*) OVER (PARTITION BY id)}", (7, 27), "`columns.x`: `OVER` gives no single value", "the"),
        ("columns: {x: upper(language)}", (7, 24), "`columns.x`: the column language stands outside", "for example"),
        ("columns: {x: 7 + 1}", (7, 18), "`columns.x`: this computes nothing over the rows", "for example count(*)"),
        ("columns: {x: count(*)}\n    order_by: y desc", (8, 15), "`order_by`: the summary has no column 'y'", ""),
        ("by: {x: max(id)}", (7, 13), "`by.x`: `max` computes over many rows", ""),
    ],
)  # fmt: skip
def test_mistakes_are_found_with_their_place_when_the_pipeline_is_read(
    tmp_path: Path, settings: str, place: tuple[int, int], message: str, hint: str
) -> None:
    (tmp_path / "rows.csv").write_text("id,language,score\n1,en,2.5\n")
    more = "" if "columns:" in settings else "\n    columns: {rows: count(*)}"
    with pytest.raises(SpecError) as caught:
        load_text(f"{PIPELINE}    {settings}{more}\n", file="p.yaml", folder=tmp_path)
    [problem] = caught.value.problems
    assert (problem.line, problem.column) == place
    assert problem.message.startswith(message)
    assert problem.hint.startswith(hint)


MEMORY = """
import resource, sys
from pathlib import Path
from penstock.outputs import KINDS
target, *parts = sys.argv[1:]
one = KINDS["summary"].model_validate({"uses": "summary", "path": target, "by": "language",
    "columns": {"rows": "count(*)", "mean": "avg(stars)", "longest": "max(length(body))", "ids": "count(vector)"}})
one.publish([Path(parts[0])])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
one.publish([Path(part) for part in parts])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    count = 50_000
    table = pa.table(
        {
            "language": [f"l{n % 20}" for n in range(count)],
            "stars": [n % 5 for n in range(count)],
            "body": [f"review {n} " * 60 for n in range(count)],
            "vector": [[float(n)] * 8 for n in range(count)],
        }
    )
    parts = [part(tmp_path / f"{n}", table) for n in range(16)]
    arguments = [sys.executable, "-c", MEMORY, str(tmp_path / "x.csv"), *map(str, parts)]
    environ = {**os.environ, "POLARS_MAX_THREADS": "2"}
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environ)
    assert int(done.stdout) < 150 << 20, "of more than 600 MB of texts"
    assert pl.read_csv(tmp_path / "x.csv")["rows"].to_list() == [40_000] * 20
