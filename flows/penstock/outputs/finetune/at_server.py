"""What the work of a delivery at one server begins with: its API, what is known of it, and whom to tell."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from penstock.outputs.finetune.lock import ServerLock

if TYPE_CHECKING:
    from penstock.api import Api


class AtServer:
    """Work at one server, each piece of it once.

    Args:
        known: what was sent and created there.
        tell: shows in a few words what goes on.
        note: keeps a sentence.
    """

    def __init__(self, api: Api, known: ServerLock, tell: Callable[[str], None], note: Callable[[str], None]) -> None:
        self._api = api
        self._known = known
        self._tell = tell
        self._note = note


def written_now() -> str:
    """The moment, to the second, as the lock file says it to people."""
    return datetime.now(UTC).isoformat(timespec="seconds")
