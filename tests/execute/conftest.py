from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from execute_bench import Bench

from penstock.sandbox.launch import SandboxProcess, start


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxProcess]:
    """One sandbox for the tests of a module; `bench` sets it back before each test."""
    with start() as running:
        yield running


@pytest.fixture
def bench(tmp_path: Path, server: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("BENCH_API_KEY", server.key)
    monkeypatch.delenv("PENSTOCK_STATE", raising=False)
    server.change(faults=[], poison=[], latency=None)
    server.reset()
    return Bench(tmp_path, server)
