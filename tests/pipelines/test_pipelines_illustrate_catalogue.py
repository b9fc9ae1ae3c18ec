"""The sample catalogue: a picture and a spoken text of each product, as files that the table leads to."""

from __future__ import annotations

import shutil
import wave
from pathlib import Path

import polars as pl
import pytest

from penstock.execute.inline import run_inline
from penstock.execute.session import Request, open_session
from penstock.runs.record import RunRecord

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalogue")
    for name in ("pipelines", "sample_data"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(".penstock", "__pycache__"))
    return folder


@pytest.fixture(scope="module")
def record(project: Path) -> RunRecord:
    with open_session(Request(project / "pipelines" / "illustrate_catalogue.yaml")) as session:
        return run_inline(session)


@pytest.fixture(scope="module")
def rows(project: Path, record: RunRecord) -> pl.DataFrame:
    return pl.read_parquet(project / "out" / "catalogue" / "products" / "*.parquet")


def test_each_product_has_a_picture_and_a_sound_of_its_own(rows: pl.DataFrame) -> None:
    assert len(rows) == 12
    contents = []
    for row in rows.iter_rows(named=True):
        picture, sound = Path(row["picture_path"]), Path(row["speech_path"])
        assert picture.name.startswith(row["product_id"])
        assert picture.stat().st_size == row["picture_bytes"]
        assert sound.stat().st_size == row["speech_bytes"]
        assert picture.read_bytes().startswith(b"\x89PNG")
        with wave.open(str(sound)) as file:
            assert file.getnframes() / file.getframerate() > 5
        assert row["product"] in row["picture_revised_prompt"]
        contents += [picture.read_bytes(), sound.read_bytes()]
    assert len(set(contents)) == 24


def test_nothing_else_is_in_the_folders(project: Path, rows: pl.DataFrame) -> None:
    named = {Path(path) for name in ("picture_path", "speech_path") for path in rows[name]}
    there = {file for kind in ("pictures", "spoken") for file in (project / "out" / "catalogue" / kind).iterdir()}
    assert there == named


def test_it_costs_what_pictures_and_characters_cost(record: RunRecord, rows: pl.DataFrame) -> None:
    characters = (rows["product"].str.len_chars() + rows["description"].str.len_chars() + 2).sum()
    assert record.usage.usd == pytest.approx(12 * 0.04 + characters * 15e-6)
