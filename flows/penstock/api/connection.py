"""One connection: HTTP/1.1, one request at a time; heads are read by httptools, bodies go where they stay.

A body whose length is told is received into the buffer that is handed out (`asyncio.BufferedProtocol`), so that a
megabyte of vectors is copied once, by the kernel.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from penstock.api.provider import Timeouts
from penstock.api.received import ReceivedHeaders, unpacked
from penstock.api.wire import FailureKind, WireError, WireResponse, too_large

if TYPE_CHECKING:
    import httptools

_MOST_HEAD = 262_144
_MOST_AT_ONCE = 65_536
"""Bytes of a request that are handed to the transport without asking whether it has room."""
_MOST_IN_PLACE = 16 << 20
"""Bytes of a body that memory is taken for because of a number in its head."""
_INFORMATIONAL = 200
_BODILESS = (204, 304)


class Connection(asyncio.BufferedProtocol):
    """The protocol of one connection. All methods belong to its loop.

    Args:
        shared: what heads and short bodies are received into; the connections of a loop may share it, for what is
            received is used up before the next is.
        max_body: bytes of a body at most, as sent and as decoded.
        ended: called once the connection is closed.

    Attributes:
        idle_since: when its last response was whole.
    """

    _status: int
    _headers: dict[bytes, bytes]
    _came: bytes | bytearray
    _body: bytearray | None
    _length: int | None
    _refused: WireError | None

    def __init__(self, shared: memoryview, max_body: int, ended: Callable[[Connection], None]) -> None:
        self._reused = False
        self.idle_since = 0.0
        self._shared = shared
        self._max_body = max_body
        self._on_end = ended
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = self._new_parser()
        self._answer: asyncio.Future[WireResponse] | None = None
        self._timeouts = Timeouts()
        self._began = self._heard = 0.0
        self._unsent = memoryview(b"")
        self._is_full = False
        self._plug = -1
        self._incoming: select.poll | None = None
        self._clear()

    @property
    def usable(self) -> bool:
        """Whether it may carry another request."""
        return self._transport is not None and self._answer is None and not self._transport.is_closing()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has come since its last answer: what comes unasked is no answer to the next request."""
        if self._incoming is not None:
            return not self._incoming.poll(0)
        return self._plug < 0 or not select.select([self._plug], [], [], 0)[0]

    def ask(self, data: bytes, timeouts: Timeouts) -> asyncio.Future[WireResponse]:
        """Send a whole request; the response, or a `WireError`."""
        answer: asyncio.Future[WireResponse] = self._loop.create_future()
        if self._transport is None or self._transport.is_closing():
            # The server has closed it since it was connected: nothing was sent.
            answer.set_exception(WireError(FailureKind.CLOSED, "the server closed the connection", stale=True))
            return answer
        self._timeouts = timeouts
        self._began = self._heard = self._loop.time()
        self._answer = answer
        if len(data) <= _MOST_AT_ONCE:
            self._transport.write(data)
        else:
            self._unsent = memoryview(data)
            self._send_on()
        return answer

    def watch(self, now: float) -> None:
        """Fail what has taken too long."""
        if now - self._began > self._timeouts.total:
            self._fail(FailureKind.TIMEOUT, f"no whole answer in {self._timeouts.total:g} s")
        elif now - self._heard > self._timeouts.read:
            self._fail(FailureKind.TIMEOUT, f"the server was silent for {self._timeouts.read:g} s")

    def end(self) -> None:
        """Close at once, and tell whoever waits for an answer."""
        self._fail(FailureKind.CLOSED, "the client was closed")

    def abort(self) -> None:
        """Close at once; whoever waits for an answer hears nothing more."""
        self._answer = None
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        # Other loops' transports are not of asyncio's class.
        self._transport = cast("asyncio.Transport", transport)
        plug = transport.get_extra_info("socket")
        if plug is not None:
            self._plug = plug.fileno()
            if hasattr(select, "poll"):
                self._incoming = select.poll()
                self._incoming.register(self._plug, select.POLLIN)

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self._is_full = True

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self._is_full = False
        # A long request on a slow line: the server hears, so it is not silent.
        self._heard = self._loop.time()
        self._send_on()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # the protocol's signature
        """See `asyncio.BufferedProtocol`."""
        return self._shared if self._body is None else memoryview(self._body)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._heard = self._loop.time()
        if self._body is not None:
            self._filled += nbytes
            if self._filled == len(self._body):
                self._parser = self._new_parser()
                self._whole(memoryview(self._body))
        elif self._answer is None:
            # Nobody has asked: an answer to nothing, such as that of a server which gives up an idle connection.
            self.abort()
        else:
            self._feed(self._shared[:nbytes])

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        self._transport = None
        if self._answer is not None:
            if exc is None and self._status and self._until_end:
                self._whole(self._came)
            else:
                self._cut(exc)
        self._on_end(self)

    # -- what httptools calls

    def on_message_begin(self) -> None:
        """A response begins."""
        self._more = self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or, after the head, one that follows the body."""
        if not self._status:
            self._headers[name.lower()] = value.strip()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        status = self._parser.get_status_code()
        if status < _INFORMATIONAL or self._complete:
            return
        self._status = status
        self._keeps = self._parser.should_keep_alive()
        length = self._headers.get(b"content-length")
        self._length = None if length is None else int(length)
        self._until_end = self._length is None and b"transfer-encoding" not in self._headers
        if status in _BODILESS and self._length:
            # Whether the body that is told follows nevertheless, nobody knows.
            self._keeps = False
        if self._length is not None and self._length > self._max_body:
            self._refused = too_large(self._max_body)

    def on_body(self, piece: bytes) -> None:
        """Some of the body."""
        if self._complete:
            return
        if not self._came:
            self._came = piece
        else:
            if isinstance(self._came, bytes):
                self._came = bytearray(self._came)
            self._came += piece
        self._filled = len(self._came)
        if self._filled > self._max_body:
            self._refused = too_large(self._max_body)

    def on_message_complete(self) -> None:
        """The response is whole; one that only informs is followed by another."""
        if self._status:
            self._complete = True
        else:
            self._headers = {}

    # --

    def _new_parser(self) -> httptools.HttpResponseParser:
        import httptools

        return httptools.HttpResponseParser(self)

    def _clear(self) -> None:
        """Be ready for the next response."""
        self._status = 0
        self._headers = {}
        self._came = b""
        self._body = None
        self._filled = 0
        self._fed = 0
        self._length = None
        self._keeps = self._until_end = self._complete = self._more = False
        self._refused = None

    def _feed(self, data: memoryview) -> None:
        from httptools import HttpParserError, HttpParserUpgrade

        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._fail(FailureKind.PROTOCOL, "the server wants to speak another protocol")
            return
        except HttpParserError as error:
            if not self._complete:
                self._fail(FailureKind.PROTOCOL, str(error) or type(error).__name__)
                return
            # The answer is whole and paid; what follows it is not HTTP.
            self._more = True
        if self._refused is not None:
            self._fail(self._refused.kind, self._refused.detail)
        elif self._complete:
            self._whole(self._came)
        elif not self._status:
            self._fed += len(data)
            if self._fed > _MOST_HEAD:
                self._fail(FailureKind.PROTOCOL, f"its head is longer than {_MOST_HEAD:,} bytes")
        elif self._length is not None and self._length <= _MOST_IN_PLACE:
            self._body = bytearray(self._length)
            self._body[: self._filled] = self._came
            self._came = b""

    def _send_on(self) -> None:
        while self._unsent and not self._is_full and self._transport is not None:
            piece, self._unsent = self._unsent[:_MOST_AT_ONCE], self._unsent[_MOST_AT_ONCE:]
            self._transport.write(piece)

    def _whole(self, body: bytes | bytearray | memoryview) -> None:
        answer, headers, status = self._answer, ReceivedHeaders(self._headers), self._status
        keeps = self._keeps and not self._more and not self._unsent
        encoding = headers.get("content-encoding", "").lower()
        self._answer = None
        self._clear()
        self._reused = True
        self.idle_since = self._heard
        if self._transport is not None and (not keeps or self._transport.get_write_buffer_size()):
            self._transport.abort()
        if answer is None or answer.done():
            return
        given = memoryview(body) if isinstance(body, bytearray) else body
        try:
            answer.set_result(WireResponse(status, headers, unpacked(given, encoding, self._max_body)))
        except WireError as error:
            answer.set_exception(error)
        except Exception as error:  # noqa: BLE001  # nobody else would tell whoever waits for the answer
            answer.set_exception(WireError(FailureKind.PROTOCOL, f"its body could not be read: {type(error).__name__}"))

    def _cut(self, error: Exception | None) -> None:
        begun = bool(self._status or self._fed)
        what = "the server reset the connection" if error else "the server closed the connection"
        self._fail(
            FailureKind.CLOSED,
            f"{what} {'in the middle of its answer' if begun else 'without an answer'}",
            stale=self._reused and not begun,
        )

    def _fail(self, kind: FailureKind, detail: str, *, stale: bool = False) -> None:
        answer = self._answer
        self._unsent = memoryview(b"")
        self.abort()
        if answer is not None and not answer.done():
            answer.set_exception(WireError(kind, detail, stale=stale))
