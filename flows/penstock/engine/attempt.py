"""One attempt: send a pack, read the answer, and enter in every book what it took and cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from penstock.api.bodies import error_text, first_bytes, usage_in
from penstock.api.client import JSON, ApiClient
from penstock.api.errors import (
    ApiError,
    ConnectionFailed,
    Facts,
    InvalidBody,
    NotMade,
    RateLimited,
    TimedOut,
    UnusableBody,
)
from penstock.api.headers import parse_ratelimit, request_id_of
from penstock.api.provider import Provider
from penstock.api.wire import WireResponse
from penstock.engine.budget import Reservation
from penstock.engine.control import RunControl
from penstock.engine.group import Group
from penstock.engine.limits import Admission
from penstock.engine.pack import Pack
from penstock.errors import AskAgain, FileChanged, InvalidAnswer, UnusableAnswer
from penstock.items import Answer, Usage, Work
from penstock.values import format_duration

_SLACK_SECONDS = 2.0


class Success(NamedTuple):
    """A read answer; `usd` of this attempt, None when unknown."""

    answer: Answer
    response: WireResponse
    usd: float | None = None


class Lost(NamedTuple):
    """An attempt without an answer, and what it cost nevertheless."""

    error: ApiError
    usage: Usage | None
    usd: float | None = None


class Again(NamedTuple):
    """A read answer that the model should mend: what to ask it next, and what this attempt cost."""

    payload: object
    response: WireResponse
    usage: Usage | None
    usd: float | None = None


class Caller:
    """Sends the packs of one job. All methods belong to the engine's loop."""

    def __init__(self, work: Work, client: ApiClient, group: Group, control: RunControl, provider: Provider) -> None:
        self._work = work
        self._client = client
        self._group = group
        self._control = control
        self._timeouts = provider.timeouts.for_answers(streams=work.streams, at_once=work.at_once)
        self._provider = provider
        self._loop = asyncio.get_running_loop()
        self._deadlines: dict[asyncio.Task[None], float] = {}
        self._overdue: set[asyncio.Task[None]] = set()

    @property
    def sending(self) -> list[asyncio.Task[None]]:
        """The tasks whose requests are under way."""
        return list(self._deadlines)

    def end_overdue(self) -> None:
        """End requests that outlived every deadline of the wire."""
        now = self._loop.time()
        for task, deadline in self._deadlines.items():
            if now > deadline and task not in self._overdue:
                self._overdue.add(task)
                task.cancel()

    def expected(self, pack: Pack) -> list[Usage]:
        """What the items will count, where that is more than tokens at the price of prompts."""
        told = [usage for item in pack.items if (usage := self._work.expected(item.payload)) is not None]
        answer = self._work.answer_tokens
        if told or not answer:
            return told
        # As long as it may be: what is set aside before the first answer came must not be too little.
        return [Usage(self._work.model, max(item.tokens - answer, 0), answer) for item in pack.items]

    async def attempt(
        self, task: asyncio.Task[None], pack: Pack, admission: Admission, reservation: Reservation
    ) -> Success | Lost | Again:
        """Send `pack` in the worker `task` and give back admission and reservation, whatever happens."""
        control, sent = self._control, pack.sent
        self._deadlines[task] = self._loop.time() + self._timeouts.total + _SLACK_SECONDS
        attempted = None
        try:
            attempted = await self._ask(task, pack)
        finally:
            del self._deadlines[task]
            # A wire may answer a cancellation with an error of its own; the worker's next request is watched again.
            self._overdue.discard(task)
            control.release(reservation)
            if attempted is None:
                if pack.sent > sent:
                    self._ended("abandoned", pack)
                self._group.gate.leave(admission)
        if isinstance(attempted, Success):
            usage = attempted.answer.usage
            return Success(
                attempted.answer, attempted.response, self._answered(attempted.response, usage, pack, admission)
            )
        if isinstance(attempted, Again):
            usd = self._answered(attempted.response, attempted.usage or Usage(), pack, admission)
            return Again(attempted.payload, attempted.response, attempted.usage, usd)
        if pack.sent == sent:
            self._group.gate.leave(admission, sent=False)
            return attempted
        return self._lost(attempted, pack, admission)

    async def _ask(self, task: asyncio.Task[None], pack: Pack) -> Success | Lost | Again:
        work = self._work
        payloads = [item.payload for item in pack.items]
        try:
            body = await self._body(payloads)
            self._control.attempt_began(again=pack.sent > 0)
            pack.sent += 1
            response = await self._client.post_json(
                work.endpoint, body, content_type=work.content_type, timeouts=self._timeouts
            )
        except FileChanged as error:
            return Lost(NotMade(str(error)), None)
        except ApiError as error:
            return Lost(error, error.facts.usage)
        except asyncio.CancelledError:
            if task not in self._overdue:
                raise
            self._overdue.discard(task)
            task.uncancel()
            return Lost(TimedOut(f"no answer in {format_duration(self._timeouts.total)}"), None)
        try:
            return Success(work.read(response.body, payloads), response)
        except AskAgain as again:
            return Again(again.payload, response, usage_in(response.body))
        except UnusableAnswer as error:
            return Lost(_unusable(error, response), usage_in(response.body))

    async def _body(self, payloads: Sequence[Any]) -> bytes:
        if self._work.content_type == JSON:
            return self._work.body(payloads)
        return await asyncio.to_thread(self._work.body, payloads)

    def _answered(self, response: WireResponse, usage: Usage, pack: Pack, admission: Admission) -> float | None:
        counted = usage.prompt_tokens + usage.completion_tokens
        told = parse_ratelimit(response.headers) if self._group.limiter.listens else None
        self._group.succeeded(admission, self._work.endpoint, told, counted or None)
        return self._ended(str(response.status), pack, usage, success=True)

    def _ended(self, result: str, pack: Pack, usage: Usage | None = None, *, success: bool = False) -> float | None:
        return self._control.attempt_ended(
            result,
            model=self._work.model,
            estimate=pack.tokens,
            usage=usage,
            success=success,
            provider=self._provider.name,
        )

    def _lost(self, lost: Lost, pack: Pack, admission: Admission) -> Lost:
        error, facts = lost.error, lost.error.facts
        if isinstance(error, RateLimited):
            pause = self._group.refused(admission, facts.limits, error.retry_after, self._provider)
            self._control.waits(", ".join(["rate limited", *_cut_wait(error)]), pause)
        else:
            for words in _cut_wait(error):
                self._control.waits(f"a request waits, {words}", error.retry_after or 0.0)
            sent = not (isinstance(error, ConnectionFailed) and error.never_sent)
            counted = lost.usage.prompt_tokens + lost.usage.completion_tokens if lost.usage else None
            self._group.gate.leave(admission, counted, sent=sent)
        for words in _cut_wait(error):
            self._control.note(f"{words}, by an answer {facts.status} of {self._provider.name!r}")
        result = error.cause.value if facts.status is None or facts.status < 300 else str(facts.status)
        usd = self._ended(result, pack, lost.usage)
        return Lost(error, lost.usage, usd)


def _unusable(error: UnusableAnswer, response: WireResponse) -> UnusableBody:
    """The step's complaint, or what the server says itself where it put an error into a success."""
    message = str(error)
    told = error_text(response.body)
    if not len(response.body):
        message = "a success with an empty body"
    elif bytes(response.body[:64]).replace(b" ", b"").lstrip()[:8] == b'{"error"':
        message = f"a success with an error in it: {told.message}"
    elif "begins" not in message:
        message = f"{message}; {first_bytes(response.body)}"
    facts = Facts(response.status, told.code, told.param, told.type, request_id_of(response.headers))
    return InvalidBody(message, facts) if isinstance(error, InvalidAnswer) else UnusableBody(message, facts)


def _cut_wait(error: ApiError) -> list[str]:
    """What is to be told of a wait that is not obeyed in full; nothing of others."""
    asked = error.facts.retry_after
    if asked is None or not asked.capped or not error.worth_retrying:
        return []
    return [f"the server asks for {format_duration(asked.asked)}, at most {format_duration(asked.seconds)} are waited"]
