"""The benchmarks run; what they measure is for a quiet machine and judged by people."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.prefect
@pytest.mark.timeout(300)
def test_the_benchmark_of_throughput_runs_and_tells_of_each_rate(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "throughput.py"), "--quick"]
    environment = {**os.environ, "PENSTOCK_HOME": str(tmp_path)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280, env=environment)
    finally:
        penstock = Path(sys.executable).with_name("penstock")
        subprocess.run([penstock, "server", "stop"], env=environment, capture_output=True, check=True)
    assert done.returncode == 0, done.stderr
    for row in ("in flight", "chat rows per CPU-second", "vectors of 1,536 per CPU-second", "receive, decode, write"):
        assert row in done.stdout
