"""The sandbox under uvicorn, in this process, until it is stopped."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from penstock.errors import InputError
from penstock.sandbox.app import make_app
from penstock.sandbox.settings import Settings
from penstock.sandbox.tokens import warm
from penstock.sandbox.transport import SandboxProtocol

LOOPBACK = "127.0.0.1"
_KEEP_ALIVE = 120
"""Seconds an idle connection stays open: longer than clients keep theirs, so that none is closed under a request."""
_GRACE = 0.3


def serve(settings: Settings, on_ready: Callable[[int], None]) -> None:
    """Answer requests until SIGINT or SIGTERM; `on_ready` gets the port once requests are accepted.

    Raises:
        InputError: the address cannot be listened on.
    """
    listener = _listen(settings)
    config = uvicorn.Config(
        make_app(settings),
        http=SandboxProtocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=3,
    )
    _Server(config, on_ready).run(sockets=[listener])


def _listen(settings: Settings) -> socket.socket:
    host = settings.host or LOOPBACK
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, settings.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise InputError(
            f"the sandbox cannot listen on {host}, port {settings.port}: {error.strerror or error}. "
            "Choose another --port, or --port 0 for any free one."
        ) from None
    listener.set_inheritable(False)
    return listener


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[int], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, tell it, and load the vocabulary beside the first requests."""
        await super().startup(sockets=sockets)
        self._on_ready(int((sockets or [])[0].getsockname()[1]))
        self._warming = asyncio.get_running_loop().run_in_executor(None, warm)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End within moments, also when the fault ``hang`` holds connections."""
        asyncio.get_running_loop().call_later(_GRACE, self._abort_all)
        await super().shutdown(sockets=sockets)

    def _abort_all(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End quietly on SIGINT and SIGTERM; uvicorn's own raises them again when all is over."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
