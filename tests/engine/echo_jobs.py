"""A step that echoes, a sink that keeps a list, and a way to run a job on a raw server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from penstock.api.provider import Limits, Provider, RetryPolicy, Timeouts
from penstock.engine import Job, RunControl, engine
from penstock.errors import UnusableAnswer
from penstock.items import Answer, Delivered, Failed, Item, Packing, Usage
from penstock.secrets import Secret
from raw_http import RawServer, Reply, Seen, reply

FAST_RETRY = RetryPolicy(attempts=4, max_wait=0.01)
FAST_TIMEOUTS = Timeouts(connect=1, read=0.5, total=1)


@dataclass
class Echo:
    """Sends texts, wants the same texts back."""

    packing: Packing = field(default_factory=Packing)
    model: str = "text-embedding-3-small"
    endpoint: str = "/echo"
    content_type: str = "application/json"
    streams: bool = False
    at_once: bool = True
    answer_tokens: int | None = None
    on_read: Callable[[Any], object] = lambda _: None

    def expected(self, payload: Any) -> None:
        return None

    def body(self, payloads: Sequence[Any]) -> bytes:
        return json.dumps({"model": self.model, "input": list(payloads)}).encode()

    def read(self, body: bytes | memoryview, payloads: Sequence[Any]) -> Answer:
        try:
            answer = json.loads(bytes(body))
            texts = answer["data"]
        except (ValueError, KeyError, TypeError) as error:
            raise UnusableAnswer(f"not an echo: {error!r}") from None
        self.on_read(answer)
        if texts != list(payloads):
            raise UnusableAnswer(f"{len(texts)} texts came for {len(payloads)}")
        usage = answer.get("usage") or {}
        return Answer(
            pa.record_batch({"text": texts}),
            Usage(answer.get("model"), usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)),
        )


@dataclass
class Kept:
    """Keeps all outcomes, and the thread they came in."""

    answered: list[Delivered] = field(default_factory=list)
    failures: list[Failed] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def delivered(self, outcome: Delivered) -> None:
        self.threads.add(threading.get_ident())
        self.answered.append(outcome)

    def flush(self) -> None:
        """Nothing to do: what is taken is kept."""

    def failed(self, outcome: Failed) -> None:
        self.threads.add(threading.get_ident())
        self.failures.append(outcome)

    @property
    def done(self) -> list[int]:
        return sorted(item.number for outcome in self.answered for item in outcome.items)

    @property
    def lost(self) -> list[int]:
        return sorted(outcome.item.number for outcome in self.failures)


def echo(seen: Seen, **headers: str) -> Reply:
    """The right answer, ten tokens a text."""
    texts = seen.json["input"]
    usage = {"prompt_tokens": 10 * len(texts), "total_tokens": 10 * len(texts)}
    return reply(
        200,
        {"data": texts, "model": seen.json["model"], "usage": usage},
        {"x-request-id": f"req_{seen.number}", **headers},
    )


def items(texts: Iterable[str]) -> Iterable[Item]:
    """Ten tokens each."""
    return (Item(number, text, 10) for number, text in enumerate(texts))


def provider_of(server: RawServer, **settings: Any) -> Provider:
    """Impatient by default, so that tests are quick."""
    settings = {"retry": FAST_RETRY, "timeouts": FAST_TIMEOUTS, "limits": Limits(concurrency=8), **settings}
    return Provider("mine", server.url + "/v1", Secret("ENGINE_TEST_KEY"), **settings)


def run(
    server: RawServer,
    texts: Iterable[str],
    work: Any = None,
    *,
    control: RunControl | None = None,
    sink: Any = None,
    concurrency: int | None = None,
    **settings: Any,
) -> Any:
    """Run a job of `texts` to its end; the sink."""
    sink = Kept() if sink is None else sink
    provider = provider_of(server, **settings)
    engine().run(Job(work or Echo(), items(texts), sink, provider, control or RunControl(), concurrency))
    return sink
