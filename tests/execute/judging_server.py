"""A server of raw bytes behind a pipeline, for the table of `test_execute_judging`."""

from __future__ import annotations

import base64
import json
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from execute_bench import Bench

from raw_http import RawServer, Reply, Seen, reply

EMBED = 'uses: embed\ninput: "{{ text }}"\nmodel: text-embedding-3-small\ndimensions: 2\nbatch_size: 1\n'
CHAT = 'uses: chat\nprompt: "{{ text }}"\nmodel: gpt-4o-mini\n'
STREAM = CHAT + "stream: true\n"
STEPS = {"embed": EMBED, "chat": CHAT, "stream": STREAM}
PROVIDER = """
limits: {concurrency: 1}
retry: {attempts: 3, max_wait: 10ms}
timeout: {connect: 1s, read: 200ms, total: 400ms}
"""
KEY = "sk-judged-0123456789abcdef"


def vector(*numbers: float) -> str:
    """Numbers as the service writes vectors: little-endian float32 in base64."""
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def vectors(*entries: dict[str, Any], **more: Any) -> bytes:
    """An embeddings response."""
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    return json.dumps({"data": entries, "model": "text-embedding-3-small", "usage": usage, **more}).encode()


def completion(*choices: dict[str, Any], **more: Any) -> bytes:
    """A chat response."""
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    fields = {"object": "chat.completion", "model": "gpt-4o-mini", "choices": choices, "usage": usage, **more}
    return json.dumps(fields).encode()


def choice(content: str | None = "fine", finish_reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    """A choice of a chat response."""
    said = {"role": "assistant", "content": content, **message}
    return {"index": 0, "message": said, "finish_reason": finish_reason}


def chunk(content: str | None = None, finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of a streamed chat response."""
    delta = {} if content is None else {"content": content}
    choices = [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    return {"id": "c1", "object": "chat.completion.chunk", "model": "gpt-4o-mini", "choices": choices, **more}


COUNTED = {
    "id": "c1",
    "object": "chat.completion.chunk",
    "model": "gpt-4o-mini",
    "choices": [],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}
"""The chunk without choices that ends a stream with what it cost."""


def events(*chunks: object, done: bool = True, end: str = "\n") -> bytes:
    """Chunks as server-sent events."""
    shown = [json.dumps(one, ensure_ascii=False) for one in chunks] + ["[DONE]"] * done
    return "".join(f"data: {one}{end}{end}" for one in shown).encode()


def streamed(body: bytes, **more: Any) -> Reply:
    """An event stream with a length."""
    return reply(200, body, {"Content-Type": "text/event-stream", "x-request-id": "req_good"}, **more)


def good(seen: Seen) -> Reply:
    """The right answer to any request."""
    asked, headers = seen.json, {"Content-Type": "application/json", "x-request-id": f"req_{seen.number}"}
    if seen.path.endswith("/embeddings"):
        entries = [{"index": n, "embedding": vector(1.0, float(n))} for n in range(len(asked["input"]))]
        return reply(200, vectors(*entries), headers)
    if asked.get("stream"):
        return streamed(events(chunk("fi"), chunk("ne"), chunk(None, "stop"), COUNTED))
    return reply(200, completion(choice()), headers)


def texts_of(seen: Seen) -> list[str]:
    """What a request asks."""
    asked = seen.json
    return list(asked["input"]) if "input" in asked else [asked["messages"][-1]["content"]]


class Judged:
    """A pipeline and the server it asks; `answer` may be changed between runs."""

    def __init__(self, folder: Path, server: RawServer) -> None:
        self.server = server
        self.bench = Bench(folder, SimpleNamespace(url=f"{server.url}/v1"))  # type: ignore[arg-type]  # its URL is all

    def pipeline(
        self, step: str, texts: list[str], *, provider: str = PROVIDER, more: str = "stop_above: 100%"
    ) -> None:
        """Write the source and the pipeline."""
        self.bench.texts(texts)
        self.bench.pipeline(step, provider=provider, more=f"errors: {{{more}}}\n")

    def answer(self, respond: Callable[[Seen], Reply]) -> None:
        """Answer so from now on."""
        self.server.answer = respond

    def sent(self) -> dict[str, int]:
        """How many requests held each text."""
        return dict(Counter(text for seen in self.server.seen for text in texts_of(seen)))


@contextmanager
def judged(folder: Path) -> Iterator[Judged]:
    """A pipeline in `folder` and a server that answers well until it is told otherwise."""
    with RawServer(good) as server:
        yield Judged(folder, server)
