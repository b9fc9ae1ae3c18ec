"""The layers in front of every endpoint: counting and headers, host check, key check."""

from __future__ import annotations

import secrets
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.sandbox import errors
from penstock.sandbox.errors import ApiError
from penstock.sandbox.exchange import TRACE, Trace, send_error
from penstock.sandbox.limits import ORGANIZATION
from penstock.sandbox.state import Sandbox

CONTROL = "/_sandbox"
PICTURES = "/_images"
"""Addresses of generated images; like those of the service they are secret, need no key and expire."""
API_VERSION = "2020-10-01"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Bookkeeping:
    """Gives each answer the service's headers, and counts it.

    Args:
        app: the next layer.
        sandbox: the server's state.
    """

    def __init__(self, app: ASGIApp, sandbox: Sandbox) -> None:
        self._app = app
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, then add to its answer and count it."""
        if scope["type"] != "http" or scope["path"].startswith(CONTROL):
            await self._app(scope, receive, send)
            return
        trace = scope[TRACE] = Trace()
        started = time.perf_counter()
        status = "none"

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
                if not trace.bare:
                    self._add_headers(message, trace, started)
            await send(message)

        stats = self._sandbox.stats
        stats.begin()
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            stats.end(trace.path, trace.outcome or status)

    def _add_headers(self, message: Message, trace: Trace, started: float) -> None:
        present = {name for name, _ in message["headers"]}
        own = {
            "x-request-id": f"req_{secrets.token_hex(16)}",
            "openai-organization": ORGANIZATION,
            "openai-processing-ms": str(round((time.perf_counter() - started) * 1000)),
            "openai-version": API_VERSION,
        } | (trace.headers or self._sandbox.limits.headers())
        encoded = ((name.encode(), value.encode()) for name, value in own.items())
        message["headers"] = [*message["headers"], *(pair for pair in encoded if pair[0] not in present)]


class HostCheck:
    """Refuses requests under other names than this machine's own.

    Without it a web page could reach the server through a name that its owner points at 127.0.0.1 (DNS rebinding).

    Args:
        app: the next layer.
        sandbox: the server's state; a host that the user named switches the check off.
    """

    def __init__(self, app: ASGIApp, sandbox: Sandbox) -> None:
        self._app = app
        self._open = sandbox.settings.host is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if it was meant for this machine."""
        if scope["type"] == "http" and not self._open:
            names = [_without_port(value) for value in Headers(scope=scope).getlist("host")]
            if not names or any(name not in _LOOPBACK for name in names):
                error = ApiError(
                    403,
                    "The sandbox answers only to 127.0.0.1, localhost and [::1]. Start it with --host to open it.",
                    code="host_not_allowed",
                )
                await send_error(error, send)
                return
        await self._app(scope, receive, send)


class KeyCheck:
    """Lets only requests with the sandbox's key through; the control paths and generated images need none.

    Args:
        app: the next layer.
        sandbox: the server's state.
    """

    def __init__(self, app: ASGIApp, sandbox: Sandbox) -> None:
        self._app = app
        self._key = sandbox.settings.key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if its key is good."""
        if scope["type"] == "http" and not scope["path"].startswith((f"{CONTROL}/", f"{PICTURES}/")):
            scheme, _, key = Headers(scope=scope).get("authorization", "").strip().partition(" ")
            key = key.strip()
            if scheme.lower() != "bearer" or not key:
                await send_error(errors.missing_key(), send)
                return
            if not secrets.compare_digest(key.encode(), self._key):
                await send_error(errors.wrong_key(key), send)
                return
        await self._app(scope, receive, send)


def _without_port(host: str) -> str:
    host = host.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
