"""Standard streams as shells, schedulers and pipes leave them: no traceback, and the exit code stays what it says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PENSTOCK = str(Path(sys.executable).with_name("penstock"))


def _shell(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command.replace("penstock", PENSTOCK)],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "rows.csv").write_text("id,größe\n1,words\n")
    (tmp_path / "p.yaml").write_text(
        "name: streams\nprovider: sandbox\nsource: {path: rows.csv, key: id}\nsteps:\n"
        '  - {uses: embed, input: "{{ größe }}", model: text-embedding-3-small}\n'
        "outputs:\n  - {uses: parquet, path: out}\n",
        encoding="utf-8",
    )
    return tmp_path


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing_of_the_exit_code(project: Path, closed: str) -> None:
    assert _shell(f"penstock check p.yaml {closed}", project).returncode == 0
    assert _shell(f"penstock check nothing.yaml {closed}", project).returncode == 1


def test_a_reader_that_goes_away_is_no_error(project: Path) -> None:
    done = _shell("penstock schema | true; echo ${PIPESTATUS[0]}", project)
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_below_standard_output_is_one_sentence(project: Path) -> None:
    done = _shell("penstock plan p.yaml > /dev/full", project)
    assert done.returncode == 3
    assert done.stderr == "penstock: standard output cannot be written: No space left on device\n"


def test_characters_that_an_encoding_lacks_are_escaped(project: Path) -> None:
    done = _shell("penstock check p.yaml", project, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "gr\\xf6\\xdfe" in done.stdout


@pytest.mark.parametrize("after", [0.03, 0.06, 0.1, 0.2, 0.4])
def test_ctrl_c_at_the_start_ends_without_a_traceback(project: Path, after: float) -> None:
    # The first modules are Python's own, before any word of ours can be said.
    process = subprocess.Popen([PENSTOCK, "plan", "p.yaml"], cwd=project, stderr=subprocess.PIPE, text=True)
    time.sleep(after + 0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    # An interpreter that is interrupted while it looks for its own library says so itself, and ends with 1.
    assert process.returncode in {130, 0, -signal.SIGINT} or "Failed to import the site module" in told
    if process.returncode == 130:
        assert told in {"", "penstock: interrupted\n"}
