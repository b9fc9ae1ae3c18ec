"""The embedded Prefect API server: the process itself.

``python -P -m penstock.flow.server_process FOLDER TOKEN SOCKET LOCK`` serves Prefect's API, without its UI and its
scheduler, on the bound socket with descriptor ``SOCKET``, and holds ``server.lock`` by the inherited descriptor
``LOCK``. It ends by itself after the idle limit of its folder, and so never outlives its clients unasked.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.flow.rest import LOOPBACK
from penstock.flow.server_folder import TOKEN_HEADER, ServerFolder

if TYPE_CHECKING:
    import uvicorn

_TICK = 0.5
# A client between two of its requests must not lose a server whose idle limit is 0.
_LEAST_IDLE = 1.0
_SHUTDOWN_LIMIT = 10.0

_Scope = MutableMapping[str, Any]
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


class Doorkeeper:
    """ASGI middleware: knows when the server was last used, and lets in nobody from a web page.

    A page in a browser can reach loopback under a name of its own (DNS rebinding): such a ``Host`` is refused.

    Attributes:
        last_used: `time.monotonic` of the last request, or of now while one is open.
    """

    def __init__(self, app: _App, token: str) -> None:
        self._app = app
        self._token = token.encode()
        self._open = 0
        self._last = time.monotonic()

    @property
    def last_used(self) -> float:
        """`time.monotonic` at the end of the last request; now, while one is open."""
        return time.monotonic() if self._open else self._last

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve one request, websocket or the lifespan."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if not _from_loopback(scope):
            await _refuse(scope, send)
            return

        async def marked(message: _Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (TOKEN_HEADER.encode(), self._token)]
            await send(message)

        self._open += 1
        try:
            await self._app(scope, receive, marked)
        finally:
            self._open -= 1
            self._last = time.monotonic()


def _from_loopback(scope: _Scope) -> bool:
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return name.strip("[]").lower() in LOOPBACK


async def _refuse(scope: _Scope, send: _Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "http.response.start", "status": 421, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"this server answers on loopback names only\n"})


class IdleWatch(threading.Thread):
    """Ends the process once no client has been there for the idle limit of the folder.

    It runs from before Prefect is imported, so that a client that is killed meanwhile leaves nothing behind.
    """

    def __init__(self, folder: ServerFolder, token: str) -> None:
        super().__init__(name="idle-watch", daemon=True)
        self._folder = folder
        self._token = token
        self._last = time.monotonic()
        self.server: uvicorn.Server | None = None
        self.door: Doorkeeper | None = None

    def run(self) -> None:
        """Look twice a second until it is time, then end the server."""
        while not self._is_over():
            time.sleep(_TICK)
        server = self.server
        if server is not None and server.started:
            server.should_exit = True
            time.sleep(_SHUTDOWN_LIMIT)
        os._exit(0)

    def _is_over(self) -> bool:
        if self._folder.has_clients():
            self._last = time.monotonic()
        if not self._is_idle():
            return False
        with self._folder.deciding():
            if self._folder.has_clients():
                return False
            self._folder.forget(self._token)
            return True

    def _is_idle(self) -> bool:
        used = max(self._last, self.door.last_used) if self.door else self._last
        return time.monotonic() - used > max(self._folder.idle, _LEAST_IDLE)


def serve(folder: ServerFolder, token: str, listener: socket.socket) -> None:
    """Serve Prefect's API on `listener` until a signal or the idle watch ends it."""
    watch = IdleWatch(folder, token)
    watch.start()
    import uvicorn
    from prefect.server.api.server import create_app

    # `ephemeral` is Prefect's name for a server with neither scheduler nor UI.
    door = Doorkeeper(create_app(ephemeral=True, final=True), token)
    config = uvicorn.Config(door, log_level="warning", lifespan="on", timeout_graceful_shutdown=3)
    watch.door, watch.server = door, uvicorn.Server(config)
    try:
        watch.server.run(sockets=[listener])
    finally:
        folder.forget(token)


def main(arguments: list[str]) -> None:
    """Take over the descriptors that the starter left, and serve."""
    path, token, listener, lock = arguments
    folder = ServerFolder(Path(path))
    os.chdir(folder.path)
    # Held to the end of the process; not for processes that this one may start.
    os.set_inheritable(int(lock), False)
    os.set_inheritable(int(listener), False)
    serve(folder, token, socket.socket(fileno=int(listener)))


if __name__ == "__main__":
    main(sys.argv[1:])
