"""`penstock clean` removes what no run needs, never what one does, and only when told to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from penstock.cli.app import app
from penstock.execute.inline import run_inline
from penstock.execute.session import Request, open_session

PIPELINE = """
name: tidy
source: {path: rows.csv, key: id}
steps: [{uses: derive, columns: {double: id * 2}}]
outputs: [{uses: parquet, path: out}]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline that ran three times, each time over other rows, and then broke off."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PENSTOCK_STATE", raising=False)
    (tmp_path / "p.yaml").write_text(PIPELINE)
    for rows in ("1\n2\n", "3\n4\n", "5\n6\n"):
        (tmp_path / "rows.csv").write_text(f"id\n{rows}")
        _run()
    (tmp_path / "rows.csv").write_text("id\n7\n8\n")
    with open_session(Request(Path("p.yaml"))):
        pass
    return tmp_path


def _run() -> None:
    with open_session(Request(Path("p.yaml"))) as session:
        run_inline(session)


def _clean(*options: str) -> Result:
    return CliRunner().invoke(app, ["clean", *options])


def _parts(folder: Path) -> int:
    return len(list(folder.glob(".penstock/tidy/parts/*/*.parquet")))


def test_without_yes_it_shows_and_removes_nothing(folder: Path) -> None:
    shown = _clean()
    assert shown.exit_code == 0, shown.output
    assert "parts: 1" in shown.output
    assert "nothing was removed; add --yes" in shown.output
    assert _parts(folder) == 3


def test_the_newest_complete_runs_and_what_can_be_resumed_stay(folder: Path) -> None:
    published = {path.name: path.read_bytes() for path in (folder / "out").iterdir() if path.is_file()}
    done = _clean("--yes", "--keep", "1")
    assert done.exit_code == 0, done.output
    assert "removed 2 files" in done.output
    assert _parts(folder) == 1
    assert {path.name: path.read_bytes() for path in (folder / "out").iterdir() if path.is_file()} == published
    assert len(list(folder.glob(".penstock/tidy/runs/*/run.json"))) == 4, "records stay"
    assert "nothing: there is no file that no run needs" in _clean("--yes").output
    # What was broken off goes on.
    _run()
    assert _parts(folder) == 2


def test_json_names_the_files(folder: Path) -> None:
    (found,) = json.loads(_clean("--json", "--keep", "2").output)
    assert found["pipeline"] == "tidy"
    assert len(found["needed_runs"]) == 3
    assert [Path(file).suffix for file in found["files"]] == [".parquet"]
    assert found["bytes"] > 0
    assert _parts(folder) == 3


def test_a_run_that_is_going_on_is_left_alone(folder: Path) -> None:
    with open_session(Request(Path("p.yaml"))):
        refused = _clean("--yes")
    assert refused.exit_code == 3, refused.output
    assert "another run" in refused.output
    assert _parts(folder) == 3


def test_another_pipeline_is_not_touched(folder: Path) -> None:
    assert "there are no pipelines here" in _clean("--yes", "--pipeline", "other").output
    assert _parts(folder) == 3
