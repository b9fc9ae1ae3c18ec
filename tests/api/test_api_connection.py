"""What a connection of our own makes of any bytes, in any pieces."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import time
import tracemalloc
import zlib
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
from raw_http import RawServer, Reply, Seen, reply

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


def test_another_protocol_is_no_response() -> None:
    got, usable = deliver([b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\nPRI"])
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
    other = b"HTTP/1.1 500 No\r\nX-Request-Id: r2\r\nContent-Length: 2\r\n\r\nno"
    got, usable = deliver([head("Content-Length: 2", "X-Request-Id: r1") + b"ok" + other])
    assert isinstance(got, WireResponse)
    assert (got.status, bytes(got.body), got.headers["x-request-id"]) == (200, b"ok", "r1")
    assert not usable


def test_a_connection_that_the_server_wants_closed_is_not_used_again() -> None:
    got, usable = deliver([head("Content-Length: 2", "Connection: close"), b"ok"])
    assert isinstance(got, WireResponse)
    assert not usable


@pytest.mark.slow
def test_a_server_that_hears_a_long_request_slowly_is_not_silent() -> None:
    """It reads for six seconds, where silence is three."""
    size = 40_000_000

    def serve() -> None:
        taken, _ = listening.accept()
        with taken:
            left, buffer = size, bytearray(size // 20)
            while left > 0:
                left -= taken.recv_into(buffer, flags=socket.MSG_WAITALL if left > len(buffer) else 0)
                time.sleep(0.3)
            taken.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def main() -> WireResponse:
        wire = DirectWire()
        request = WireRequest("POST", f"http://127.0.0.1:{listening.getsockname()[1]}/", {}, bytes(size))
        try:
            return await wire.send(request, Timeouts(connect=5, read=3, total=60))
        finally:
            await wire.aclose()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=serve)
        serving.start()
        began = time.monotonic()
        assert asyncio.run(main()).status == 200
        assert time.monotonic() - began > 5
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


def test_a_connection_that_ended_before_it_was_used_has_sent_nothing() -> None:
    async def main() -> WireError | None:
        connection = Connection(memoryview(bytearray(4096)), 1000, lambda _: None)
        connection.connection_made(FarEnd())
        connection.connection_lost(None)
        error = connection.ask(b"data", Timeouts()).exception()
        assert isinstance(error, WireError)
        return error

    error = asyncio.run(main())
    assert error is not None
    assert (error.kind, error.stale) == (FailureKind.CLOSED, True)


@pytest.mark.parametrize("count", [1, 3])
def test_whoever_waits_when_the_wire_is_closed_is_told(count: int) -> None:
    async def main(url: str) -> list[object]:
        wire = DirectWire()
        request = WireRequest("POST", url, {}, b"{}")
        asked = [asyncio.create_task(wire.send(request, Timeouts())) for _ in range(count)]
        await asyncio.sleep(0.2)
        await wire.aclose()
        return list(await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5))

    with RawServer(lambda _: Reply(then="hold")) as server:
        got = asyncio.run(main(server.url))
    assert [error.kind for error in got if isinstance(error, WireError)] == [FailureKind.CLOSED] * count


def test_what_follows_an_answer_unasked_is_not_the_answer_to_the_next_request() -> None:
    """Both come in one piece, the answer longer than what is received at once."""

    def answer(seen: Seen) -> Reply:
        own = reply(200, b"%d" % seen.number * 200_000)
        return Reply(own.data + reply(200, b"unasked").data) if seen.number % 2 == 0 else own

    with RawServer(answer) as server:
        got = ask_in_turn(server.url, 6)
    assert [bytes(one.body[:1]) for one in got] == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert server.connections == 4


def test_what_comes_late_and_unasked_is_not_the_answer_to_the_next_request() -> None:
    """The loop is busy when it comes, so that nobody has looked at it before the next request is sent."""
    surplus = reply(200, b"unasked").data

    class Late(RawServer):
        async def _serve(self, reader, writer):
            while True:
                seen = await self._read(reader)
                writer.write(reply(200, seen.body).data)
                await asyncio.sleep(0.005)
                writer.write(surplus)

    async def main(url: str) -> list[bytes]:
        wire = DirectWire()
        got = []
        for number in range(4):
            answer = await wire.send(WireRequest("POST", url, {}, b"%d" % number), Timeouts())
            got.append(bytes(answer.body))
            time.sleep(0.03)  # busy, as with a large answer
        await wire.aclose()
        return got

    with Late(lambda _: reply(200)) as server:
        assert asyncio.run(main(server.url)) == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("told", ["768 ", " 768", "768\t"])
def test_blanks_around_a_length_change_nothing(told: str) -> None:
    data = head(f"Content-Length: {told}") + BODY
    got, _ = deliver([data])
    assert isinstance(got, WireResponse)
    assert bytes(got.body) == BODY
    got, _ = deliver([data[:-9]], ends=True)
    assert isinstance(got, WireError)
    assert got.kind is FailureKind.CLOSED


@pytest.mark.parametrize("encoding", ["utf-8", "none", "", "identity"])
def test_an_encoding_that_is_none_changes_nothing(encoding: str) -> None:
    got, _ = deliver([head(f"Content-Encoding: {encoding}", f"Content-Length: {len(BODY)}") + BODY])
    assert isinstance(got, WireResponse)
    assert bytes(got.body) == BODY


def test_several_files_of_gzip_in_a_row_are_one_body() -> None:
    packed = b"".join(gzip.compress(part) for part in (BODY[:100], BODY[100:]))
    got, _ = deliver([head("Content-Encoding: gzip ", f"Content-Length: {len(packed)}") + packed])
    assert isinstance(got, WireResponse)
    assert bytes(got.body) == BODY


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(BODY) + bytes(7)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", zlib.compress(BODY)[2:-4]),
    ],
)
def test_a_packed_answer_is_read_however_carelessly_it_was_packed(encoding: str, packed: bytes) -> None:
    got, _ = deliver([head(f"Content-Encoding: {encoding}", f"Content-Length: {len(packed)}") + packed])
    assert isinstance(got, WireResponse), got
    assert bytes(got.body) == BODY


def test_a_body_of_very_many_files_of_gzip_is_refused_at_once() -> None:
    packed = gzip.compress(b"") * 50_000
    began = time.process_time()
    got, _ = deliver([head("Content-Encoding: gzip", f"Content-Length: {len(packed)}") + packed])
    assert isinstance(got, WireError)
    assert got.kind is FailureKind.PROTOCOL
    assert time.process_time() - began < 5


def test_whatever_goes_wrong_with_a_body_is_told_to_whoever_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr("penstock.api.connection.unpacked", fails)
    got, _ = deliver([head("Content-Length: 2") + b"ok"])
    assert isinstance(got, WireError)
    assert "MemoryError" in str(got)


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_that_tells_a_length_ends_its_connection(status: int) -> None:
    got, usable = deliver([b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status])
    assert isinstance(got, WireResponse)
    assert (got.status, bytes(got.body), usable) == (status, b"", False)


def test_an_answer_counts_though_nonsense_follows_it() -> None:
    got, usable = deliver([head("Content-Length: 2") + b"ok" + b"\x16\x03 nonsense"])
    assert isinstance(got, WireResponse)
    assert bytes(got.body) == b"ok"
    assert not usable


def test_a_long_body_takes_memory_as_it_comes_and_not_as_it_is_told() -> None:
    tracemalloc.start()
    try:
        deliver([head("Content-Length: 400000000") + b"x"], max_body=10**9)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


@given(chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=30))
def test_chunks_of_any_size_are_the_body(chunks: list[bytes]) -> None:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    got, usable = deliver([head("Transfer-Encoding: chunked") + body])
    assert isinstance(got, WireResponse)
    assert bytes(got.body) == b"".join(chunks)
    assert usable


@pytest.mark.parametrize("read", [0.05, 0.3])
def test_a_silent_request_ends_in_time_though_others_are_sent_all_the_while(read: float) -> None:
    async def main(url: str) -> float:
        wire = DirectWire()
        timeouts = Timeouts(read=read)
        began = time.monotonic()
        silent = asyncio.create_task(wire.send(WireRequest("POST", f"{url}/silent", {}, b""), timeouts))
        while not silent.done() and time.monotonic() - began < 3:
            await wire.send(WireRequest("POST", f"{url}/x", {}, b""), timeouts)
        with pytest.raises(WireError, match="silent"):
            await silent
        await wire.aclose()
        return time.monotonic() - began

    with RawServer(lambda seen: Reply(then="hold") if seen.path == "/silent" else reply(200)) as server:
        assert read < asyncio.run(main(server.url)) < 2


def test_connections_that_nobody_needs_any_more_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.api.wire_direct._IDLE_SECONDS", 0.2)

    async def main(url: str) -> int:
        wire = DirectWire()
        request = WireRequest("POST", url, {}, b"{}")
        await asyncio.gather(*[wire.send(request, Timeouts()) for _ in range(20)])
        before = _open_files()
        for _ in range(8):
            await asyncio.sleep(0.05)
            await wire.send(request, Timeouts())
        await asyncio.sleep(0.05)
        closed = before - _open_files()
        await wire.aclose()
        return closed

    with RawServer(lambda _: reply(200, b"ok", delay=0.1)) as server:
        assert asyncio.run(main(server.url)) >= 19


def test_a_wire_that_is_closed_while_it_connects_says_so() -> None:
    async def main(url: str) -> object:
        wire = DirectWire()
        asked = asyncio.create_task(wire.send(WireRequest("POST", url, {}, b"{}"), Timeouts()))
        await asyncio.sleep(0)
        await wire.aclose()
        return (await asyncio.wait_for(asyncio.gather(asked, return_exceptions=True), 5))[0]

    with RawServer(lambda _: reply(200, b"ok")) as server:
        got = asyncio.run(main(server.url))
    assert isinstance(got, WireError)
    assert got.kind is FailureKind.CLOSED
    assert server.seen == [], "what is not sent is not paid"


def ask_in_turn(url: str, count: int) -> list[WireResponse]:
    async def main() -> list[WireResponse]:
        wire = DirectWire()
        try:
            return [await wire.send(WireRequest("POST", url, {}, b"{}"), Timeouts()) for _ in range(count)]
        finally:
            await wire.aclose()

    return asyncio.run(main())


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
