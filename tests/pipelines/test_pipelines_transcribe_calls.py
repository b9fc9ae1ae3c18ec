"""The calls of the sample data: heard, measured against what is really said, in nine formats, with subtitle files."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import polars as pl
import pytest
from pipeline_runs import copied

from penstock.execute.inline import run_inline
from penstock.execute.session import Request, open_session
from penstock.runs.record import RunRecord

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copied(tmp_path_factory.mktemp("calls"))
    # One file is gone and one is no sound: each is an error row of its own.
    (folder / "sample_data" / "calls" / "broken.mp3").write_text("no sound")
    with (folder / "sample_data" / "calls.csv").open("a") as file:
        file.write("x01,calls/gone.wav,,,\nx02,calls/broken.mp3,,,\n")
    return folder


@pytest.fixture(scope="module")
def record(project: Path) -> RunRecord:
    with open_session(Request(project / "pipelines" / "transcribe_calls.yaml")) as session:
        return run_inline(session)


@pytest.fixture(scope="module")
def rows(project: Path, record: RunRecord) -> pl.DataFrame:
    return pl.read_parquet(project / "out" / "calls" / "transcripts" / "*.parquet")


def test_at_least_nine_of_ten_words_are_right_in_all_nine_formats(rows: pl.DataFrame) -> None:
    formats = {Path(name).suffix for name in rows["file"]}
    assert formats == {".flac", ".m4a", ".mp3", ".mp4", ".mpeg", ".mpga", ".ogg", ".wav", ".webm"}
    right = count = 0
    for row in rows.iter_rows(named=True):
        one, other = (re.findall(r"[a-z']+", row[name].lower()) for name in ("true_text", "text"))
        blocks = difflib.SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
        right, count = right + sum(block.size for block in blocks), count + len(one)
    assert right >= 0.9 * count


def test_every_call_has_its_times_and_its_subtitles(rows: pl.DataFrame) -> None:
    assert rows["call_id"].to_list() == [f"c{number:02}" for number in range(1, 11)]
    for row in rows.iter_rows(named=True):
        starts = [word["start"] for word in row["words"]]
        assert starts == sorted(starts)
        assert 0 <= starts[0] < starts[-1] < row["seconds"] < 16
        srt, vtt = (Path(row[name]).read_text("utf-8") for name in ("srt_path", "vtt_path"))
        assert srt.count(" --> ") == vtt.count(" --> ") == len(row["segments"])
        assert Path(row["srt_path"]).name.startswith(row["call_id"])


def test_files_that_cannot_be_heard_are_error_rows_that_cost_nothing(project: Path, record: RunRecord) -> None:
    assert record.account.read == 12
    assert record.account.failures == {"unreadable_file": 2}
    errors = pl.read_parquet(str(record.errors_path), glob=False)
    assert errors["call_id"].to_list() == ["x01", "x02"]
    assert all(name in text for name, text in zip(["gone.wav", "broken.mp3"], errors["message"], strict=True))


def test_it_costs_what_the_minutes_cost(record: RunRecord, rows: pl.DataFrame) -> None:
    usd = rows["transcribe_usage"].struct.field("usd")
    assert usd.sum() == pytest.approx(rows["seconds"].ceil().sum() / 60 * 0.006)
    assert record.usage.usd is not None
    assert record.usage.usd >= usd.sum() - 1e-9
