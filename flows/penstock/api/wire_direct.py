"""The wire for the engine's many requests: connections of our own on asyncio, kept and used again.

It speaks HTTP/1.1 without a thread of its own, so that an answer reaches its task in the turn of the loop in which it
is read. Why no library does that: docs/decisions/0026-own-connections.md.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections import deque
from collections.abc import Mapping
from itertools import chain
from urllib.parse import quote, urlsplit

from penstock.api.connection import Connection
from penstock.api.provider import Timeouts
from penstock.api.routes import Route, route_to
from penstock.api.tunnel import connect, open_tunnel
from penstock.api.wire import MAX_BODY, FailureKind, Wire, WireError, WireRequest, WireResponse, trust
from penstock.api.wire_httpx import HttpxWire

_SHARED_BYTES = 65_536
_IDLE_SECONDS = 30.0
_OFTEN, _SELDOM = 0.01, 0.25
_ERRNO = re.compile(r"\[Errno (\d+)\]")
_AS_IT_IS = "!$%&'()*+,/:;=?@[]~"


class DirectWire:
    """`Wire` over connections of its own; proxies that do not speak HTTP (SOCKS) are left to httpx."""

    def __init__(self, *, max_body: int = MAX_BODY) -> None:
        self._max_body = max_body
        self._shared = memoryview(bytearray(_SHARED_BYTES))
        self._routes: dict[str, Route] = {}
        self._heads: dict[tuple[str, str], tuple[Mapping[str, str], bytes]] = {}
        self._idle: dict[Route, deque[Connection]] = {}
        self._asking: set[Connection] = set()
        self._watching: asyncio.TimerHandle | None = None
        self._every = _SELDOM
        self._trust: ssl.SSLContext | None = None
        self._httpx: Wire | None = None
        self._is_closed = False

    async def send(self, request: WireRequest, timeouts: Timeouts) -> WireResponse:
        """See `Wire.send`."""
        route = self._routes.get(request.url) or self._route(request.url)
        if not route.is_http:
            self._httpx = self._httpx or HttpxWire(max_body=self._max_body)
            return await self._httpx.send(request, timeouts)
        data = self._bytes(request, route)
        connection = self._kept(route) or await self._connected(route, timeouts)
        if self._is_closed:
            connection.abort()
            raise WireError(FailureKind.CLOSED, "the client was closed")
        self._asking.add(connection)
        often = max(_OFTEN, min(timeouts.read, timeouts.total) / 10)
        if self._watching is None or often < self._every:
            self._watch_for(min(often, self._every))
        try:
            return await connection.ask(data, timeouts)
        except asyncio.CancelledError:
            connection.abort()
            raise
        finally:
            self._asking.discard(connection)
            if self._is_closed:
                connection.end()
            elif connection.usable:
                self._idle[route].append(connection)

    async def aclose(self) -> None:
        """See `Wire.aclose`."""
        self._is_closed = True
        for connection in [*chain.from_iterable(self._idle.values()), *self._asking]:
            connection.end()
        self._idle.clear()
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        if self._httpx is not None:
            await self._httpx.aclose()
        # Aborted connections end in the next turn of the loop.
        await asyncio.sleep(0)

    def _route(self, url: str) -> Route:
        try:
            return self._routes.setdefault(url, route_to(url))
        except ValueError as error:
            raise WireError(FailureKind.CONNECT, str(error)) from None

    def _bytes(self, request: WireRequest, route: Route) -> bytes:
        where = (request.method, request.url)
        headers, head = self._heads.get(where, (None, b""))
        if headers is not request.headers:
            head = _head(request, route)
            self._heads[where] = (request.headers, head)
        return b"%b%d\r\n\r\n%b" % (head, len(request.body), request.body)

    # -- connections

    def _kept(self, route: Route) -> Connection | None:
        """The one used last, so that those too many grow old and are closed."""
        idle = self._idle.setdefault(route, deque())
        oldest = asyncio.get_running_loop().time() - _IDLE_SECONDS
        while idle and idle[0].idle_since < oldest:
            idle.popleft().abort()
        while idle:
            connection = idle.pop()
            if connection.usable and connection.is_quiet:
                return connection
            connection.abort()
        return None

    async def _connected(self, route: Route, timeouts: Timeouts) -> Connection:
        connection = Connection(self._shared, self._max_body, self._forget)
        try:
            context = self._context() if route.tls else None
            async with asyncio.timeout(timeouts.connect):
                await _connect(connection, route, context)
        except TimeoutError:
            raise WireError(FailureKind.TIMEOUT, f"no connection in time{_over(route)}") from None
        except (OSError, UnicodeError) as error:
            raise WireError(FailureKind.CONNECT, f"{_reason(error)}{_over(route)}") from None
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._trust is None:
            self._trust = trust()
        return self._trust

    def _forget(self, connection: Connection) -> None:
        """It has ended, perhaps because the server does not keep connections for so long."""
        for idle in self._idle.values():
            if connection in idle:
                idle.remove(connection)

    # -- deadlines

    def _watch_for(self, every: float) -> None:
        """Look at all requests so often, in place of timers for each."""
        self._every = every
        if self._watching is not None:
            self._watching.cancel()
        self._watching = asyncio.get_running_loop().call_later(self._every, self._watch)

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        self._watching = loop.call_later(self._every, self._watch) if self._asking else None
        for connection in list(self._asking):
            connection.watch(loop.time())


async def _connect(connection: Connection, route: Route, context: ssl.SSLContext | None) -> None:
    if route.proxy is not None and context is not None:
        await open_tunnel(connection, route, route.proxy, context)
        return
    host, port = (route.host, route.port) if route.proxy is None else (route.proxy.host, route.proxy.port)
    await connect(lambda: connection, host, port, context)


def _head(request: WireRequest, route: Route) -> bytes:
    """The request up to the number of its bytes."""
    parts = urlsplit(request.url)
    path = quote(parts.path or "/", safe=_AS_IT_IS) + (f"?{quote(parts.query, safe=_AS_IT_IS)}" if parts.query else "")
    headers = {"host": route.authority, **request.headers, "accept-encoding": "identity"}
    if route.proxy is not None and not route.tls:
        path = f"http://{route.authority}{path}"
        if route.proxy.authorization:
            headers["proxy-authorization"] = route.proxy.authorization
    lines = [f"{request.method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if not all(line.isascii() and line.isprintable() for line in lines):
        # Not quoted, nor left to an exception that quotes it: it may be a key.
        raise WireError(FailureKind.CONNECT, "a header holds a character that no header may hold")
    return "\r\n".join([*lines, "content-length: "]).encode()


def _over(route: Route) -> str:
    return f" (over the proxy {route.proxy.host}:{route.proxy.port})" if route.proxy is not None else ""


def _reason(error: OSError | UnicodeError) -> str:
    """Why there is no connection, in the system's words and without addresses."""
    if isinstance(error, ssl.SSLError):
        return f"TLS: {getattr(error, 'verify_message', '') or error.reason or error}"
    numbers = dict.fromkeys(int(number) for number in _ERRNO.findall(str(error)))
    if numbers:
        return ", ".join(os.strerror(number) for number in numbers)
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
