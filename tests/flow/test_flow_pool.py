"""The pool of processes for `runner: processes`, where one of its processes is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.prefect]

PROGRAM = """
import gc, os, signal, sys
from multiprocessing.queues import Queue

from penstock.flow.runners import RenewablePool


def messages():
    return next(one for one in gc.get_objects() if type(one) is Queue)


def die_with_the_lock():
    messages()._wlock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def greet():
    messages().put(("greeting", "hello from a new process"))
    return "worked"


def show():
    return lambda kind, content: print(content, flush=True)


if __name__ == "__main__":
    pool = RenewablePool(max_workers=1, subprocess_message_processor_factories=[show])
    with pool:
        pool._executor.submit(die_with_the_lock).exception()
        if "renew" in sys.argv:
            assert pool.renew()
            print(pool._executor.submit(greet).result(), flush=True)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def run(program: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(program), *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_process_killed_with_the_lock_of_the_log_takes_neither_the_work_nor_the_log_of_those_after_it(
    program: Path,
) -> None:
    assert sorted(run(program, "renew").splitlines()) == ["hello from a new process", "worked"]


def test_a_run_ends_though_a_process_of_it_was_killed_with_the_lock_of_the_log(program: Path) -> None:
    assert run(program) == ""
