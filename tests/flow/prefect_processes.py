"""Prefect as it is installed in earnest: a server with a scheduler, workers, and its own command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from penstock.flow.rest import Api, ServerUnavailable, call
from postgres import free_port

ROOT = Path(__file__).parents[2]


class Prefect:
    """One server, seen from `folder`: only the deployments made since, and the processes started there."""

    def __init__(self, home: Path, port: int, folder: Path, **environment: str) -> None:
        self.home = home
        self._own = environment
        self.port = port
        self.folder = folder
        self.api = Api(f"http://127.0.0.1:{port}/api")
        self._started: list[subprocess.Popen[bytes]] = []
        self._before: set[str] = set()
        quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "PREFECT_CLI_PROMPT": "false"}
        places = {
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.api.url,
            "PENSTOCK_HOME": str(home / "penstock"),
            "PYTHONPATH": str(ROOT / "flows"),
        }
        self.environment = {**os.environ, **quiet, **places, **environment}

    def run(self, *words: str, cwd: Path = ROOT) -> str:
        """A command of Prefect, to its end."""
        return self.command("-m", "prefect", *words, cwd=cwd)

    def penstock(self, *words: str, cwd: Path = ROOT) -> str:
        """A command of Penstock, to its end."""
        return self.command("-c", "from penstock.cli import main; main()", *words, cwd=cwd)

    def command(self, *words: str, cwd: Path) -> str:
        # A shell would say where it is; Prefect's own files refer to it.
        environment = {**self.environment, "PWD": str(cwd)}
        done = subprocess.run(
            [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *words: str, program: tuple[str, ...] = ("-m", "prefect"), **environment: str) -> None:
        """A command that goes on, with its output in a file of its own."""
        with (self.folder / f"{words[0]}-{len(self._started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *program, *words],
                cwd=ROOT,
                env={**self.environment, **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)

    def end(self, number: signal.Signals = signal.SIGTERM) -> list[int]:
        """End what was started, the last first; the exit codes."""
        codes = []
        for process in reversed(self._started):
            process.send_signal(number)
            try:
                codes.append(process.wait(30))
            except subprocess.TimeoutExpired:
                process.kill()
                codes.append(process.wait())
        self._started.clear()
        return codes

    def deployments(self) -> dict[str, dict[str, Any]]:
        """All deployments of the server, by id."""
        found = call(self.api, "POST", "/deployments/filter", {}, timeout=30, patience=30).body
        return {one["id"]: one for one in found}

    def begin(self, deployment: str) -> None:
        """Have a deployment run now."""
        path = f"/deployments/{deployment}/create_flow_run"
        call(self.api, "POST", path, {"state": {"type": "SCHEDULED"}}, timeout=30, patience=30)

    def runs(self, flow: str | None = None) -> list[dict[str, Any]]:
        """The runs that have begun or are due, of the deployments made since, the earliest first."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        wanted: dict[str, Any] = {
            "flow_runs": {"expected_start_time": {"before_": now}},
            "sort": "EXPECTED_START_TIME_ASC",
        }
        if flow is not None:
            wanted["flows"] = {"name": {"any_": [flow]}}
        found: list[dict[str, Any]] = call(self.api, "POST", "/flow_runs/filter", wanted, timeout=30, patience=30).body
        mine = set(self.deployments()) - self._before
        return [run for run in found if run["deployment_id"] in mine]

    def until(self, wanted: Callable[[dict[str, Any]], bool], limit: float, flow: str | None = None) -> dict[str, Any]:
        """The first flow run that is as wanted."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            for run in self.runs(flow):
                if wanted(run):
                    return run
            time.sleep(0.5)
        states = [(run["name"], run["state_name"], run["state"]["message"]) for run in self.runs(flow)]
        raise AssertionError(f"{states}\n{self.logs()}")

    def logs(self) -> str:
        """The ends of all outputs."""
        return "\n".join(path.read_text()[-4000:] for path in self.folder.glob("*.log"))

    @contextmanager
    def guest(self, folder: Path) -> Iterator[Prefect]:
        """The same server for another test: what it started is ended, and what it deployed is taken away again."""
        guest = Prefect(self.home, self.port, folder, **self._own)
        guest._before = set(self.deployments())
        try:
            yield guest
        finally:
            guest.end()
            for made in set(self.deployments()) - guest._before:
                call(self.api, "DELETE", f"/deployments/{made}", timeout=30, patience=30)


@contextmanager
def prefect_server(folder: Path, **environment: str) -> Iterator[Prefect]:
    """`prefect server start` with a home of its own, up."""
    port = free_port()
    (folder / "home").mkdir()
    server = Prefect(folder / "home", port, folder, **environment)
    server.start("server", "start", "--host", "127.0.0.1", "--port", str(port))
    try:
        _wait_until_healthy(server)
        yield server
    finally:
        server.end()


def _wait_until_healthy(server: Prefect) -> None:
    deadline = time.monotonic() + 150
    while True:
        try:
            call(server.api, "GET", "/health")
        except ServerUnavailable:
            assert time.monotonic() < deadline, server.logs()
            time.sleep(0.5)
        else:
            return
