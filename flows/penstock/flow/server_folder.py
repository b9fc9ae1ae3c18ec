"""Where the embedded Prefect API server lives on disk, and who holds it.

One folder per version of Prefect, since a database that a newer version has migrated cannot be read by an older one:

====================  ==================================================================================
``start.lock``        held for the moment in which a client decides, or the server decides to end
``server.lock``       held by the server as long as it lives; a pid alone may be somebody else's by now
``clients.lock``      held shared by every client; the kernel lets go of it however the client ends
``server.json``       address, pid and token of the server
``idle``              seconds without a client after which the server ends
``server.log``        its standard output and error
``prefect/``          its PREFECT_HOME: the database, kept from start to start
====================  ==================================================================================
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from penstock.errors import InputError, StorageFailed
from penstock.values import parse_duration

DEFAULT_IDLE = 600.0
NEVER = float("inf")
TOKEN_HEADER = "x-penstock-server"  # noqa: S105  # the name of a header


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """The embedded server as its starter wrote it down.

    Attributes:
        url: the API's address.
        pid: its process.
        token: sent back in a header by this very server, so that a stranger on its port is not taken for it.
        started: when, in seconds since the epoch.
        prefect: version of Prefect it serves.
        penstock: version of Penstock that started it.
    """

    url: str
    pid: int
    token: str
    started: float
    prefect: str
    penstock: str


@dataclass(frozen=True, slots=True)
class ServerFolder:
    """The folder of the embedded server.

    Attributes:
        path: absolute path of the folder; it exists once `create` was called.
    """

    path: Path

    @classmethod
    def of_user(cls) -> ServerFolder:
        """The folder under ``PENSTOCK_HOME``, ``$XDG_STATE_HOME/penstock`` or ``~/.local/state/penstock``."""
        return cls(user_state_folder() / f"prefect-{version('prefect')}")

    def create(self) -> None:
        """Make the folder, readable by its owner only.

        Raises:
            StorageFailed: it cannot be made; the message names ``PENSTOCK_HOME``.
        """
        try:
            self.prefect_home.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
        except OSError as error:
            raise StorageFailed(
                f"the folder of the local Prefect server, {self.path}, cannot be made ({error.strerror}); "
                "set PENSTOCK_HOME to a folder that can be written"
            ) from error

    @property
    def prefect_home(self) -> Path:
        """``PREFECT_HOME`` of the server."""
        return self.path / "prefect"

    @property
    def log(self) -> Path:
        """What the server prints."""
        return self.path / "server.log"

    def log_tail(self, lines: int = 5) -> str:
        """The last lines of the log that are not blank, or an empty text."""
        with contextlib.suppress(FileNotFoundError):
            text = self.log.read_bytes()[-20_000:].decode("utf-8", "replace")
            return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])
        return ""

    def read(self) -> ServerRecord | None:
        """The record, or None when there is none (or one that another version wrote)."""
        try:
            return ServerRecord(**json.loads((self.path / "server.json").read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def write(self, record: ServerRecord) -> None:
        """Put the record in place, whole or not at all."""
        temporary = self.path / "server.json.tmp"
        temporary.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")
        temporary.chmod(0o600)
        temporary.replace(self.path / "server.json")

    def forget(self, token: str) -> None:
        """Remove the record if it is that of the server with `token`."""
        if (record := self.read()) and record.token == token:
            (self.path / "server.json").unlink(missing_ok=True)

    @property
    def idle(self) -> float:
        """Seconds without a client after which the server ends; infinity for never."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return float((self.path / "idle").read_text(encoding="utf-8"))
        return DEFAULT_IDLE

    def set_idle(self, seconds: float) -> None:
        """Write the idle limit down; a running server reads it every moment."""
        temporary = self.path / f"idle.{os.getpid()}"
        temporary.write_text(str(seconds), encoding="utf-8")
        temporary.replace(self.path / "idle")

    @contextlib.contextmanager
    def deciding(self) -> Iterator[None]:
        """Hold ``start.lock``: nobody else starts, ends or looks for the server meanwhile."""
        descriptor = self._open("start.lock")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def hold_as_client(self) -> int:
        """A descriptor that holds ``clients.lock`` shared, until it is closed or the process ends."""
        descriptor = self._open("clients.lock")
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor

    def hold_as_server(self) -> int | None:
        """A descriptor that holds ``server.lock``, or None when a server holds it already."""
        return self._try_exclusive("server.lock")

    def has_server(self) -> bool:
        """Whether a server's process lives, answering or not."""
        return self._is_held("server.lock")

    def has_clients(self) -> bool:
        """Whether any client lives."""
        return self._is_held("clients.lock")

    def _is_held(self, name: str) -> bool:
        descriptor = self._try_exclusive(name)
        if descriptor is None:
            return True
        os.close(descriptor)
        return False

    def _try_exclusive(self, name: str) -> int | None:
        descriptor = self._open(name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def _open(self, name: str) -> int:
        return os.open(self.path / name, os.O_RDWR | os.O_CREAT, 0o600)


def user_state_folder() -> Path:
    """What Penstock keeps for this user beside pipelines: ``PENSTOCK_HOME``, else the XDG state folder's."""
    if home := os.environ.get("PENSTOCK_HOME", "").strip():
        return Path(home).expanduser().absolute()
    # The XDG base directory specification says that a relative path is to be ignored.
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (state if state.is_absolute() else Path.home() / ".local" / "state") / "penstock"


def idle_limit(written: str | None = None) -> float:
    """Seconds from `written`, else from ``PENSTOCK_SERVER_IDLE``, else ten minutes; ``never`` is infinity.

    Raises:
        InputError: it is not a duration.
    """
    text = written if written is not None else os.environ.get("PENSTOCK_SERVER_IDLE", "")
    if not text.strip():
        return DEFAULT_IDLE
    if text.strip().lower() == "never":
        return NEVER
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InputError(f"PENSTOCK_SERVER_IDLE or --idle: {error}, or never") from None
