"""The embedded Prefect API server as its clients see it: found, started, waited for, asked about, ended."""

from __future__ import annotations

import os
import secrets
import signal
import site
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import penstock
from penstock.flow.rest import Api, ServerUnavailable, call
from penstock.flow.server_folder import TOKEN_HEADER, ServerFolder, ServerRecord, idle_limit

START_LIMIT = 180.0
STOP_LIMIT = 15.0
_POLL = 0.05
# What the server may see of the environment. No key is among it: the server has no use for one.
_PASSED_ON = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "SHELL", "VIRTUAL_ENV"}
    | {"LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE"}
    | {"DO_NOT_TRACK", "PREFECT_SERVER_ANALYTICS_ENABLED", "PREFECT_LOGGING_LEVEL", "PREFECT_LOGGING_SERVER_LEVEL"}
)


def nothing() -> None:
    """What is done while waiting when nobody wants to know."""


@dataclass(slots=True)
class Hold:
    """The embedded server, kept alive for this process until `release`.

    Attributes:
        folder: where it lives.
        record: its address and process.
        is_ours: whether this process started it.
        idle: the idle limit that was asked for.
    """

    folder: ServerFolder
    record: ServerRecord
    is_ours: bool
    idle: float
    _client: int | None

    def wait(self, limit: float = START_LIMIT, while_waiting: Callable[[], None] = nothing) -> Api:
        """Block until the server answers.

        Raises:
            ServerUnavailable: it ended, or did not answer within `limit` seconds; with the end of its log.
        """
        deadline = time.monotonic() + limit
        while not answers(self.record):
            if not self.folder.has_server():
                self._start_again()
            elif time.monotonic() > deadline:
                raise ServerUnavailable(
                    f"the local Prefect server did not answer within {limit:.0f} seconds; try again, or see "
                    f"{self.folder.log}" + _quoted(self.folder.log_tail())
                )
            while_waiting()
            time.sleep(_POLL)
        return Api(self.record.url)

    def release(self) -> None:
        """Say that this process needs the server no more: its idle time begins."""
        if self._client is not None:
            os.close(self._client)
            self._client = None

    def _start_again(self) -> None:
        """Replace a server that was already ending when it was found; one that we started has failed for good."""
        if self.is_ours:
            self.release()
            raise ServerUnavailable(
                f"the local Prefect server ended while it was starting; its log is {self.folder.log}"
                + _quoted(self.folder.log_tail())
            )
        fresh = hold(self.folder, self.idle)
        self.release()
        self.record, self._client, self.is_ours = fresh.record, fresh._client, fresh.is_ours


def hold(folder: ServerFolder, idle: float, *, port: int = 0, is_asked: bool = False) -> Hold:
    """Find the embedded server or start it, and keep it from ending; it may not answer yet.

    Args:
        folder: where it lives.
        idle: seconds without a client after which it is to end.
        port: for a server that is started now; 0 takes a free one.
        is_asked: whether `idle` was asked for by name, and so also holds for a running server.
    """
    folder.create()
    with folder.deciding(), ExitStack() as undo:
        # Held before the server is looked for: a server with a client does not end.
        client = folder.hold_as_client()
        undo.callback(os.close, client)
        record = folder.read()
        if record and folder.has_server():
            # A longer limit that was asked for by name outlives ordinary runs.
            if is_asked or folder.idle == 0:
                folder.set_idle(idle)
            is_ours = False
        else:
            _await_end(folder)
            folder.set_idle(idle)
            record, is_ours = _spawn(folder, port), True
        undo.pop_all()
        return Hold(folder, record, is_ours, idle, client)


def revive(url: str) -> bool:
    """Start the embedded server again at the address that it had, if its process is gone; True if that was done.

    Its database is on disk, and Prefect's clients try for a minute: a run goes on as if nothing had been.

    Raises:
        ServerUnavailable: somebody else has its port now.
    """
    folder = ServerFolder.of_user()
    with folder.deciding():
        if folder.has_server():
            return False
        _spawn(folder, urlsplit(url).port or 0)
        return True


def answers(record: ServerRecord) -> bool:
    """Whether that very server answers at its address."""
    try:
        return call(Api(record.url), "GET", "/health", timeout=5).headers.get(TOKEN_HEADER) == record.token
    except ServerUnavailable:
        return False


def _spawn(folder: ServerFolder, port: int) -> ServerRecord:
    """Start the server's process in a session of its own and write its record; `start.lock` is held."""
    lock = folder.hold_as_server()
    if lock is None:
        raise ServerUnavailable(f"an old local Prefect server does not end; see {folder.log}, or: penstock server stop")
    # Bound here, so that no one else can take the port; refused until the server listens on it.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    log = os.open(folder.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    token = secrets.token_hex(16)
    try:
        _bind(listener, port)
        record = ServerRecord(
            url=f"http://127.0.0.1:{listener.getsockname()[1]}/api",
            pid=_start_process(folder, token, listener.fileno(), lock, log),
            token=token,
            started=time.time(),
            prefect=version("prefect"),
            penstock=penstock.__version__,
        )
    finally:
        listener.close()
        os.close(log)
        os.close(lock)
    folder.write(record)
    return record


def _bind(listener: socket.socket, port: int) -> None:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        raise ServerUnavailable(f"port {port} of 127.0.0.1 cannot be used: {error.strerror}") from error


def _start_process(folder: ServerFolder, token: str, listener: int, lock: int, log: int) -> int:
    # Above every descriptor in use, so that no duplicate lands on one that is still to be duplicated.
    free = max(listener, lock, log) + 10
    command = [sys.executable, "-P", "-m", "penstock.flow.server_process"]
    return os.posix_spawn(
        sys.executable,
        [*command, str(folder.path), token, str(free), str(free + 1)],
        _environment(folder),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
            (os.POSIX_SPAWN_DUP2, listener, free),
            (os.POSIX_SPAWN_DUP2, lock, free + 1),
        ],
        setsid=True,
        # A parent that ignores or blocks a signal must not make a server that nobody can end.
        setsigmask=[],
        setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGHUP],
    )


def _environment(folder: ServerFolder) -> dict[str, str]:
    passed = {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith("LC_")}
    root = str(Path(penstock.__file__).resolve().parents[1])
    if root not in site.getsitepackages():
        passed["PYTHONPATH"] = os.pathsep.join(filter(None, [passed.get("PYTHONPATH", ""), root]))
    return {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        **passed,
        "PREFECT_HOME": str(folder.prefect_home),
        "PREFECT_PROFILES_PATH": str(folder.prefect_home / "profiles.toml"),
        "PREFECT_UI_ENABLED": "false",
        "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
        # The default lets every web page in the user's browser read the API.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "http://127.0.0.1",
        "PYTHONUNBUFFERED": "1",
    }


def _await_end(folder: ServerFolder) -> bool:
    """Wait until no server's process lives; False when one still does after `STOP_LIMIT` seconds."""
    deadline = time.monotonic() + STOP_LIMIT
    while folder.has_server():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True


@dataclass(frozen=True, slots=True)
class Status:
    """The embedded server, for people.

    Attributes:
        state: ``running``, ``starting`` (its process lives but does not answer) or ``stopped``.
        record: address and process; None when stopped.
        idle: its idle limit in seconds.
        folder: where it lives.
    """

    state: Literal["running", "starting", "stopped"]
    record: ServerRecord | None
    idle: float
    folder: ServerFolder


def status() -> Status:
    """How the embedded server of this user is.

    Raises:
        InputError: ``PENSTOCK_SERVER_IDLE`` is not a duration.
    """
    folder = ServerFolder.of_user()
    record = folder.read()
    if record is None or not folder.has_server():
        return Status("stopped", None, idle_limit(), folder)
    return Status("running" if answers(record) else "starting", record, folder.idle, folder)


def start(*, idle: float, port: int = 0, while_waiting: Callable[[], None] = nothing) -> ServerRecord:
    """Start the embedded server, or set the idle limit of the running one, and leave it running.

    Args:
        idle: seconds without a client after which it ends; infinity for never.
        port: on 127.0.0.1; 0 takes a free one. Only for a server that is started now.
        while_waiting: called every moment of the start.

    Raises:
        ServerUnavailable: it does not start.
    """
    held = hold(ServerFolder.of_user(), idle, port=port, is_asked=True)
    try:
        held.wait(while_waiting=while_waiting)
    finally:
        held.release()
    return held.record


def stop() -> bool:
    """End the embedded server, by force when it does not end by itself; False when there was none.

    Raises:
        ServerUnavailable: its process cannot be ended.
    """
    folder = ServerFolder.of_user()
    record = folder.read()
    if record is None or not folder.has_server():
        return False
    # server.lock is held, so the pid is the server's and nobody else's.
    for sign in (signal.SIGTERM, signal.SIGKILL):
        os.kill(record.pid, sign)
        if _await_end(folder):
            folder.forget(record.token)
            return True
    raise ServerUnavailable(f"the local Prefect server, process {record.pid}, does not end")


def _quoted(log: str) -> str:
    return f":\n{log}" if log else ""
