"""Server-sent events out of bytes that come in any pieces.

Source: the HTML Standard, section 9.2.6 "Interpreting an event stream". One thing is read differently: an event that
the stream's end cuts short of its blank line is given out and not thrown away, since servers leave that line out after
their last event; whether the event is whole is for the reader of its data to tell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from penstock.api.errors import UnusableBody

MAX_EVENT = 32_000_000
"""Bytes of one event at most, so that a stream without line ends cannot fill the memory."""

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"[\r\n]")


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event: its `data` lines joined by newlines, and its type, which is ``message`` unless it says otherwise."""

    data: str
    event: str = "message"
    id: str = ""


class SseParser:
    """Takes bytes by `feed` and `close`, and gives events back as soon as they are whole.

    How the bytes are cut makes no difference: a cut may fall inside a character, a line end or the byte order mark.
    """

    def __init__(self, *, max_event: int = MAX_EVENT) -> None:
        self._max_event = max_event
        self._rest = bytearray()
        self._searched = 0
        self._after_return = False
        self._first_line = True
        self._data: list[str] = []
        self._size = 0
        self._event = ""
        self._id = ""

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that `chunk` completes.

        Raises:
            UnusableBody: one event is longer than `max_event` bytes.
        """
        if self._after_return and chunk:
            # The second half of a CR LF whose first half ended the last chunk.
            chunk = chunk.removeprefix(b"\n")
            self._after_return = False
        self._rest += chunk
        found: list[SseEvent] = []
        start = 0
        while match := _LINE_END.search(self._rest, max(start, self._searched)):
            self._take(bytes(self._rest[start : match.start()]), found)
            start = match.end()
            if match[0] == b"\r":
                self._after_return = start == len(self._rest)
                start += self._rest[start : start + 1] == b"\n"
        del self._rest[:start]
        self._searched = len(self._rest)
        self._check(self._searched)
        return found

    def close(self) -> list[SseEvent]:
        """The last event, if the stream ended without its blank line."""
        found: list[SseEvent] = []
        line, self._rest = bytes(self._rest), bytearray()
        if line:
            self._take(line, found)
        self._dispatch(found)
        return found

    def _take(self, line: bytes, found: list[SseEvent]) -> None:
        if self._first_line:
            line = line.removeprefix(_BOM)
            self._first_line = False
        if not line:
            self._dispatch(found)
            return
        name, _, raw = line.partition(b":")
        value = raw.removeprefix(b" ").decode("utf-8", "replace")
        if name == b"data":
            self._size += len(line)
            self._check(0)
            self._data.append(value)
        elif name == b"event":
            self._event = value
        elif name == b"id" and "\0" not in value:
            self._id = value

    def _dispatch(self, found: list[SseEvent]) -> None:
        if self._data:
            found.append(SseEvent("\n".join(self._data), self._event or "message", self._id))
        self._data = []
        self._size = 0
        self._event = ""

    def _check(self, waiting: int) -> None:
        if self._size + waiting > self._max_event:
            raise UnusableBody(f"one event of the stream is longer than {self._max_event:,} bytes")
