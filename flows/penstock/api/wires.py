"""Which wire a process uses."""

from __future__ import annotations

from penstock.api.wire import Wire
from penstock.api.wire_direct import DirectWire


def default_wire() -> Wire:
    """Connections of our own, for any process."""
    return DirectWire()
