"""Keys: named in files, held by the environment, and taken out of everything that Penstock writes.

A `Secret` is the *name* of an environment variable, or of a place that somebody offers by `offer_place`. Its value is
read when a client is made, in the process that sends the request, and is never stored. Each value that was read is
also remembered here, for `redact`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from penstock.errors import InputError

MASK = "***"
ENVIRONMENT = "environment variable"
PREFECT_SECRET = "Prefect Secret block"  # noqa: S105  # the place, not a secret
"""Places of keys, in the words of messages."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# Prefect's own rule for the names of blocks.
_BLOCK = re.compile(r"\$\{prefect-secret:([a-z0-9][a-z0-9-]*)\}")
_SHORTEST_MASKED = 6
# What keys of this field look like, for text from servers that quote a key this process never read.
_KEY_SHAPE = re.compile(r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{8,}")
# Longer, so that no word of a text that is looked at for keys is taken for one.
_WHOLE_KEY = re.compile(r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{20,}")
_known: set[str] = set()
_places: dict[str, Callable[[str], str]] = {}


def reference_to(text: str | None) -> Secret | None:
    """What ``${NAME}`` or ``${prefect-secret:name}`` names; None for any other text."""
    if match := _VARIABLE.fullmatch(text or ""):
        return Secret(match[1])
    match = _BLOCK.fullmatch(text or "")
    return Secret(match[1], PREFECT_SECRET) if match else None


def offer_place(place: str, read: Callable[[str], str]) -> None:
    """Let secrets of `place` be read by `read`, which takes a name, and raises `InputError` where there is none."""
    _places[place] = read


def is_offered(place: str) -> bool:
    """Whether secrets of `place` can be read in this process."""
    return place == ENVIRONMENT or place in _places


@dataclass(frozen=True, slots=True)
class Secret:
    """The name of an environment variable that holds a key, or of another place that does.

    Attributes:
        name: for example ``OPENAI_API_KEY``.
        place: where the name is to be looked up.
    """

    name: str
    place: str = ENVIRONMENT

    def reveal(self) -> str:
        """The value, and from now on `redact` knows it.

        Raises:
            InputError: the variable is not set or empty, or the place does not know the name.
        """
        if self.place != ENVIRONMENT:
            value = self._elsewhere()
            remember(value)
            return value
        value = os.environ.get(self.name, "").strip()
        if not value:
            raise InputError(
                f"the environment variable {self.name} is not set, and the provider needs it as its API key. "
                f"Set it (export {self.name}=...), or rehearse without a key: --provider sandbox"
            )
        remember(value)
        return value

    def _elsewhere(self) -> str:
        if self.place not in _places:
            raise InputError(
                f"the {self.place} {self.name!r} is read by runs only, and this is none; "
                f"name an environment variable in its place"
            )
        value = _places[self.place](self.name).strip()
        if not value:
            raise InputError(f"the {self.place} {self.name!r} is empty, and the run needs what it is to hold")
        return value


def remember(value: str) -> None:
    """Let `redact` mask `value` wherever it appears from now on."""
    if len(value) >= _SHORTEST_MASKED:
        _known.add(value)


def holds_key(text: str) -> bool:
    """Whether something in `text` is shaped like a whole key."""
    return _WHOLE_KEY.search(text) is not None


def redact(text: str) -> str:
    """`text` without any key: those this process has read, and whatever is shaped like one."""
    for value in sorted(_known, key=len, reverse=True):
        text = text.replace(value, MASK)
    return _KEY_SHAPE.sub(MASK, text)
