"""One embedded server for all tests here, in a folder of their own; Prefect sends nothing anywhere."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import pytest

# Prefect reads its settings at import, which a test module may do while it is collected.
os.environ["DO_NOT_TRACK"] = "1"
os.environ.setdefault("PREFECT_HOME", tempfile.mkdtemp(prefix="penstock-tests-prefect-"))
os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
for _name in (
    "PREFECT_API_URL",
    "PREFECT_PROFILE",
    "PREFECT_PROFILES_PATH",
    "PENSTOCK_SERVER_IDLE",
    "PENSTOCK_SERVER_KEEP",
):
    os.environ.pop(_name, None)

from prefect_processes import Prefect, prefect_server  # noqa: E402  # as above
from stand_in import Recorder, StandIn, StandInPlan, Work, chain, pipeline_file  # noqa: E402  # after the settings

from penstock.flow import embedded, server  # noqa: E402  # as above
from penstock.flow.connection import Connection, forget_own  # noqa: E402  # as above
from penstock.flow.draining import drain  # noqa: E402  # as above
from postgres import postgres_server  # noqa: E402  # after the settings


@pytest.fixture(scope="session")
def server_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def connection(server_home: Path) -> Iterator[Connection]:
    """The shared embedded server, up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PENSTOCK_HOME", str(server_home))
        boot = server.begin(keep=False)
        found = boot.wait()
        yield found
        drain()
        boot.release()
        embedded.stop()
        forget_own()


@pytest.fixture(scope="session")
def scheduling_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """A whole Prefect server, with its scheduler; on PostgreSQL when ``PENSTOCK_TEST_DATABASE=postgres``."""
    folder = tmp_path_factory.mktemp("server")
    with ExitStack() as stack:
        environment = {}
        if os.environ.get("PENSTOCK_TEST_DATABASE") == "postgres":
            postgres = stack.enter_context(postgres_server())
            postgres.execute("create extension pg_trgm")
            uri = postgres.uri("owner").replace("postgresql://", "postgresql+asyncpg://")
            environment = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": uri}
        yield stack.enter_context(prefect_server(folder, **environment))


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins as a process does: the address of the shared server is no choice of a user's."""
    for name in ("PREFECT_API_URL", "PENSTOCK_EMBEDDED_API_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own, and nothing configured."""
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect-home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[StandIn, Recorder]]:
    """Makes a session without data, and what records the calls of its tasks."""
    from penstock.spec.load import load

    def make(
        work: Work, *, partitions: int = 4, segments: tuple[str, ...] = ("embed", "copy"), **more: object
    ) -> tuple[StandIn, Recorder]:
        recorder = Recorder(work)
        module = ModuleType("penstock.execute.segment")
        module.run_segment = recorder  # type: ignore[attr-defined]  # the one name that the task imports
        monkeypatch.setitem(sys.modules, "penstock.execute.segment", module)
        loaded = load(pipeline_file(tmp_path, **more))
        plan = StandInPlan(chain(partitions, segments), str(loaded.file))
        return StandIn(loaded, plan, tmp_path / "plan.json"), recorder  # type: ignore[arg-type]  # stands in for Plan

    return make
