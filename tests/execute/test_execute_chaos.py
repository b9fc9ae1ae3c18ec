"""A run that is killed again and again while its server fails, as `benchmarks/chaos.py` plays it at length."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROWS = 20_000
KILLS = 20
CHAOS = Path(__file__).parents[2] / "benchmarks" / "chaos.py"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_twenty_times_amid_faults_nothing_is_lost_nothing_is_there_twice_and_hardly_anything_is_paid_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All 20,000 rows are embedded; every tenth is asked in a chat, for 20,000 chats would take minutes."""
    spec = importlib.util.spec_from_file_location("chaos", CHAOS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "chaos", module)
    monkeypatch.setenv("CHAOS_API_KEY", "")
    spec.loader.exec_module(module)
    figures = module.chaos(tmp_path, rows=ROWS, every=10, kills=KILLS)
    assert (figures.written, figures.failed, figures.differences) == (ROWS, 0, 0), figures
    assert figures.waste <= 0, figures
    assert figures.paid - figures.twice <= figures.asked
    assert figures.kinds >= 20, figures
    assert 0.05 < figures.faults / figures.requests < 0.15, figures
