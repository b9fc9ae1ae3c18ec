"""A way through an HTTP proxy to a server with TLS: CONNECT (RFC 9110, section 9.3.6)."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

from penstock.api.connection import Connection
from penstock.api.routes import Proxy, Route
from penstock.api.wire import FailureKind, WireError

P = TypeVar("P", bound=asyncio.BaseProtocol)

_MOST_HEAD = 65_536
_NEXT_ADDRESS_SECONDS = 0.25
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_OPENED = range(200, 300)


async def connect(
    make: Callable[[], P], host: str, port: int, context: ssl.SSLContext | None = None
) -> tuple[asyncio.Transport, P]:
    """A connection to whichever address of `host` answers first.

    Raises:
        OSError: none does.
    """
    loop = asyncio.get_running_loop()
    # A race between addresses that is cancelled leaves its sockets to the garbage collector (Python 3.11), so there is
    # none where there is but one address; loops that an application has chosen may not know the word.
    races = not _is_address(host) and isinstance(loop, asyncio.BaseEventLoop)
    soon: dict[str, Any] = {"happy_eyeballs_delay": _NEXT_ADDRESS_SECONDS} if races else {}
    return await loop.create_connection(make, host, port, ssl=context, **soon)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def open_tunnel(connection: Connection, route: Route, proxy: Proxy, context: ssl.SSLContext) -> None:
    """Connect `connection` to a server behind a proxy.

    Raises:
        OSError: no connection to the proxy, or no TLS with the server.
        WireError: the proxy refuses.
    """
    loop = asyncio.get_running_loop()
    transport, opening = await connect(_Opening, proxy.host, proxy.port)
    try:
        lines = [f"CONNECT {route.target} HTTP/1.1", f"host: {route.target}"]
        if proxy.authorization:
            lines.append(f"proxy-authorization: {proxy.authorization}")
        transport.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        _check(await opening.head, proxy)
        secured = await loop.start_tls(transport, connection, context, server_hostname=route.host)
    except BaseException:
        transport.abort()
        raise
    if secured is None:
        raise ConnectionAbortedError("the connection ended while TLS was agreed")
    connection.connection_made(secured)


def _check(head: bytes, proxy: Proxy) -> None:
    answer = _STATUS.match(head)
    if answer is None or int(answer[1]) not in _OPENED:
        said = head.partition(b"\r\n")[0][:100].decode("latin-1")
        raise WireError(FailureKind.CONNECT, f"the proxy {proxy.host}:{proxy.port} refused: {said}")


class _Opening(asyncio.Protocol):
    """Waits for the proxy's answer, whose head is all of it."""

    def __init__(self) -> None:
        self.head: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._came = b""

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._came += data
        if (b"\r\n\r\n" in self._came or len(self._came) > _MOST_HEAD) and not self.head.done():
            self.head.set_result(self._came)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # the protocol's signature
        """See `asyncio.BaseProtocol`."""
        if not self.head.done():
            self.head.set_exception(ConnectionResetError("the proxy closed the connection"))
