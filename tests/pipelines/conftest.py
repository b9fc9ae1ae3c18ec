"""One Prefect API for all pipelines: its first start takes longer than any of their runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def environ(local_home: Path) -> dict[str, str]:
    """The environment of a user without any key."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI")}
    return {**kept, "PENSTOCK_HOME": str(local_home)}
