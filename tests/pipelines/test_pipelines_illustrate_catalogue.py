"""The sample catalogue: a picture and a spoken text of each product, as files that the table leads to."""

from __future__ import annotations

import struct
import wave
from pathlib import Path

import polars as pl
import pytest
from pipeline_runs import Run, assert_adds_up, project

pytestmark = [pytest.mark.slow, pytest.mark.prefect, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]) -> Run:
    return project(tmp_path_factory.mktemp("catalogue"), "illustrate_catalogue", environ).run()


@pytest.fixture(scope="module")
def rows(run: Run) -> pl.DataFrame:
    return run.rows("catalogue", "products")


def test_every_product_is_in_the_table(run: Run, rows: pl.DataFrame) -> None:
    assert run.code == 0
    assert_adds_up(run.account)
    assert (run.account["read"], run.account["written"], len(rows)) == (12, 12, 12)


def test_each_product_has_a_picture_and_a_sound_of_its_own(rows: pl.DataFrame) -> None:
    assert len(rows) == 12
    contents = []
    for row in rows.iter_rows(named=True):
        picture, sound = Path(row["picture_path"]), Path(row["speech_path"])
        assert picture.name.startswith(row["product_id"])
        assert picture.stat().st_size == row["picture_bytes"]
        assert sound.stat().st_size == row["speech_bytes"]
        assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert struct.unpack(">II", picture.read_bytes()[16:24]) == (1024, 1024)
        with wave.open(str(sound)) as file:
            assert file.getnframes() / file.getframerate() > 5
        assert row["product"] in row["picture_revised_prompt"]
        contents += [picture.read_bytes(), sound.read_bytes()]
    assert len(set(contents)) == 24


def test_nothing_else_is_in_the_folders(run: Run, rows: pl.DataFrame) -> None:
    named = {Path(path) for name in ("picture_path", "speech_path") for path in rows[name]}
    there = {file for kind in ("pictures", "spoken") for file in (run.folder / "out" / "catalogue" / kind).iterdir()}
    assert there == named


def test_it_costs_what_pictures_and_characters_cost(run: Run, rows: pl.DataFrame) -> None:
    characters = (rows["product"].str.len_chars() + rows["description"].str.len_chars() + 2).sum()
    assert run.record["usage"]["usd"] == pytest.approx(12 * 0.04 + characters * 15e-6)


def test_a_second_run_sends_nothing_and_leaves_the_files_as_they_are(run: Run, rows: pl.DataFrame) -> None:
    files = {Path(path): Path(path).read_bytes() for name in ("picture_path", "speech_path") for path in rows[name]}
    again = run.project.run()
    assert (again.code, again.record["usage"]["requests"], again.account) == (0, 0, run.account)
    assert again.rows("catalogue", "products").equals(rows)
    assert {path: path.read_bytes() for path in files} == files
