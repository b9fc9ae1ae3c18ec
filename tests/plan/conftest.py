from __future__ import annotations

from pathlib import Path

import pytest
from plan_bench import PlanBench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanBench:
    monkeypatch.delenv("PENSTOCK_STATE", raising=False)
    return PlanBench(tmp_path)
