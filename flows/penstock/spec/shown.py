"""What of a pipeline file may be shown in a message: never a key, never a character that changes the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable

from penstock.secrets import redact

_NAMED_SECRET = re.compile(
    r"""((?:api_?-?key|apikey|token|secret|password)["']?\s*[:=]\s*)(?!\s|\$\{)([^\s,}#][^,}#]*[^\s,}#]|[^\s,}#])""",
    re.IGNORECASE,
)
_PASSWORD = re.compile(r"(?<=://)[^/\s@'\"]+(?=@)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def shown_text(text: str) -> str:
    """A message without keys and control characters."""
    return redact(_CONTROL.sub("?", text))


def shown_line(line: str, masked: Iterable[range]) -> str:
    """A line of the file with its keys masked: those at the places told, those beside a telling name, and all others.

    It keeps its length, so that the caret below it stays where it belongs.
    """
    marks = list(line)
    for places in masked:
        for place in places:
            marks[place] = "*"
    text = _NAMED_SECRET.sub(lambda match: match[1] + "*" * len(match[2]), "".join(marks))
    text = _PASSWORD.sub(lambda match: "*" * len(match[0]), text)
    return _CONTROL.sub("?", " ".join(_same_length(word) for word in text.split(" ")))


def _same_length(word: str) -> str:
    shown = redact(word)
    return word if shown == word else "*" * len(word)
