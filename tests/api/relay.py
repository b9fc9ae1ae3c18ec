"""A relay between a client and a server, for tests: plain or as a proxy that takes CONNECT, and one that cuts."""

from __future__ import annotations

import asyncio
import contextlib
import sys


class Relay:
    """Passes bytes on, in the event loop that entered it.

    Args:
        target: ``host:port``; empty for a proxy, which is told by CONNECT.
        cut_after: bytes of the client after which its first connection ends.

    Attributes:
        asked: the targets of all connections.
    """

    def __init__(self, target: str = "", cut_after: int = sys.maxsize) -> None:
        self.asked: list[str] = []
        self._target = target
        self._cut_after = cut_after
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        # The transports and the tasks that read from them end in the next turns.
        await asyncio.sleep(0.05)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = self._target or await self._connect(reader, writer)
        self.asked.append(target)
        host, _, port = target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        self._writers += [writer, far_writer]
        most = self._cut_after if len(self.asked) == 1 else sys.maxsize
        await asyncio.gather(self._pass(reader, far_writer, most), self._pass(far_reader, writer, sys.maxsize))

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        method, target, _ = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ", 2)
        assert method == "CONNECT"
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return target

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, most: int) -> None:
        with contextlib.suppress(ConnectionError):
            while most > 0 and (data := await source.read(min(most, 65_536))):
                most -= len(data)
                target.write(data)
                await target.drain()
        if most > 0:
            target.close()
            return
        for writer in self._writers:
            writer.transport.abort()
