"""The same work without Penstock, for `benchmarks/throughput.py`; each in a process of its own.

    python benchmarks/rivals.py chat_sdk 2000 http://127.0.0.1:8003/v1

- ``chat_sdk``: the official SDK over aiohttp, 64 at once by a semaphore, to Parquet, as its guides do it;
- ``chat_bare``: the HTTP client that Penstock sends with, the same requests and nothing else;
- ``vectors_bare``: embeddings received, decoded and written, and nothing else.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from penstock.api.provider import Timeouts
from penstock.api.wire import WireRequest
from penstock.api.wire_direct import DirectWire

TEXT = "the kettle boils water fast and quiet but its handle gets warm after long use so one star less"
IN_FLIGHT = 64
PACK = 128
DIMENSIONS = 1536


class _Vector(msgspec.Struct):
    embedding: bytes


class _Vectors(msgspec.Struct):
    data: list[_Vector]


async def chat_sdk(rows: int, base: str) -> None:
    """What a careful script does."""
    import openai
    import pyarrow as pa
    from pyarrow import parquet

    client = openai.AsyncOpenAI(api_key="none", base_url=base, http_client=openai.DefaultAioHttpClient())
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def ask(text: str) -> str | None:
        async with slots:
            answer = await client.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": text}], temperature=0
            )
        return answer.choices[0].message.content

    texts = [f"review {row}: {TEXT}" for row in range(rows)]
    answers = await asyncio.gather(*(ask(text) for text in texts))
    with tempfile.TemporaryDirectory() as folder:
        parquet.write_table(pa.table({"text": texts, "answer": answers}), Path(folder) / "out.parquet")
    await client.close()


async def chat_bare(rows: int, base: str) -> None:
    """Requests as Penstock sends them; the answers are received and dropped."""

    async def body(number: int) -> bytes:
        said = [{"role": "user", "content": f"review {number}: {TEXT}"}]
        return msgspec.json.encode({"model": "gpt-4o-mini", "messages": said, "temperature": 0})

    async for _ in responses(base + "/chat/completions", rows, body):
        pass


async def vectors_bare(rows: int, base: str) -> None:
    """Base64 to columns to Parquet, with the settings that Penstock writes by."""
    import pyarrow as pa
    from pyarrow import parquet

    from penstock.tables.parts import writer_settings

    async def body(number: int) -> bytes:
        texts = [f"review {number * PACK + place}: {TEXT}" for place in range(PACK)]
        return msgspec.json.encode({"model": "m", "input": texts, "encoding_format": "base64"})

    kind = pa.list_(pa.field("item", pa.float32(), nullable=False), DIMENSIONS)
    schema = pa.schema({"embedding": kind})
    decoder = msgspec.json.Decoder(_Vectors)
    with (
        tempfile.TemporaryDirectory() as folder,
        parquet.ParquetWriter(Path(folder) / "out.parquet", schema, **writer_settings(schema)) as writer,
    ):
        async for received in responses(base + "/embeddings", -(-rows // PACK), body):
            data = b"".join(entry.embedding for entry in decoder.decode(received).data)
            numbers = pa.Array.from_buffers(pa.float32(), len(data) // 4, [None, pa.py_buffer(data)])
            writer.write_table(pa.table([pa.FixedSizeListArray.from_arrays(numbers, type=kind)], schema=schema))


async def responses(url: str, count: int, body: Callable[[int], Awaitable[bytes]]) -> AsyncIterator[Any]:
    """The bodies of `count` answers, some requests at once."""
    wire = DirectWire()
    headers = {"content-type": "application/json"}
    numbers = iter(range(count))
    arrived: asyncio.Queue[Any] = asyncio.Queue(maxsize=8)

    async def work() -> None:
        for number in numbers:
            response = await wire.send(WireRequest("POST", url, headers, await body(number)), Timeouts())
            await arrived.put(response.body)

    # A request that fails ends all of it: nobody else would put anything for the loop below to wait for.
    async with asyncio.TaskGroup() as workers:
        for _ in range(IN_FLIGHT):
            workers.create_task(work())
        for _ in range(count):
            yield await arrived.get()
    await wire.aclose()


RIVALS = {"chat_sdk": chat_sdk, "chat_bare": chat_bare, "vectors_bare": vectors_bare}

if __name__ == "__main__":
    asyncio.run(RIVALS[sys.argv[1]](int(sys.argv[2]), sys.argv[3]))
