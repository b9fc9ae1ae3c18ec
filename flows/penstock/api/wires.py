"""Which wire a process uses."""

from __future__ import annotations

from penstock.api import wire_pyreqwest
from penstock.api.wire import Wire
from penstock.api.wire_httpx import HttpxWire


def default_wire() -> Wire:
    """pyreqwest, or httpx in a child that was forked from a process which had used pyreqwest already."""
    return wire_pyreqwest.PyreqwestWire() if wire_pyreqwest.usable() else HttpxWire()
