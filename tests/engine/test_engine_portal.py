"""One loop per process, from any thread, gone without a word."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.engine.jobs import engine
from penstock.engine.portal import Portal, portal


async def thread_name() -> str:
    return threading.current_thread().name


def test_all_threads_share_one_loop():
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: (id(portal()), id(engine()), portal().run(thread_name())), range(50)))
    assert len(found) == 1
    assert next(iter(found))[2] == "penstock-engine"


def test_an_exception_comes_to_the_caller():
    async def fails() -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        portal().run(fails())


def test_waiting_for_the_loop_inside_the_loop_is_refused_at_once():
    async def nested() -> None:
        portal().run(thread_name())

    with pytest.raises(RuntimeError, match="wait for itself"):
        portal().run(nested())


def test_closing_runs_the_closers_and_cancels_what_is_left():
    own = Portal()
    seen: list[str] = []

    async def closer() -> None:
        seen.append("closed")

    async def endless() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    own.at_close(closer)
    left = own.submit(endless())
    own.run(asyncio.sleep(0.01))
    own.close()
    own.close()
    assert seen == ["cancelled", "closed"]
    assert left.cancelled()
    assert not own.alive


SCRIPT = """
import asyncio, os, sys, warnings
warnings.simplefilter("error")
from penstock.engine.portal import portal
async def pid(): return os.getpid()
assert portal().run(pid()) == os.getpid()
child = os.fork()
if child == 0:
    assert portal().run(pid()) == os.getpid()
    portal().submit(asyncio.sleep(60))
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
portal().submit(asyncio.sleep(60))
assert portal().run(pid()) == os.getpid()
"""


def test_a_fork_gets_a_loop_of_its_own_and_both_end_quietly():
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
