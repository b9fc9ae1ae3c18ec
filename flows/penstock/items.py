"""What passes between a step and the request engine: items in, answers and failures out.

A *job* is one partition in one API step. Its rows become items; equal items are sent once. The engine packs items into
requests, and each comes back exactly once to the job's `Sink`: delivered or failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class Cause(StrEnum):
    """Why a row is in the errors table. Those of the first group are found before any request."""

    SOURCE = "source"
    EXPRESSION = "expression"
    EMPTY_INPUT = "empty_input"
    TOO_LONG = "too_long"
    UNREADABLE_FILE = "unreadable_file"
    INVALID_EXAMPLE = "invalid_example"

    INVALID_REQUEST = "invalid_request"
    NOT_FOUND = "not_found"
    UNUSABLE_ANSWER = "unusable_answer"
    INVALID_ANSWER = "invalid_answer"
    SERVER_ERROR = "server_error"
    RATE_LIMITED = "rate_limited"
    TIMEOUT = "timeout"
    CONNECTION = "connection"

    @property
    def asked(self) -> bool:
        """Whether a request was sent, so that asking again may help; errors of the data stay until the data change."""
        return self not in _BEFORE_ASKING

    @property
    def mendable(self) -> bool:
        """Whether trying the same row again may help: it was asked, or a file that it names may be there now."""
        return self.asked or self is Cause.UNREADABLE_FILE


_BEFORE_ASKING = frozenset(
    [
        Cause.SOURCE,
        Cause.EXPRESSION,
        Cause.EMPTY_INPUT,
        Cause.TOO_LONG,
        Cause.UNREADABLE_FILE,
        Cause.INVALID_EXAMPLE,
    ],
)


class Fault(NamedTuple):
    """Why a row cannot be asked."""

    cause: Cause
    message: str


class Item(NamedTuple):
    """One thing to ask.

    Attributes:
        number: its place in the job; answers come back by it.
        payload: what the step puts into the request's body, for example a text.
        tokens: what it counts against limits before the answer tells.
    """

    number: int
    payload: Any
    tokens: int


@dataclass(frozen=True, slots=True)
class Packing:
    """How many items fit in one request. A limit of None is no limit.

    `answer_bytes` is about what one item's answer takes on the wire: with it the engine bounds its memory.
    """

    max_items: int = 1
    max_item_tokens: int | None = None
    max_request_tokens: int | None = None
    answer_bytes: int = 0


class Usage(NamedTuple):
    """What one response counts, as the server told it or as it is known from the request, and the model it named.

    Attributes:
        seconds: of audio that was heard.
        characters: that were spoken.
        images: that were drawn.
    """

    model: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    seconds: float = 0.0
    characters: int = 0
    images: int = 0


def usage_type() -> pa.DataType:
    """The type of a usage column: a row's share of what its request cost."""
    import pyarrow as pa

    return pa.struct(
        {
            "model": pa.string(),
            "prompt_tokens": pa.int32(),
            "completion_tokens": pa.int32(),
            "cached_tokens": pa.int32(),
            "usd": pa.float64(),
            "attempts": pa.int32(),
            "request_id": pa.string(),
        }
    )


class AnswerRows(NamedTuple):
    """Answers as rows of Python values, in the order of the schema's fields.

    For requests of few items: the rows of many responses become columns together, which costs far less than columns
    of one row each.
    """

    schema: pa.Schema
    rows: Sequence[tuple[Any, ...]]

    def batch(self) -> pa.RecordBatch:
        """The rows as columns."""
        import pyarrow as pa

        cells = zip(*self.rows, strict=True)
        arrays = [pa.array(column, kind.type) for column, kind in zip(cells, self.schema, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


class Answer(NamedTuple):
    """A response: one row per payload of the request, in its order, as columns or as values."""

    columns: pa.RecordBatch | AnswerRows
    usage: Usage


class Work(Protocol):
    """What the engine must know of a step: where requests go, what they hold, how answers are read. No I/O."""

    @property
    def endpoint(self) -> str:
        """The path under the base URL, for example ``/embeddings``."""

    @property
    def model(self) -> str:
        """The model asked for: limits and prices go by it."""

    @property
    def packing(self) -> Packing:
        """How many items fit in one request."""

    @property
    def content_type(self) -> str:
        """Of the request's body."""

    @property
    def streams(self) -> bool:
        """Whether the answer comes as server-sent events, piece by piece: then silence counts, not the whole time."""

    @property
    def at_once(self) -> bool:
        """Whether the server has nothing to think about, so that its silence is a fault before the time is up."""

    @property
    def answer_tokens(self) -> int | None:
        """What an answer counts at most, which is part of what its item counts; None where nobody knows."""

    def expected(self, payload: Any) -> Usage | None:
        """What a request for this will count, where that is known beforehand in something else than tokens."""

    def body(self, payloads: Sequence[Any]) -> bytes:
        """The body of one request; where it is no JSON, made in a thread of its own, for it may take a while."""

    def read(self, body: bytes | memoryview, payloads: Sequence[Any]) -> Answer:
        """The columns of one response.

        Raises:
            UnusableAnswer: the body is not a whole and right answer to these payloads; it is asked for again.
            AskAgain: the answer is whole and not as it should be; the item is asked once more, with another payload.
            InvalidAnswer: the answer is whole and not as it should be, and asking again is of no use.
        """


class Delivered(NamedTuple):
    """Answered items. `usd` is what all attempts of the request cost together, None when the price is unknown."""

    items: Sequence[Item]
    answer: Answer
    attempts: int = 1
    request_id: str | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """An item without an answer. `message` holds no key."""

    item: Item
    cause: Cause
    message: str
    status: int | None = None
    code: str | None = None
    attempts: int = 0
    request_id: str | None = None
    usage: Usage = field(default_factory=Usage)
    usd: float | None = None


class Sink(Protocol):
    """Where a job's outcomes go. Called from one thread, one call at a time; must be quick."""

    def delivered(self, outcome: Delivered) -> None:
        """Take an answer; one for which this was interrupted (Ctrl-C) comes again."""

    def flush(self) -> None:
        """Keep what was delivered, so that a crash does not lose it; called a few milliseconds later at most."""

    def failed(self, outcome: Failed) -> None:
        """Keep the failure."""
