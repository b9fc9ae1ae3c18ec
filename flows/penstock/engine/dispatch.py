"""One job inside the engine's loop: workers send packs, the judge decides, outcomes go to the outbox.

Everything here runs in the loop's thread. The job's own thread brings packs and takes outcomes
(`penstock.engine.driver`); neither waits for the other but through the window of packs under way.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from penstock.api.errors import NotMade, RateLimited
from penstock.api.headers import request_id_of
from penstock.engine.attempt import Again, Caller, Lost, Success
from penstock.engine.budget import Reservation
from penstock.engine.control import RunControl
from penstock.engine.group import Group
from penstock.engine.judge import Action, Circumstances, judge
from penstock.engine.outbox import Outbox
from penstock.engine.pack import Pack
from penstock.engine.room import Room, Share
from penstock.errors import RunStopped
from penstock.items import Answer, AnswerRows, Delivered, Failed

GRACE_SECONDS = 3.0
"""What requests under way get when the run stops: they are paid, so their answers are worth a moment."""

_LAST_SECONDS = 0.5
_TICK_SECONDS = 0.25
_BUDGET_POLL_SECONDS = 0.02
_GATHERING_SECONDS = 0.05
"""Single answers that come home within it are kept together: waking a thread for each costs more than reading it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The last thing in an outbox. `error`: a bug that ended the job."""

    error: BaseException | None = None


class Dispatch:
    """The packs of one job, from the first attempt to their outcome.

    Args:
        at: the circumstances of the job's requests; items and attempts are filled in for each.
        most_workers: requests in flight at most, below the group's own limit.
        room: what answers may take in memory until `stored` is called for them.
        answer_bytes: about what one item's answer takes.
        check: called before each request; what it raises ends the job.
    """

    def __init__(
        self,
        caller: Caller,
        group: Group,
        control: RunControl,
        at: Circumstances,
        *,
        most_workers: int,
        room: Room,
        answer_bytes: int = 0,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        self.outbox: Outbox[Delivered | Failed | Ended] = Outbox()
        self._caller = caller
        self._group = group
        self._control = control
        self._at = at
        self._most_workers = most_workers
        self._room = Share(room)
        self._answer_bytes = answer_bytes
        self._check = check
        self._loop = asyncio.get_running_loop()
        self._ready: deque[Pack] = deque()
        self._delayed: list[tuple[float, int, Pack]] = []
        self._order = itertools.count()
        self._idle: deque[tuple[asyncio.Future[None], asyncio.Task[None]]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._before_sending: set[asyncio.Task[None]] = set()
        self._gathered: list[Delivered | Failed | Ended] = []
        self._handing: asyncio.TimerHandle | None = None
        self._outstanding = 0
        self._exhausted = False
        self._stopping = False
        self._ended = False
        self._error: BaseException | None = None
        self._due: asyncio.TimerHandle | None = None
        self._ticking = self._loop.call_later(_TICK_SECONDS, self._tick)
        self._stop_timer: asyncio.TimerHandle | None = None
        control.work_began()
        self._unsubscribe = control.on_stop(lambda: self._loop.call_soon_threadsafe(self.stop))

    def take(self, packs: Sequence[Pack], *, last: bool) -> None:
        """More packs; `last`: no more come."""
        self._exhausted = self._exhausted or last
        if not self._stopping:
            self._outstanding += len(packs)
            self._ready.extend(packs)
            self._staff()
        self._end_if_done()

    def stored(self, items: int) -> None:
        """The answers of so many items are with the sink; what they took in memory is free."""
        self._room.leave(items * self._answer_bytes)

    def close(self) -> None:
        """Nobody takes from the outbox any more."""
        self.stop()
        self._room.close()

    def stop(self) -> None:
        """Admit nothing more; requests under way may come home for a moment, then they are cancelled."""
        if self._stopping or self._ended:
            return
        self._stopping = True
        self._ready.clear()
        self._delayed.clear()
        self._dismiss_idle()
        for task in self._before_sending:
            task.cancel()
        self._stop_timer = self._loop.call_later(GRACE_SECONDS, self._cancel_sending)
        self._end_if_done()

    # -- workers

    def _staff(self) -> None:
        """Let one worker come for the work that waits; each that was admitted calls for the next."""
        if not self._ready or self._before_sending:
            return
        while self._idle:
            wake, task = self._idle.popleft()
            if not wake.done():
                self._before_sending.add(task)
                wake.set_result(None)
                return
        if len(self._workers) < self._most_workers:
            task = self._loop.create_task(self._serve())
            self._workers.add(task)
            self._before_sending.add(task)
            task.add_done_callback(self._worker_ended)

    async def _serve(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # this coroutine is only ever a task's
        while (pack := await self._next(task)) is not None:
            self._before_sending.add(task)
            await self._room.enter(len(pack.items) * self._answer_bytes)
            answered = False
            try:
                answered = await self._send(task, pack)
            finally:
                if not answered:
                    self.stored(len(pack.items))

    async def _send(self, task: asyncio.Task[None], pack: Pack) -> bool:
        """Make one attempt; whether an answer went into the outbox."""
        reservation = await self._reserve(pack)
        try:
            admission = await self._group.gate.enter(pack.tokens)
        except asyncio.CancelledError:
            self._control.release(reservation)
            raise
        self._before_sending.discard(task)
        self._staff()
        # Not kept in a variable: a worker that waits for its next pack must not hold its last answer.
        return self._settle(pack, await self._caller.attempt(task, pack, admission, reservation))

    async def _next(self, task: asyncio.Task[None]) -> Pack | None:
        while not (self._stopping or self._ended):
            if self._ready:
                return self._ready.popleft()
            self._before_sending.discard(task)
            wake: asyncio.Future[None] = self._loop.create_future()
            self._idle.append((wake, task))
            await wake
        self._before_sending.discard(task)
        return None

    async def _reserve(self, pack: Pack) -> Reservation:
        self._check()
        model, expected, name = self._at.model, self._caller.expected(pack), self._at.provider.name
        while (reservation := self._control.reserve(model, pack.tokens, expected, provider=name)) is None:
            # Only at the very end of a budget: what is under way may cost less than was set aside for it.
            await asyncio.sleep(_BUDGET_POLL_SECONDS)
        return reservation

    def _worker_ended(self, task: asyncio.Task[None]) -> None:
        self._workers.discard(task)
        self._before_sending.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, RunStopped):
            self._control.request_stop(error)
        elif error is not None and self._error is None:
            self._error = error
        if error is not None:
            self.stop()
        self._end_if_done()

    # -- outcomes

    def _settle(self, pack: Pack, attempted: Success | Lost | Again) -> bool:
        answered = isinstance(attempted, Success)
        if isinstance(attempted, Success):
            pack.attempts += 1
            request_id = request_id_of(attempted.response.headers)
            pack.charge(attempted.answer.usage, attempted.usd)
            answer = Answer(attempted.answer.columns, pack.spent)
            self._gathered.append(Delivered(pack.items, answer, pack.attempts, request_id, pack.usd))
            self._hand_over_soon(at_once=not isinstance(answer.columns, AnswerRows))
            self._outstanding -= 1
        elif isinstance(attempted, Again):
            self._ask_again(pack, attempted)
        else:
            self._judge(pack, attempted)
        self._end_if_done()
        return answered

    def _ask_again(self, pack: Pack, again: Again) -> None:
        pack.attempts += 1
        pack.charge(again.usage, again.usd)
        if self._stopping:
            self._outstanding -= 1
            return
        answer = again.usage.completion_tokens if again.usage else 0
        pack.items = [item._replace(payload=again.payload, tokens=item.tokens + answer) for item in pack.items]
        pack.tokens = sum(item.tokens for item in pack.items)
        self._ready.appendleft(pack)

    def _judge(self, pack: Pack, lost: Lost) -> None:
        error = lost.error
        now = self._loop.time()
        pack.charge(lost.usage, lost.usd)
        if isinstance(error, RateLimited):
            pack.refused_at = pack.refused_at or now
        elif not isinstance(error, NotMade):
            pack.attempts += 1
        verdict = judge(error, self._at.of(pack, self._group.good_endpoints, now))
        if verdict.action is Action.FAIL:
            self._fail(pack, lost)
        elif verdict.action is Action.STOP and verdict.reason is not None:
            self._control.request_stop(verdict.reason)
            self._outstanding -= 1
        elif self._stopping:
            # Not judged to the end: the item stays undone, and resume asks again.
            self._outstanding -= 1
        elif verdict.action is Action.RETRY:
            heapq.heappush(self._delayed, (now + verdict.wait, next(self._order), pack))
            self._schedule_due()
        elif verdict.action is Action.PAUSE:
            self._ready.appendleft(pack)
        else:
            allowed = self._at.provider.retry.attempts
            left, right = pack.halved(allowed, tried_out=error.worth_retrying)
            self._ready.extendleft((right, left))
            self._outstanding += 1
            self._staff()

    def _fail(self, pack: Pack, lost: Lost) -> None:
        error = lost.error
        for item, (usage, usd) in zip(pack.items, pack.shares(), strict=True):
            self._control.item_failed(error.cause)
            self._gathered.append(
                Failed(
                    item,
                    error.cause,
                    error.message,
                    status=error.status,
                    code=error.code,
                    attempts=max(pack.attempts, min(pack.sent, 1)),
                    request_id=error.request_id,
                    usage=usage,
                    usd=usd,
                )
            )
        self._outstanding -= 1
        self._hand_over_soon()

    def _hand_over_soon(self, *, at_once: bool = False) -> None:
        if at_once or len(self._gathered) >= max(self._group.limiter.concurrency.limit // 2, 8):
            self._hand_over()
        elif self._handing is None:
            self._handing = self._loop.call_later(_GATHERING_SECONDS, self._hand_over)

    def _hand_over(self) -> None:
        if self._handing is not None:
            self._handing.cancel()
            self._handing = None
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self.outbox.put(gathered)

    # -- timers

    def _schedule_due(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._delayed and not self._stopping:
            self._due = self._loop.call_at(self._delayed[0][0], self._release_due)

    def _release_due(self) -> None:
        now = self._loop.time()
        due = []
        while self._delayed and self._delayed[0][0] <= now + 0.001:
            due.append(heapq.heappop(self._delayed)[2])
        self._ready.extendleft(reversed(due))
        self._schedule_due()
        self._staff()

    def _tick(self) -> None:
        self._caller.end_overdue()
        self._control.watch()
        self._ticking = self._loop.call_later(_TICK_SECONDS, self._tick)

    def _cancel_sending(self) -> None:
        for task in self._caller.sending:
            task.cancel()
        self._stop_timer = self._loop.call_later(_LAST_SECONDS, self._end)

    # -- the end

    def _end_if_done(self) -> None:
        done = self._exhausted and self._outstanding == 0 and self._error is None
        if done or (self._stopping and not self._workers):
            self._end()

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._unsubscribe()
        for timer in (self._ticking, self._due, self._stop_timer):
            if timer is not None:
                timer.cancel()
        self._dismiss_idle()
        self._control.work_ended()
        self._gathered.append(Ended(self._error))
        self._hand_over()

    def _dismiss_idle(self) -> None:
        while self._idle:
            wake, _ = self._idle.popleft()
            if not wake.done():
                wake.set_result(None)
