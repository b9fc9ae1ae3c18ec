"""What a connection of our own makes of any bytes, in any pieces."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.api.connection import Connection
from penstock.api.provider import Timeouts
from penstock.api.wire import FailureKind, WireError, WireRequest, WireResponse
from penstock.api.wire_direct import DirectWire
from raw_http import RawServer, Reply, reply

BODY = bytes(range(256)) * 3


class FarEnd(asyncio.Transport):
    """What a connection writes to; what the server sends is given to `deliver`, in pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: object) -> None:
        """Swallow it."""

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


def deliver(pieces: Sequence[bytes], *, ends: bool = False, max_body: int = 10**6) -> tuple[object, bool]:
    """What comes of these pieces, and whether the connection may be used again."""

    async def main() -> tuple[object, bool]:
        connection = Connection(memoryview(bytearray(4096)), max_body, lambda _: None)
        far = FarEnd()
        connection.connection_made(far)
        answer = connection.ask(b"", Timeouts())
        for piece in pieces:
            rest = memoryview(piece)
            while rest and not far.closed:
                buffer = connection.get_buffer(-1)
                count = min(len(buffer), len(rest))
                buffer[:count] = rest[:count]
                connection.buffer_updated(count)
                rest = rest[count:]
        usable = connection.usable
        if ends:
            connection.connection_lost(None)
        if not answer.done():
            return None, usable
        try:
            return answer.result(), usable
        except WireError as error:
            return error, usable

    return asyncio.run(main())


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """The data in pieces, cut at these places."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[first:last] for first, last in pairwise(edges)]


def head(*lines: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode()


def chunked(body: bytes, size: int) -> bytes:
    chunks = [body[place : place + size] for place in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


WAYS = {
    "with its length": head(f"Content-Length: {len(BODY)}", "X-Request-Id: r1") + BODY,
    "in chunks": head("Transfer-Encoding: chunked", "X-Request-Id: r1") + chunked(BODY, 100),
    "packed": head("Content-Encoding: gzip", f"Content-Length: {len(gzip.compress(BODY, mtime=0))}", "X-Request-Id: r1")
    + gzip.compress(BODY, mtime=0),
    "after one that only informs": b"HTTP/1.1 103 Early Hints\r\nContent-Length: 7\r\n\r\n"
    + head(f"Content-Length: {len(BODY)}", "X-Request-Id: r1")
    + BODY,
}


@given(way=st.sampled_from(sorted(WAYS)), places=st.lists(st.integers(0, 2000), max_size=12))
def test_a_response_is_the_same_in_whatever_pieces_it_comes(way: str, places: list[int]) -> None:
    got, usable = deliver(cut(WAYS[way], places))
    assert isinstance(got, WireResponse), got
    assert (got.status, bytes(got.body), got.headers["x-request-id"]) == (200, BODY, "r1")
    assert usable


@given(way=st.sampled_from(sorted(WAYS)), place=st.integers(0, 5000))
def test_a_response_that_ends_too_early_is_never_taken_for_whole(way: str, place: int) -> None:
    data = WAYS[way]
    got, _ = deliver([data[: place % len(data)]], ends=True)
    assert isinstance(got, WireError), got
    assert got.kind is FailureKind.CLOSED
    assert not got.stale


@given(data=st.binary(max_size=300), places=st.lists(st.integers(0, 300), max_size=4))
def test_any_bytes_are_a_response_or_one_typed_failure(data: bytes, places: list[int]) -> None:
    for start in (b"", b"HTTP/1.1 200 OK\r\n", head("Transfer-Encoding: chunked")):
        got, _ = deliver(cut(start + data, places), ends=True)
        assert isinstance(got, WireResponse | WireError)


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    got, usable = deliver([head("Content-Type: text/plain"), BODY, BODY], ends=True)
    assert isinstance(got, WireResponse)
    assert bytes(got.body) == BODY + BODY
    assert not usable


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 3", "Content-Length: 4"),
        ("Content-Length: 3", "Transfer-Encoding: chunked"),
        ("Content-Length: -3",),
        ("Content-Length: three",),
        ("Upgrade: websocket", "Connection: Upgrade", "Content-Length: x"),
    ],
)
def test_a_head_that_says_two_things_or_nothing_about_its_body_is_no_response(lines: tuple[str, ...]) -> None:
    got, usable = deliver([head(*lines), b"abc"])
    assert isinstance(got, WireError)
    assert got.kind is FailureKind.PROTOCOL
    assert not usable


def test_a_head_without_end_is_refused_before_it_fills_the_memory() -> None:
    got, _ = deliver([b"HTTP/1.1 200 OK\r\n"] + [b"X-A: " + b"a" * 4000 + b"\r\n"] * 100)
    assert isinstance(got, WireError)
    assert got.kind is FailureKind.PROTOCOL


def test_a_packed_body_that_is_too_long_unpacked_is_refused() -> None:
    packed = gzip.compress(bytes(10**6))
    got, _ = deliver([head("Content-Encoding: gzip", f"Content-Length: {len(packed)}"), packed], max_body=10**5)
    assert isinstance(got, WireError)
    assert got.kind is FailureKind.TOO_LARGE


def test_a_second_response_that_nobody_asked_for_is_not_kept_for_the_next_request() -> None:
    one = head("Content-Length: 2")
    got, usable = deliver([one + b"ok" + one + b"no"])
    assert isinstance(got, WireResponse)
    assert bytes(got.body) == b"ok"
    assert not usable


def test_a_connection_that_the_server_wants_closed_is_not_used_again() -> None:
    got, usable = deliver([head("Content-Length: 2", "Connection: close"), b"ok"])
    assert isinstance(got, WireResponse)
    assert not usable


def test_a_server_that_hears_a_long_request_slowly_is_not_silent() -> None:
    """It reads for two seconds, where silence is less than one."""
    size = 40_000_000

    def serve() -> None:
        taken, _ = listening.accept()
        with taken:
            left, buffer = size, bytearray(size // 20)
            while left > 0:
                left -= taken.recv_into(buffer, flags=socket.MSG_WAITALL if left > len(buffer) else 0)
                time.sleep(0.1)
            taken.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def main() -> WireResponse:
        wire = DirectWire()
        request = WireRequest("POST", f"http://127.0.0.1:{listening.getsockname()[1]}/", {}, bytes(size))
        try:
            return await wire.send(request, Timeouts(connect=5, read=0.9, total=60))
        finally:
            await wire.aclose()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=serve)
        serving.start()
        began = time.monotonic()
        assert asyncio.run(main()).status == 200
        assert time.monotonic() - began > 1.5
        serving.join()


def test_what_an_idle_connection_is_told_is_no_answer_to_the_next_request() -> None:
    """Some servers say 408 before they close a connection that nobody uses."""
    late = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    listening = socket.create_server(("127.0.0.1", 0))

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        listening.setblocking(False)
        wire = DirectWire()
        request = WireRequest("POST", f"http://127.0.0.1:{listening.getsockname()[1]}/", {}, b"{}")
        got = []
        for _ in range(2):
            asked = asyncio.create_task(wire.send(request, Timeouts()))
            taken, _ = await loop.sock_accept(listening)
            await loop.sock_recv(taken, 4096)
            await loop.sock_sendall(taken, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            got.append((await asked).status)
            await loop.sock_sendall(taken, late)
            await asyncio.sleep(0.05)
            taken.close()
        await wire.aclose()
        return got

    with listening:
        assert asyncio.run(main()) == [200, 200]


def test_a_reply_to_a_request_that_was_not_read_to_its_end_counts_and_its_connection_does_not() -> None:
    """A server may refuse a long request before it has all of it."""

    class Early(RawServer):
        async def _serve(self, reader, writer):
            await reader.read(1000)
            writer.write(reply(413, b"too long").data)
            await writer.drain()
            await self._stop.wait()

    async def main(url: str) -> WireResponse:
        wire = DirectWire()
        try:
            return await wire.send(WireRequest("POST", url, {}, bytes(50_000_000)), Timeouts())
        finally:
            await wire.aclose()

    with Early(lambda _: reply(200)) as server:
        assert asyncio.run(main(server.url)).status == 413


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.slow
def test_thousands_of_requests_under_faults_and_cancellations_leave_nothing_behind() -> None:
    """A fifth is cut, reset, closed, garbled or never answered, a twentieth cancelled on its way."""
    whole = reply(200, b"x" * 300)
    faults = [
        Reply(then="close"),
        Reply(then="reset"),
        Reply(whole.data[:60], "close"),
        Reply(whole.data[:200], "reset"),
        Reply(b"\x16\x03\x01 nothing like HTTP\r\n\r\n", "close"),
        Reply(then="hold"),
    ]
    random = Random(5)
    answers = [random.choice(faults) if random.random() < 0.2 else whole for _ in range(997)]

    async def main(url: str) -> Counter[str]:
        wire = DirectWire()
        ended: Counter[str] = Counter()

        async def work(first: int) -> None:
            for number in range(first, 6400, 64):
                asked = asyncio.create_task(wire.send(WireRequest("POST", url, {}, b"{}"), Timeouts(read=0.05)))
                if number % 20 == 7:
                    await asyncio.sleep(random.uniform(0, 0.002))
                    asked.cancel()
                try:
                    got = await asked
                    assert bytes(got.body) == b"x" * 300
                    ended["whole"] += 1
                except WireError as error:
                    ended[error.kind] += 1
                except asyncio.CancelledError:
                    ended["cancelled"] += 1

        await asyncio.gather(*[work(first) for first in range(64)])
        assert len(asyncio.all_tasks()) == 1
        await wire.aclose()
        await asyncio.sleep(0.05)
        return ended

    with RawServer(lambda seen: answers[seen.number % len(answers)]) as server:
        before = _open_files()
        ended = asyncio.run(main(server.url))
    # The server's own connections are in this process too, and are closed with it.
    assert _open_files() <= before
    assert ended.total() == 6400
    assert set(ended) == {"whole", "cancelled", FailureKind.CLOSED, FailureKind.PROTOCOL, FailureKind.TIMEOUT}
    assert ended["whole"] > 4500
