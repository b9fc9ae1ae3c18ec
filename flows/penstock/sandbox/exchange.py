"""One request's way through the server, behind the checks of host and key: read, prepare, limits, faults, answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from starlette.datastructures import Headers, QueryParams
from starlette.types import Message, Receive, Scope, Send

from penstock.errors import InputError
from penstock.faults import FAULTS, Kind, check_name
from penstock.sandbox import errors
from penstock.sandbox.contract import Answer, Call, Operation, Work
from penstock.sandbox.errors import ApiError
from penstock.sandbox.forms import FORM
from penstock.sandbox.garble import garble
from penstock.sandbox.refusals import BARE, refuse
from penstock.sandbox.state import Sandbox
from penstock.sandbox.transport import SILENT, break_connection, deliver_badly
from penstock.sandbox.uploads import ClientGone, read_form

FAULT_HEADER = "x-sandbox-fault"
TRACE = "penstock.trace"
_OF_HTTP = frozenset({Kind.TRANSPORT, Kind.BODY})
"""Faults that a line in a file cannot meet."""


@dataclass(slots=True)
class Trace:
    """What the outer layers need to know of a request when it is over.

    Attributes:
        path: for the counters; without parameters.
        headers: the limits' headers.
        bare: send none of the service's headers.
        outcome: for the counters; empty means the status.
    """

    path: str = "(other)"
    headers: dict[str, str] = field(default_factory=dict)
    bare: bool = False
    outcome: str = ""


async def send_answer(answer: Answer, send: Send) -> None:
    """Send an answer, whole or in its pieces."""
    headers = [(b"content-type", answer.media_type.encode("latin-1"))]
    if isinstance(answer.body, bytes):
        headers.append((b"content-length", str(len(answer.body)).encode()))
    elif answer.length is not None:
        headers.append((b"content-length", str(answer.length).encode()))
    headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
    start: Message = {"type": "http.response.start", "status": answer.status, "headers": headers}
    await send(start)
    if isinstance(answer.body, bytes):
        await send({"type": "http.response.body", "body": answer.body})
        return
    async for piece in answer.body:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def send_error(error: ApiError, send: Send) -> None:
    """Send a refusal."""
    await send_answer(Answer(error.body(), error.status, headers=error.headers), send)


class Endpoint:
    """The operations of one path, as an ASGI application.

    Args:
        sandbox: the server's state.
        operations: all of one path, each with another method.
    """

    def __init__(self, sandbox: Sandbox, operations: Mapping[str, Operation]) -> None:
        self._sandbox = sandbox
        self._operations = operations
        template = next(iter(operations.values())).path
        self._path = re.sub(r"\{(\w+):\w+\}", r"{\1}", template)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        trace: Trace = scope[TRACE]
        trace.path = self._path
        try:
            await self._answer(trace, scope, receive, send)
        except ApiError as error:
            await send_error(error, send)

    async def _answer(self, trace: Trace, scope: Scope, receive: Receive, send: Send) -> None:
        sandbox = self._sandbox
        if not all(scope["path_params"].values()):
            raise errors.unknown_url(scope["method"], scope["path"])
        operation = self._operations.get(scope["method"])
        if operation is None:
            raise errors.wrong_method(scope["method"], scope["path"])
        call = Call(sandbox, scope["path_params"], QueryParams(scope["query_string"]), Headers(scope=scope), b"")
        try:
            if operation.upload:
                folder = sandbox.archive.folder("uploads")
                form = await read_form(receive, call.headers.get("content-type", ""), folder, operation.largest_body)
                call = replace(call, upload=form)
            else:
                call = replace(call, body=await _read(receive, operation.largest_body))
        except ClientGone:
            trace.outcome = "gone"
            return
        try:
            await self._serve(operation, call, trace, (scope, receive, send))
        finally:
            call.upload.discard()

    async def _serve(self, operation: Operation, call: Call, trace: Trace, wire: tuple[Scope, Receive, Send]) -> None:
        sandbox = self._sandbox
        sandbox.agenda.run_due()
        work = self._prepare(operation, call, trace)
        if operation.metered:
            trace.headers = sandbox.limits.admit(work.model, work.tokens)
        if pause := sandbox.pause():
            await asyncio.sleep(pause)
        refuse_poison(sandbox, work)
        fault = _asked_fault(call.headers) or sandbox.faults.draw()
        if fault is None:
            await send_answer(await answer_work(sandbox, work), wire[2])
        else:
            sandbox.stats.fault(fault)
            await self._fail(fault, work, trace, wire)

    def _prepare(self, operation: Operation, call: Call, trace: Trace) -> Work:
        try:
            return operation.prepare(call)
        except ApiError:
            # Requests that are refused count as requests too, as the service's guide on limits says.
            if operation.metered and (model := _named_model(call)):
                trace.headers = self._sandbox.limits.admit(model, 0)
            raise

    async def _fail(self, name: str, work: Work, trace: Trace, wire: tuple[Scope, Receive, Send]) -> None:
        scope, receive, send = wire
        kind = FAULTS[name].kind
        if kind is Kind.REFUSAL:
            trace.bare = name == BARE
            await send_answer(refuse(name, model=work.model, key=self._sandbox.settings.key), send)
        elif kind is not Kind.TRANSPORT:
            await send_answer(await garble(name, await work.answer()), send)
        elif name in SILENT:
            trace.outcome = name
            await break_connection(name, scope, receive)
        else:
            trace.outcome = name
            answer = await (answer_work(self._sandbox, work) if name == "slow" else work.answer())
            await deliver_badly(name, answer, scope, receive, send)


def refuse_poison(sandbox: Sandbox, work: Work) -> None:
    """Refuse a request with a word that the server was told to refuse.

    Raises:
        ApiError: 400.
    """
    if any(word in text for word in sandbox.poison for text in work.texts):
        raise ApiError(400, "The input was refused. (sandbox poison)", param="input")


async def answer_work(sandbox: Sandbox, work: Work) -> Answer:
    """The answer, counted as given."""
    answer = await work.answer()
    sandbox.stats.answered(work.texts, work.key, work.tokens if answer.tokens is None else answer.tokens)
    return answer


async def perform(sandbox: Sandbox, method: str, path: str, body: bytes) -> Answer:
    """Do a request from inside (a line of a batch): checked, answered and counted like one from outside.

    Latency, limits per minute and faults of the connection or of the body's bytes are those of HTTP; what a fault
    makes of an answer, or puts in its place, holds here too, and so does `poison`.

    Raises:
        ApiError: it is refused.
    """
    work = prepare_inside(sandbox, method, path, body)
    refuse_poison(sandbox, work)
    name = sandbox.faults.draw()
    kind = FAULTS[name].kind if name else None
    if name is None or kind in _OF_HTTP:
        return await answer_work(sandbox, work)
    sandbox.stats.fault(name)
    if kind is Kind.REFUSAL:
        return refuse(name, model=work.model, key=sandbox.settings.key)
    return await garble(name, await work.answer())


def prepare_inside(sandbox: Sandbox, method: str, path: str, body: bytes) -> Work:
    """A request from inside, checked.

    Raises:
        ApiError: it is refused.
    """
    operation = sandbox.operations.get((method, path))
    if operation is None:
        raise errors.unknown_url(method, path)
    return operation.prepare(Call(sandbox, {}, {}, {"content-type": "application/json"}, body))


def _asked_fault(headers: Mapping[str, str]) -> str | None:
    name = headers.get(FAULT_HEADER)
    if name is None:
        return None
    try:
        return check_name(name.strip())
    except InputError as error:
        raise ApiError(400, str(error), param=FAULT_HEADER, code="unknown_sandbox_fault") from None


def _named_model(call: Call) -> str:
    try:
        model = call.form().text("model") if _is_form(call) else call.json().get("model")
    except ApiError:
        return ""
    return model if isinstance(model, str) and model in call.sandbox.cards else ""


def _is_form(call: Call) -> bool:
    return call.headers.get("content-type", "").lower().startswith(FORM)


async def _read(receive: Receive, most: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size > most:
            error = errors.body_too_large(most)
            error.headers["connection"] = "close"
            raise error
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)
