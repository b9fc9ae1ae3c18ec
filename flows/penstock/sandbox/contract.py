"""What one resource of the API declares, so that key check, limits, faults, headers and counting are done for all.

A resource is one module with a `Resource` named ``RESOURCE``. Each of its operations has a `prepare` function that
validates a `Call` and says what it would cost as `Work`; its `answer` is computed only when the limits admit the
request and no fault takes its place.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.sandbox import errors
from penstock.sandbox.forms import Form, parse_form
from penstock.sandbox.uploads import StreamedForm

if TYPE_CHECKING:
    from penstock.sandbox.settings import Settings
    from penstock.sandbox.state import Sandbox

LARGEST_JSON = 32 * 2**20
"""Bytes of a JSON body that are read; 300,000 tokens of text are about 2 MB."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation sends.

    Attributes:
        body: whole, or in pieces (server-sent events).
        status: the HTTP status.
        media_type: the Content-Type.
        headers: sent beside the usual ones.
        length: bytes of a body in pieces, when they are known.
        tokens: that the answer costs, where that is not what the limits counted.
    """

    body: bytes | AsyncIterator[bytes]
    status: int = 200
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """A valid request: what it counts against the limits, and how to answer it.

    Attributes:
        answer: computes the answer; awaited at most once.
        model: the limits are kept per model; empty for requests that name none.
        tokens: counted against the tokens per minute.
        texts: the inputs as text, for `poison` and for the count of inputs that were answered twice.
        key: what else decides an answer (model, dimensions); equal texts with equal keys are "the same input".
    """

    answer: Callable[[], Awaitable[Answer]]
    model: str = ""
    tokens: int = 0
    texts: Sequence[str] = ()
    key: tuple[object, ...] = ()


def json_answer(value: object, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer in JSON."""
    return Answer(msgspec.json.encode(value), headers=headers or {})


def json_work(value: object, headers: Mapping[str, str] | None = None) -> Work:
    """Work that is already done: its answer is `value` in JSON, as it is when its turn comes."""

    async def answer() -> Answer:
        return json_answer(value, headers)

    return Work(answer)


@dataclass(frozen=True, slots=True)
class Call:
    """One request that reached an operation, with its body read.

    Attributes:
        sandbox: the server's state: settings, models, counters.
        path: the path's parameters by name.
        query: the query string's parameters.
        headers: lower-case names.
        body: as sent; empty when the operation's body is an upload.
        upload: the parts of such a form; its files are deleted when the request is over, unless they were taken.
    """

    sandbox: Sandbox
    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    upload: StreamedForm = field(default_factory=StreamedForm)

    def json(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            ApiError: another content type, no JSON, or JSON that is not an object.
        """
        content_type = self.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() != "application/json":
            raise errors.unsupported_content_type(content_type)
        try:
            value = msgspec.json.decode(self.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise errors.unparsable_json() from None
        if not isinstance(value, dict):
            raise errors.unparsable_json()
        return value

    def form(self) -> Form:
        """The body as ``multipart/form-data``.

        Raises:
            ApiError: another content type, or no form.
        """
        return parse_form(self.headers.get("content-type", ""), self.body)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        method: ``GET``, ``POST`` or ``DELETE``.
        path: with parameters in braces, for example ``/v1/models/{model:path}``.
        prepare: validates; raises `ApiError` for what the service would refuse.
        metered: whether the request counts against the limits.
        largest_body: bytes.
        upload: whether the body is a form with files so large that they go to disk.
    """

    method: str
    path: str
    prepare: Callable[[Call], Work]
    metered: bool = True
    largest_body: int = LARGEST_JSON
    upload: bool = False


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model as ``GET /v1/models`` shows it.

    Attributes:
        id: the name that requests use.
        created: seconds since 1970.
        owned_by: ``system`` for most of the service's own.
        description: what the sandbox's stand-in is; not a field of the real service.
    """

    id: str
    created: int
    owned_by: str
    description: str


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of the API.

    Attributes:
        operations: its methods and paths.
        cards: the models it brings, given the server's settings.
        restore: called once at the start; takes up what the archive holds from an earlier server.
    """

    operations: tuple[Operation, ...]
    cards: Callable[[Settings], list[ModelCard]] = lambda settings: []  # noqa: ARG005  # most bring none
    restore: Callable[[Sandbox], None] = lambda sandbox: None  # noqa: ARG005  # most keep nothing
