"""One Prefect API for all pipelines: its first start takes longer than any of their runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from pipeline_runs import PENSTOCK


@pytest.fixture(scope="session")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a user without any key."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI")}
    given = {**kept, "PENSTOCK_HOME": str(tmp_path_factory.mktemp("home"))}
    try:
        yield given
    finally:
        subprocess.run([PENSTOCK, "server", "stop"], env=given, capture_output=True, check=False)
