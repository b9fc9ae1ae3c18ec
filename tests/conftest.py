"""What tests of several packages share: `raw_http` is importable because this file stands here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Wall-clock deadlines fail on a shared machine and at first imports; the time-outs of the tests are enough.
settings.register_profile("penstock", deadline=None)
settings.load_profile("penstock")

# Some hundred processes import the same modules: they are compiled once, whatever the shell says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

_TOGETHER = {"flow": "flows", "cli": "commands", "docs": "commands", "pipelines": "commands"}
"""Folders whose tests start commands and Prefect servers: those of one kind are never in each other's way."""


@pytest.fixture(scope="session")
def local_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A ``PENSTOCK_HOME`` for commands of all folders: its Prefect server is started by the first, and ended here."""
    home = tmp_path_factory.mktemp("local-home")
    yield home
    penstock = Path(sys.executable).with_name("penstock")
    subprocess.run([penstock, "server", "stop"], env={**os.environ, "PENSTOCK_HOME": str(home)}, check=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """How tests are divided among processes (`pytest -n 2`): by file, and what starts processes together."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "commands" if "benchmarks" in file else _TOGETHER.get(file.split("/")[1], file)

        def _assign_work_unit(self, node: Any) -> None:
            # What takes longest begins first, so that nobody waits for it at the end.
            for scope in ("commands", "flows"):
                if scope in self.workqueue:
                    self.workqueue.move_to_end(scope, last=False)
            super()._assign_work_unit(node)

    return ByFile(config, log)
