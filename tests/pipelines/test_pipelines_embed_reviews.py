"""The first pipeline, run as a user runs it: what becomes of each sample row."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
PENSTOCK = Path(sys.executable).with_name("penstock")

pytestmark = [pytest.mark.slow, pytest.mark.prefect, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Run:
    """A finished run: its record, and the folder that the command was started in."""

    record: dict[str, Any]
    folder: Path
    code: int
    environ: dict[str, str]

    def again(self, *options: str) -> Run:
        """The same pipeline once more, with other options."""
        return started(self.folder, self.environ, *options)

    @property
    def rows(self) -> pl.DataFrame:
        return pl.read_parquet(self.folder / "out" / "reviews" / "*.parquet")

    @property
    def errors(self) -> pl.DataFrame:
        return pl.read_parquet(self.record["errors_path"], glob=False)


def started(folder: Path, environ: dict[str, str], *options: str) -> Run:
    done = subprocess.run(
        [PENSTOCK, "run", "pipelines/embed_reviews.yaml", "--json", *options],
        cwd=folder, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Run(json.loads(done.stdout), folder, done.returncode, environ)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("project")
    for name in ("pipelines", "sample_data"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(".penstock", "__pycache__"))
    environ = {**os.environ, "PENSTOCK_HOME": str(tmp_path_factory.mktemp("home"))}
    try:
        yield started(folder, environ)
    finally:
        subprocess.run([PENSTOCK, "server", "stop"], env=environ, capture_output=True, check=False)


@pytest.fixture(scope="module")
def source() -> dict[str, dict[str, str]]:
    """The sample rows by their id, as Python's own CSV reader sees them."""
    with (ROOT / "sample_data" / "reviews.csv").open(newline="", encoding="utf-8") as file:
        return {row["review_id"]: row for row in csv.DictReader(file, strict=True)}


@pytest.fixture(scope="module")
def fates() -> dict[str, str]:
    """What the sample data's README says becomes of its awkward rows."""
    table = (ROOT / "sample_data" / "README.md").read_text("utf-8")
    return dict(re.findall(r"^\| (r\d{4}) \| .* \| (embedded|filtered) \|$", table, re.MULTILINE))


def test_the_account_adds_up_and_the_exit_code_says_that_all_is_well(run: Run, source: dict[str, Any]) -> None:
    account = run.record["account"]
    assert run.code == 0
    assert account["read"] == len(source)
    assert account["read"] == account["written"] + account["filtered"] + account["merged"] + account["failed"]


def test_each_row_has_the_fate_that_the_readme_says(run: Run, source: dict[str, Any], fates: dict[str, str]) -> None:
    elsewhere = {name for name, fate in fates.items() if fate != "embedded"}
    assert run.rows["review_id"].to_list() == [name for name in source if name not in elsewhere]
    assert run.record["account"]["filtered"] == sum(fate == "filtered" for fate in fates.values())
    assert run.record["errors_path"] is None


def test_no_character_of_a_text_is_changed(run: Run, source: dict[str, dict[str, str]]) -> None:
    changed = [
        (row["review_id"], name)
        for row in run.rows.iter_rows(named=True)
        for name in ("title", "body", "language", "product")
        if (row[name] or "") != source[row["review_id"]][name]
    ]
    assert changed == []


def test_vectors_are_what_was_asked_for(run: Run) -> None:
    vectors = run.rows["embedding"]
    assert vectors.dtype == pl.Array(pl.Float32, 512)
    assert vectors.null_count() == 0
    lengths = run.rows.select(pl.col("embedding").arr.to_list().list.eval(pl.element() ** 2).list.sum().sqrt())
    assert lengths.to_series().is_between(0.999, 1.001).all()


def test_equal_texts_get_equal_vectors_and_alike_texts_near_ones(run: Run, source: dict[str, dict[str, str]]) -> None:
    vectors = dict(run.rows.select("review_id", "embedding").iter_rows())

    def likeness(one: str, other: str) -> float:
        return float(sum(a * b for a, b in zip(vectors[one], vectors[other], strict=True)))

    same = [name for name, row in source.items() if row["body"].startswith("Arrived on time and works as described.")]
    first, second, third, *_ = same
    assert vectors[first] == vectors[second] == vectors[third]
    typing_errors = next(name for name, row in source.items() if "decsribed" in row["body"])
    stranger = next(name for name, row in source.items() if row["language"] == "ja" and len(row["body"]) > 20)
    assert likeness(first, typing_errors) > 0.5 > likeness(first, stranger)


def test_the_tokens_of_the_rows_are_those_of_the_run(run: Run) -> None:
    usage = run.rows["embed_usage"].struct.unnest()
    assert usage["prompt_tokens"].sum() == run.record["usage"]["prompt_tokens"]
    assert usage["usd"].sum() == pytest.approx(run.record["usage"]["usd"])
    assert usage["request_id"].null_count() == 0


def test_the_published_files_are_compressed_and_nothing_else_is_in_the_folder(run: Run) -> None:
    files = sorted((run.folder / "out" / "reviews").iterdir())
    assert [file.suffix for file in files] == [".parquet"] * len(files)
    column = pq.ParquetFile(files[0]).metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"


def test_a_review_that_no_request_can_take_is_an_error_row_when_the_filter_lets_it_pass(run: Run) -> None:
    done = run.again("-p", "longest=100000")
    assert done.code == 1
    assert done.errors.select("review_id", "cause").rows() == [("r0680", "too_long")]
    assert done.record["account"]["failures"] == {"too_long": 1}
