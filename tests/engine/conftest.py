"""The key of the provider that `echo_jobs` makes."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_TEST_KEY", "sk-engine-0123456789")
