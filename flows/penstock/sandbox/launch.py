"""Starts the sandbox in a process of its own, for a run or a test, and never leaves one behind."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from penstock.errors import InputError, PenstockError
from penstock.sandbox.settings import DEFAULT_KEY, Settings

LOOPBACK = "127.0.0.1"
_SHOWN_OF_STDERR = 4_000
_PATIENCE = 2.0


class SandboxNotStarted(PenstockError):
    """The sandbox's process ended or stayed silent; the message holds what it said."""


class SandboxProcess:
    """A running sandbox. Ends with `close`, with its context, and with the process that started it.

    Attributes:
        url: the base URL for clients, for example ``http://127.0.0.1:40123/v1``.
        port: where it listens.
        pid: of its process.
        key: the key it takes.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, key: str, stderr: IO[bytes]) -> None:
        self._process = process
        self._stderr = stderr
        self.port = port
        self.key = key
        self.pid = process.pid
        self.url = f"http://{LOOPBACK}:{port}/v1"

    def __enter__(self) -> SandboxProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SandboxProcess(url={self.url!r}, pid={self.pid})"

    @property
    def running(self) -> bool:
        """Whether its process is alive."""
        return self._process.poll() is None

    def stats(self) -> dict[str, Any]:
        """What it has done so far: ``GET /_sandbox/stats``."""
        return self._control("GET", "/_sandbox/stats")

    def reset(self) -> None:
        """Counters to zero, limits full, faults as at the start."""
        self._control("POST", "/_sandbox/reset")

    def change(self, **fields: object) -> dict[str, Any]:
        """Other `faults`, `latency`, `poison` or `seed` from now on; what holds then.

        Raises:
            InputError: a value is wrong.
        """
        return self._control("POST", "/_sandbox/faults", fields)

    def close(self) -> None:
        """End the process and wait for it; a second call does nothing."""
        _end(self._process)
        self._stderr.close()

    def _control(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=10)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            value: dict[str, Any] = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise InputError(value["error"]["message"])
        return value


def start(
    *,
    key: str = DEFAULT_KEY,
    port: int = 0,
    faults: Sequence[str] = (),
    latency: str | float | None = None,
    rpm: int | None = None,
    tpm: int | None = None,
    queue: int | None = None,
    seed: int = 0,
    poison: Sequence[str] = (),
    models: Sequence[str] = (),
    state: str | None = None,
    pace: str | float = 1.0,
    startup_timeout: float = 30.0,
) -> SandboxProcess:
    """Start a sandbox on this machine's loopback address and wait until it accepts requests.

    Args:
        key: the one key it takes.
        port: 0 takes a free one.
        faults: such as ``429:5%`` or ``500:x3``; all names stand in `penstock.faults.FAULTS`.
        latency: ``200ms`` or ``150ms..250ms``; a number is seconds.
        rpm: requests per minute for each model.
        tpm: tokens per minute for each model.
        queue: tokens that may wait in batches, for each model.
        seed: decides which requests meet faults.
        poison: a request whose input holds one of these texts gets 400.
        models: further embedding models, ``NAME:SIZE``.
        state: a folder where files, jobs and batches outlive the server.
        pace: how long jobs and batches stay in each state; a number is seconds.
        startup_timeout: seconds.

    Raises:
        InputError: a setting is wrong, or the port is taken.
        SandboxNotStarted: it did not come up in time.
    """
    settings = Settings.parse(
        key=key,
        port=port,
        faults=faults,
        latency=latency,
        rpm=rpm,
        tpm=tpm,
        queue=queue,
        seed=seed,
        poison=poison,
        models=models,
        state=state,
        pace=pace,
    )
    return _launch(settings, startup_timeout)


def _launch(settings: Settings, timeout: float) -> SandboxProcess:
    stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed by SandboxProcess.close
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "penstock.sandbox"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=child_environment(),
        start_new_session=True,
    )
    try:
        # By the pipe and not as arguments, which other users of the machine can read.
        _write(process, json.dumps(settings.to_json()).encode() + b"\n")
        bound_port = _port_of(_wait_for_line(process, timeout), lambda: _explain(process, stderr, timeout))
    except BaseException:
        _end(process, at_once=True)
        stderr.close()
        raise
    return SandboxProcess(process, bound_port, settings.key, stderr)


def child_environment() -> dict[str, str]:
    """The environment, with the folder this package was imported from, which may not be installed."""
    root = str(Path(__file__).resolve().parents[2])
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != root]
    return os.environ | {"PYTHONPATH": os.pathsep.join([root, *others])}


def _write(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None  # noqa: S101  # asked for above
    # A child that died already is told by its silence, with its standard error.
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(data)
        process.stdin.flush()


def _wait_for_line(process: subprocess.Popen[bytes], timeout: float) -> dict[str, Any]:
    """The child's first line; empty when it ended or the time is over."""
    assert process.stdout is not None  # noqa: S101  # asked for above
    deadline = time.monotonic() + timeout
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return {}
            piece = os.read(process.stdout.fileno(), 4096)
            if not piece:
                return {}
            line += piece
    value: dict[str, Any] = json.loads(line)
    return value


def _port_of(message: dict[str, Any], explain: Callable[[], str]) -> int:
    if "error" in message:
        raise InputError(str(message["error"]))
    if "port" not in message:
        raise SandboxNotStarted(explain())
    return int(message["port"])


def _explain(process: subprocess.Popen[bytes], stderr: IO[bytes], timeout: float) -> str:
    try:
        end = f"ended with code {process.wait(0.5)}"
    except subprocess.TimeoutExpired:
        end = f"was not ready after {timeout:g} s"
    stderr.seek(0)
    said = stderr.read().decode(errors="replace").strip()[-_SHOWN_OF_STDERR:]
    return f"the sandbox {end}." + (f" It said:\n{said}" if said else " It said nothing.")


def _end(process: subprocess.Popen[bytes], *, at_once: bool = False) -> None:
    """Closing its standard input ends it; if not, it is killed."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None and not pipe.closed:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    if at_once:
        process.kill()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
