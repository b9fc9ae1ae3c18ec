"""A server of canned answers for load: chat completions and embeddings, after a given latency.

    python benchmarks/canned.py --port 8003 --latency 50

It judges nothing and makes up nothing, so that it is the client that is measured; for right answers there is the
sandbox. `GET /stats` tells the requests and inputs so far and how many requests came in each tenth of a second,
`GET /reset` begins anew. With two processors or more, give it one of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import struct
import time
from functools import lru_cache

import msgspec

DIMENSIONS = 1536
BUCKET_SECONDS = 0.1
_LIMITS = "".join(
    f"x-ratelimit-{what}-{kind}: {value}\r\n"
    for kind in ("requests", "tokens")
    for what, value in (("limit", 30_000_000), ("remaining", 29_999_999), ("reset", "1ms"))
)
_COMPLETION = {
    "id": "chatcmpl-canned",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "It boils water quickly; its handle gets warm."},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 30, "completion_tokens": 10, "total_tokens": 40},
}


class _Embeddings(msgspec.Struct):
    input: list[str]
    encoding_format: str = "float"


_embeddings = msgspec.json.Decoder(_Embeddings)


class Counts:
    """What the server saw since the last reset."""

    def __init__(self) -> None:
        self.requests = 0
        self.inputs = 0
        self.began = time.monotonic()
        self.buckets: list[int] = []

    def add(self, inputs: int) -> None:
        """One more request."""
        self.requests += 1
        self.inputs += inputs
        place = int((time.monotonic() - self.began) / BUCKET_SECONDS)
        self.buckets.extend([0] * (place + 1 - len(self.buckets)))
        self.buckets[place] += 1


class Connection(asyncio.Protocol):
    """HTTP/1.1 with kept connections and bodies of known length, which is what clients of the API send."""

    def __init__(self, latency: float, counts: Counts) -> None:
        self._latency = latency
        self._counts = counts
        self._received = bytearray()
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:end])
            size = _length(head)
            if len(self._received) < end + 4 + size:
                return
            body = bytes(self._received[end + 4 : end + 4 + size])
            del self._received[: end + 4 + size]
            self._answer(head.split(b" ", 2)[1], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        if path == b"/stats":
            told = {name: getattr(self._counts, name) for name in ("requests", "inputs", "buckets")}
            self._transport.write(_response(msgspec.json.encode(told)))
        elif path == b"/reset":
            self._counts.__init__()  # type: ignore[misc]
            self._transport.write(_response(b"{}"))
        else:
            if path.endswith(b"/embeddings"):
                asked = _embeddings.decode(body)
                answer, inputs = _vectors(len(asked.input), asked.encoding_format == "base64"), len(asked.input)
            else:
                answer, inputs = _completion(), 1
            self._counts.add(inputs)
            self._loop.call_later(self._latency, self._write, answer)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


def _response(body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        f"x-request-id: req_canned\r\nopenai-processing-ms: 1\r\n{_LIMITS}\r\n"
    )
    return head.encode() + body


@lru_cache(maxsize=1)
def _completion() -> bytes:
    return _response(msgspec.json.encode(_COMPLETION))


@lru_cache(maxsize=64)
def _vectors(count: int, as_base64: bool) -> bytes:
    numbers = [((place * 37) % 101 - 50) / 1000 for place in range(DIMENSIONS)]
    packed = base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *numbers)).decode()
    data = [
        {"object": "embedding", "index": index, "embedding": packed if as_base64 else numbers} for index in range(count)
    ]
    usage = {"prompt_tokens": 20 * count, "total_tokens": 20 * count}
    return _response(
        msgspec.json.encode({"object": "list", "data": data, "model": "text-embedding-3-small", "usage": usage})
    )


async def serve(port: int, latency: float) -> None:
    """Until it is killed."""
    counts = Counts()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(latency, counts), "127.0.0.1", port)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds from request to answer")
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.latency / 1000))


if __name__ == "__main__":
    main()
