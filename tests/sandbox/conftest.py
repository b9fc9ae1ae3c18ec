from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from penstock.sandbox.launch import SandboxProcess, start


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxProcess]:
    """One server for all tests of a module; the model `tiny` has vectors of eight numbers."""
    with start(models=["tiny:8"], poison=["arsenic"]) as process:
        yield process


@pytest.fixture
def http(server: SandboxProcess) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {server.key}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=10) as client:
        yield client
