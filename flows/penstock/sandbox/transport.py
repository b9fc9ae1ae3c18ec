"""Faults of the connection. The only place that touches the transport below ASGI.

ASGI has no way to reset a connection. So each connection of `server` wraps the application once, in its
`connection_made`, and puts its transport into the scope; nothing of uvicorn but that call and the attribute ``app``
is relied on.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from penstock.sandbox.contract import Answer

EXTENSION = "penstock.transport"
SLOW_PAUSE = 0.01
"""Seconds between two bytes of the fault ``slow``."""
_LINGER_ZERO = struct.pack("ii", 1, 0)


class SandboxProtocol(H11Protocol):
    """A connection whose requests can reach its transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Wrap the application for this connection."""
        super().connection_made(transport)
        self.app: Any = with_transport(self.app, transport)


def with_transport(app: Any, transport: asyncio.Transport) -> ASGIApp:
    """`app`, with `transport` in the extensions of each scope."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("extensions", {})[EXTENSION] = transport
        await app(scope, receive, send)

    return wrapped


SILENT = frozenset({"reset", "close", "hang"})
"""The faults that send nothing; the others send a good answer badly."""


async def break_connection(name: str, scope: Scope, receive: Receive) -> None:
    """Play one of `SILENT`, then wait until the connection is gone."""
    transport = _transport(scope)
    if name == "reset":
        link = transport.get_extra_info("socket")
        # With lingering switched off, closing discards what is buffered and sends RST instead of FIN.
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        transport.abort()
    elif name == "close":
        transport.close()
    await _until_gone(receive)


async def deliver_badly(name: str, answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
    """Play ``cut`` or ``slow``: a good answer whose bytes do not arrive as they should."""
    body = answer.body
    if not isinstance(body, bytes):
        body = b"".join([piece async for piece in body])
    length = str(len(body)).encode()
    headers = [(b"content-type", answer.media_type.encode()), (b"content-length", length)]
    headers += [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if name == "cut":
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        _transport(scope).close()
        await _until_gone(receive)
        return
    transport = _transport(scope)
    for at in range(len(body)):
        if transport.is_closing():
            return
        await send({"type": "http.response.body", "body": body[at : at + 1], "more_body": at + 1 < len(body)})
        await asyncio.sleep(SLOW_PAUSE)


def _transport(scope: Scope) -> asyncio.Transport:
    transport: asyncio.Transport = scope["extensions"][EXTENSION]
    return transport


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
