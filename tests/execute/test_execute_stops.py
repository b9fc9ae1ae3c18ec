"""Every way a run ends early: a sentence that says why and what to do, exit code 3, and a resume that pays once.

Keys and quota that are refused, and a server that is silent, stand in `test_execute_judging`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from execute_bench import Bench

from penstock.cli.summary import exit_code
from penstock.errors import RunStopped
from penstock.execute.inline import run_inline
from penstock.execute.session import Session
from penstock.runs.record import read_record
from penstock.sandbox.launch import SandboxProcess

STEP = """
uses: embed
input: "{{ text }}"
model: text-embedding-3-small
dimensions: 8
batch_size: 5
"""
LARGE = STEP.replace("dimensions: 8", "dimensions: 1536").replace("batch_size: 5", "batch_size: 20")
ONE_AT_A_TIME = "limits: {concurrency: 1}\n"
Mount = Callable[..., None]


def texts(count: int) -> list[str]:
    return [f"row {number} about a quiet harbour" for number in range(count)]


def stopped(bench: Bench, words: str, reason: str, **request: object) -> Session:
    """Run until the run stops, as it should; its closed session."""
    with bench.open(workers=1, **request) as session, pytest.raises(RunStopped, match=words) as caught:
        run_inline(session)
    message = str(caught.value)
    assert "\n" not in message
    assert "resume" in message
    assert (session.record.status.value, session.record.reason) == ("stopped", reason)
    assert session.record.message == message
    assert int(exit_code(session.record)) == 3
    assert session.record.account is None, "nothing is published"
    assert read_record(session.folder).status is session.record.status, "also where the disk is full"
    return session


def completes(bench: Bench, rows: int, *, failed: int = 0, **request: object) -> None:
    """Resume, and find every row there once and none paid for twice."""
    record = bench.run(**request)
    assert record.account is not None
    assert (record.account.read, record.account.written, record.account.failed) == (rows, rows - failed, failed)
    assert bench.server.stats()["repeated_answers"] == 0
    assert bench.result()["id"].n_unique() == rows - failed


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Mount]]:
    """A folder that is a file system of its own, one megabyte, and how to change it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options: str) -> None:
        subprocess.run(["mount", *options, str(folder)], check=True, capture_output=True)

    try:
        mount("-t", "tmpfs", "-o", "size=1m", "tmpfs")
    except (subprocess.CalledProcessError, OSError) as error:
        pytest.skip(f"file systems cannot be mounted here: {getattr(error, 'stderr', b'') or error!r}")
    try:
        yield folder, mount
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("budget", ["tokens: 400", "usd: 0.000008"])
def test_a_budget_is_kept_and_with_more_the_run_goes_on(bench: Bench, budget: str) -> None:
    bench.texts(texts(120))
    bench.pipeline(STEP, provider=ONE_AT_A_TIME, more=f"budget: {{{budget}}}\n")
    stopped(bench, r"the budget of .* is used up: .* are spent, and the next request needs about", "budget")
    assert 250 <= bench.server.stats()["tokens"] <= 400
    bench.pipeline(STEP)
    completes(bench, 120)


def test_too_many_failed_rows(bench: Bench) -> None:
    rows = [f"{text}{' POISON' if number % 3 == 0 else ''}" for number, text in enumerate(texts(600))]
    bench.texts(rows)
    bench.pipeline(STEP, source="partition_rows: 100", provider="limits: {concurrency: 2}\n")
    bench.server.change(poison=["POISON"])
    stopped(bench, r"rows failed, which is more than errors.stop_above allows \(10%\) \(invalid_request: ", "failures")
    bench.server.change(poison=[])
    completes(bench, 600)


def test_a_full_disk(bench: Bench, disk: tuple[Path, Mount]) -> None:
    folder, mount = disk
    bench.texts(texts(400))
    bench.pipeline(LARGE, provider=ONE_AT_A_TIME)
    stopped(bench, "No space left on device", "storage", state=folder)
    paid = bench.server.stats()["inputs"]
    assert 60 <= paid < 400, "it stops when it is full, and not at the end"
    mount("-o", "remount,size=64m")
    record = bench.run(state=folder)
    assert record.account is not None
    assert record.account.written == 400
    # What did not fit is paid for again: one request, and what was on its way when it did not.
    assert bench.server.stats()["repeated_answers"] <= 2 * 20


def test_an_output_that_cannot_be_written_any_more(bench: Bench, disk: tuple[Path, Mount]) -> None:
    folder, mount = disk
    bench.texts(texts(40))
    path = bench.pipeline(STEP, provider=ONE_AT_A_TIME)
    path.write_text(path.read_text().replace("path: out/result", f"path: {folder}/result"))
    with bench.open() as session:
        mount("-o", "remount,ro")
        with pytest.raises(RunStopped, match=r"the folder .* cannot be written; mend its permissions and resume"):
            run_inline(session)
    assert (session.record.reason, int(exit_code(session.record))) == ("storage", 3)
    mount("-o", "remount,rw")
    record = bench.run()
    assert record.account is not None
    assert record.account.written == 40
    assert record.usage.requests == 0, "only written, not asked"


def test_an_output_that_cannot_be_written_is_told_before_anything_is_paid(
    bench: Bench, disk: tuple[Path, Mount]
) -> None:
    folder, mount = disk
    bench.texts(texts(40))
    path = bench.pipeline(STEP)
    path.write_text(path.read_text().replace("path: out/result", f"path: {folder}/result"))
    mount("-o", "remount,ro")
    with pytest.raises(Exception, match=r"cannot be written|Read-only"):  # which one is not the point
        bench.run()
    assert bench.server.stats()["total_requests"] == 0


def test_a_source_that_changes_under_the_run(bench: Bench) -> None:
    bench.texts(texts(60))
    bench.pipeline(STEP, source="partition_rows: 20", provider=ONE_AT_A_TIME)
    bench.server.change(latency="20ms")
    rows = bench.folder / "rows.csv"
    before = rows.read_text()
    with bench.open(workers=1) as session:
        rows.write_text(before.replace("quiet", "noisy"))
        with pytest.raises(RunStopped, match=r"rows\.csv changed during the run.*resuming plans the new content"):
            run_inline(session)
    assert (session.record.reason, int(exit_code(session.record))) == ("source_changed", 3)
    rows.write_text(before)
    bench.server.change(latency=None)
    completes(bench, 60)


def test_two_runs_at_once_on_one_folder(bench: Bench, server: SandboxProcess) -> None:
    """The second is refused with the process of the first, and the first goes on."""
    import os

    from penstock.errors import RunLocked

    bench.texts(texts(20))
    bench.pipeline(STEP)
    with bench.open() as session:
        with pytest.raises(RunLocked, match=rf"another run of 'bench' is going on \(process {os.getpid()}\)"):
            bench.run()
        record = run_inline(session)
    assert record.account is not None
    assert record.account.written == 20
    assert server.stats()["repeated_answers"] == 0
