"""What tests of several packages share: `raw_http` is importable because this file stands here."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# Wall-clock deadlines fail on a shared machine and at first imports; the time-outs of the tests are enough.
settings.register_profile("penstock", deadline=None)
settings.load_profile("penstock")

_PROCESSES = frozenset(["cli", "docs", "flow", "pipelines"])
"""Folders whose tests start commands and Prefect servers: two at a time would only be in each other's way."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What stays together when tests are divided among processes (`pytest -n 2 --dist loadgroup`)."""
    here = Path(__file__).parent
    for item in items:
        place = item.path.relative_to(here)
        group = "processes" if place.parts[0] in _PROCESSES else str(place)
        item.add_marker(pytest.mark.xdist_group(group))
