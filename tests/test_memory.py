"""What is freed goes back to the system in processes that only run a pipeline, and nowhere else."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

HOLES = """
import ctypes, sys
from penstock import memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 // 1_000_000

if sys.argv[1] == "a run":
    memory.give_back_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def held(size):
    found = libc.malloc(size)
    libc.memset(found, 1, size)
    return found

before = resident()
# Between what stays there are holes: what a partition's buffers leave behind.
holes, stays = zip(*((held(100_000), held(2_000)) for _ in range(600)))
for hole in holes:
    libc.free(hole)
left = resident() - before
memory.trim()
print(left, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have other allocators")
@pytest.mark.parametrize(("who", "most"), [("a run", 15), ("a program", 100)])
def test_what_is_free_between_what_is_used_goes_back_in_runs_alone(who: str, most: int) -> None:
    done = subprocess.run([sys.executable, "-c", HOLES, who], capture_output=True, text=True, check=True)
    left, after = map(int, done.stdout.split())
    assert left > 40, "the holes were not given back by themselves"
    assert after <= most
    assert (after > 40) == (who == "a program"), "a program that only imports Penstock is left as it is"
