"""What passes between whoever conducts a run and its worker processes: small files in the run's folder.

The folder is the one thing that all of them share. ``orders.json`` goes one way, a report for each process the other;
each is replaced as a whole, and says all there is to say, so that a lost or late reading does no harm.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from penstock import errors
from penstock.engine.worker_control import Report
from penstock.errors import RunStopped

ORDERS = "orders.json"
_REPORT = ".report.json"


class Orders(msgspec.Struct, frozen=True):
    """What the worker processes are to do.

    Attributes:
        number: counts on as long as somebody conducts the run.
        stop: why they are to stop, as the name of an exception and its text; None while the run goes on.
        usd, tokens: what each process was allotted in all, by its name.
    """

    number: int = 0
    stop: tuple[str, str] | None = None
    usd: dict[str, float] = {}
    tokens: dict[str, int] = {}

    @property
    def reason(self) -> RunStopped | None:
        """The exception that `stop` names."""
        if self.stop is None:
            return None
        kind = getattr(errors, self.stop[0], RunStopped)
        is_stop = isinstance(kind, type) and issubclass(kind, RunStopped)
        return (kind if is_stop else RunStopped)(self.stop[1])


def write_orders(folder: Path, orders: Orders) -> None:
    """Replace the orders.

    Raises:
        OSError: the folder cannot be written.
    """
    _replace(folder / ORDERS, msgspec.json.encode(orders))


def read_orders(folder: Path) -> Orders | None:
    """The orders as they stand; None before the first, or while the folder cannot be read."""
    try:
        return msgspec.json.decode((folder / ORDERS).read_bytes(), type=Orders)
    except (OSError, msgspec.MsgspecError):
        return None


def write_report(folder: Path, report: Report) -> None:
    """Replace a process's report.

    Raises:
        OSError: the folder cannot be written.
    """
    _replace(folder / f"{report.worker}{_REPORT}", msgspec.json.encode(report))


def read_reports(folder: Path) -> list[Report]:
    """The latest report of each process. One that cannot be read just now is left out.

    Raises:
        OSError: the folder cannot be read.
    """
    found = []
    for path in sorted(folder.iterdir()):
        if not path.name.endswith(_REPORT) or path.name.startswith("."):
            continue
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Report))
        except (OSError, msgspec.MsgspecError):
            continue
    return found


def _replace(path: Path, content: bytes) -> None:
    # Whole or not at all, but without fsync: after a crash of the machine nobody reads them.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
