"""A raw HTTP/1.1 server for tests: it can send any bytes, at any time, and end a connection in any way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    number: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """Bytes to send, and what then happens to the connection: keep, close, reset, hold (silence) or drip."""

    data: bytes = b""
    then: str = "keep"
    delay: float = 0.0


def reply(status: int = 200, body: object = b"", headers: dict[str, str] | None = None, **more: Any) -> Reply:
    """A well-formed response; anything but bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
    lines = {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return Reply(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode("latin-1") + data, **more)


def error(status: int, code: str | None = None, message: str = "no", headers: dict[str, str] | None = None) -> Reply:
    """An error body as the service sends it."""
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    return reply(status, body, {"x-request-id": "req_1", **(headers or {})})


@dataclass
class RawServer:
    """`answer` is called for each request, in the server's thread."""

    answer: Callable[[Seen], Reply]
    tls: Any = None
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    drips: tuple[bytes, float] = (b"", 1.0)
    """What a dripping connection sends without end, and after how many seconds each time."""

    def __enter__(self) -> RawServer:
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return (
            f"{'https' if self.tls else 'http'}://localhost:{self.port}"
            if self.tls
            else f"http://127.0.0.1:{self.port}"
        )

    def _run(self, started: threading.Event) -> None:
        asyncio.run(self._main(started))

    async def _main(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1024, ssl=self.tls)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                seen = await self._read(reader)
                self.seen.append(seen)
                answer = self.answer(seen)
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                try:
                    await asyncio.sleep(answer.delay)
                finally:
                    self.in_flight -= 1
                writer.write(answer.data)
                await writer.drain()
                if answer.then == "hold":
                    await self._stop.wait()
                while answer.then == "drip":
                    await asyncio.sleep(self.drips[1])
                    writer.write(self.drips[0])
                    await writer.drain()
                if answer.then == "reset":
                    raw = writer.get_extra_info("socket")
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                    return
                if answer.then == "close":
                    writer.close()
                    return

    async def _read(self, reader: asyncio.StreamReader) -> Seen:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Seen(method, path, headers, body, len(self.seen))

    def drop_connections(self) -> None:
        """Close every open connection, as a server does with idle ones."""

        def drop() -> None:
            for writer in self._writers:
                writer.close()

        self._loop.call_soon_threadsafe(drop)
