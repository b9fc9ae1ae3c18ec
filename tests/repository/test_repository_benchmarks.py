"""The benchmarks run; what they measure is for a quiet machine and judged by people."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


pytestmark = [pytest.mark.slow, pytest.mark.prefect, pytest.mark.timeout(300)]


def quickly(benchmark: str, home: Path) -> str:
    """What a benchmark prints when everything is done once."""
    command = [sys.executable, str(ROOT / "benchmarks" / benchmark), "--quick"]
    environment = {**os.environ, "PENSTOCK_HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_benchmark_of_throughput_runs_and_tells_of_each_rate(local_home: Path) -> None:
    printed = quickly("throughput.py", local_home)
    for row in ("in flight", "chat rows per CPU-second", "vectors of 1,536 per CPU-second", "receive, decode, write"):
        assert row in printed


def test_the_benchmark_of_limits_runs_and_tells_of_both(local_home: Path) -> None:
    printed = quickly("limits.py", local_home)
    assert re.search(r"1,200 requests .* [0-9.]+ +[0-9.]+%", printed)
    assert re.search(r"30,000 tokens .* [0-9.]+ +[0-9.]+%", printed)


def test_the_benchmark_of_start_up_runs_and_tells_what_each_command_costs(local_home: Path) -> None:
    # It starts and ends a server of its own.
    printed = quickly("startup.py", local_home)
    rows = ('python -c "import prefect"', "penstock --help", "penstock check", "server up", "server too")
    for table in printed.split("\n\n")[1:]:
        for row in rows:
            assert f"{row} " in table
    assert re.search(r"server up: [0-9.]+ s of 5 s", printed)
