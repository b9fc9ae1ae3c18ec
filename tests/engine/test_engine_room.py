"""Memory for answers: however a job ends, what it took is given back, so that no later job waits for ever."""

from __future__ import annotations

import asyncio
import errno
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from echo_jobs import Echo, Kept, items
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.api.provider import Limits, Provider, RetryPolicy
from penstock.api.wire import FailureKind, WireError, WireRequest, WireResponse
from penstock.engine import Job, RunControl, dispatch
from penstock.engine.jobs import Engine
from penstock.engine.portal import portal
from penstock.engine.room import Room, Share
from penstock.errors import AccessDenied, Interrupted, RunStopped, StorageFailed
from penstock.items import Item, Packing

MANY = [f"t{n}" for n in range(400)]
SIZE = 1000
PACKED = Packing(max_items=4, answer_bytes=SIZE)


class FakeWire:
    """Answers by a function of the texts and the number of the request; no network."""

    def __init__(self, answer: Callable[[list[str], int], Any]) -> None:
        self.answer = answer
        self.sent = 0
        self.answered = 0

    async def send(self, request: WireRequest, timeouts: Any) -> WireResponse:
        self.sent += 1
        texts = json.loads(request.body)["input"]
        answer = self.answer(texts, self.sent)
        if asyncio.iscoroutine(answer):
            answer = await answer
        else:
            await asyncio.sleep(0.001)
        if isinstance(answer, Exception):
            raise answer
        status, body = answer
        self.answered += 1
        return WireResponse(status, {}, json.dumps(body).encode())

    async def aclose(self) -> None:
        pass


def right(texts: list[str], _: int) -> Any:
    return 200, {"data": texts, "model": "text-embedding-3-small", "usage": {"prompt_tokens": 10 * len(texts)}}


class Rig:
    """An engine of its own with little room, and what is left in it."""

    def __init__(self, answer: Callable[[list[str], int], Any], most: int = 20 * SIZE) -> None:
        self.wire = FakeWire(answer)
        self.engine = Engine(portal(), lambda: self.wire)
        self.room = self.engine._room = Room(most)

    def run(self, source: Any = MANY, *, sink: Any = None, control: Any = None, work: Any = None, **more: Any) -> Any:
        sink = Kept() if sink is None else sink
        policy = RetryPolicy(more.pop("attempts", 3), 0.001)
        provider = Provider("mine", "http://fake/v1", limits=Limits(concurrency=8), retry=policy)
        source = items(source) if isinstance(source, list) else source
        self.engine.run(Job(work or Echo(PACKED), source, sink, provider, control or RunControl(), **more))
        return sink

    def left(self) -> int:
        """Bytes still taken once the loop has done what it was told."""

        async def look() -> int:
            return self.room.taken

        return portal().run(look())


class Bug(Exception):
    pass


def test_after_a_whole_job_the_room_is_empty() -> None:
    rig = Rig(right)
    assert rig.run().done == list(range(400))
    assert rig.left() == 0


@pytest.mark.parametrize(
    "answer",
    [
        lambda texts, n: (503, {}) if n % 3 else right(texts, n),
        lambda texts, n: WireError(FailureKind.CLOSED, "cut") if n % 2 else right(texts, n),
        lambda texts, n: (429, {}) if n < 5 else right(texts, n),
        lambda texts, n: (400, {"error": {"message": "bad"}}) if "t7" in texts else right(texts, n),
        lambda texts, n: (200, {"data": []}) if "t9" in texts else right(texts, n),
        lambda *_: (500, {}),
    ],
    ids=["503", "cut", "429", "halved", "unusable", "all fail"],
)
def test_after_retries_pauses_halves_and_failures_it_is_empty(answer: Any) -> None:
    rig = Rig(answer)
    sink = rig.run(MANY[:60], attempts=4)
    assert sorted(sink.done + sink.lost) == list(range(60))
    assert rig.left() == 0


def held(texts: list[str], number: int) -> Any:
    """The first requests are answered, the others never."""

    async def silence() -> Any:
        await asyncio.Event().wait()

    return right(texts, number) if number < 4 else silence()


@pytest.mark.parametrize("most", [1, 8 * SIZE, 10**9], ids=["one at a time", "some wait for room", "none waits"])
def test_after_a_stop_with_requests_under_way_it_is_empty(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "GRACE_SECONDS", 0.2)
    rig, control = Rig(held, most), RunControl()
    threading.Timer(0.1, control.request_stop, [Interrupted("stop")]).start()
    with pytest.raises(Interrupted):
        rig.run(control=control)
    assert rig.left() == 0


def test_after_a_stop_while_a_worker_waits_for_the_budget_it_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "GRACE_SECONDS", 0.2)
    rig, control = Rig(held), RunControl(budget_tokens=200)
    threading.Timer(0.2, control.request_stop, [Interrupted("stop")]).start()
    with pytest.raises(Interrupted):
        rig.run(control=control)
    assert rig.left() == 0


def test_after_a_stop_while_a_worker_waits_at_the_gate_it_is_empty() -> None:
    rig, control = Rig(lambda texts, n: (429, {}) if n > 3 else right(texts, n)), RunControl()
    threading.Timer(0.1, control.request_stop, [Interrupted("stop")]).start()
    with pytest.raises(Interrupted):
        rig.run(control=control, attempts=100)
    assert rig.left() == 0


def test_a_wire_that_answers_after_the_end_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(dispatch, "_LAST_SECONDS", 0.05)

    async def stubborn(texts: list[str], number: int) -> Any:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(0.3)
        return right(texts, number)

    rig, control = Rig(stubborn), RunControl()
    threading.Timer(0.1, control.request_stop, [Interrupted("stop")]).start()
    with pytest.raises(Interrupted):
        rig.run(control=control)
    assert rig.left() == 0
    time.sleep(0.5)
    assert rig.left() == 0


def raises(*_: object) -> None:
    raise Bug("mine")


class BrokenBody(Echo):
    def body(self, payloads: Any) -> bytes:
        raise Bug("no body")


@pytest.mark.parametrize("work", [Echo(PACKED, on_read=raises), BrokenBody(PACKED)], ids=["read", "body"])
def test_after_a_bug_of_the_step_it_is_empty(work: Any) -> None:
    rig = Rig(right)
    with pytest.raises(Bug):
        rig.run(work=work)
    assert rig.left() == 0


def test_after_a_bug_in_judging_a_failure_it_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "judge", raises)
    rig = Rig(lambda *_: (500, {}))
    with pytest.raises(Bug):
        rig.run()
    assert rig.left() == 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [(Bug("sink"), Bug), (OSError(errno.ENOSPC, "full"), StorageFailed), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_after_a_sink_that_raises_it_is_empty(error: BaseException, kind: type[BaseException]) -> None:
    class Broken(Kept):
        def delivered(self, outcome: Any) -> None:
            if len(self.answered) > 2:
                raise error
            super().delivered(outcome)

    rig = Rig(right)
    with pytest.raises(kind):
        rig.run(sink=Broken())
    assert rig.left() == 0


@pytest.mark.parametrize("error", [Bug("sink"), KeyboardInterrupt()], ids=["bug", "ctrl-c"])
@pytest.mark.parametrize("raises_in", ["delivered", "flush"])
def test_what_was_paid_reaches_a_sink_that_raised_before(error: BaseException, raises_in: str) -> None:
    """The third answer is one that the sink cannot take; those in flight beside it are as good as any.

    What Ctrl-C interrupted comes again, for nobody knows how far the sink was.
    """

    class Picky(Kept):
        raised = False

        def _look(self, where: str) -> None:
            if where == raises_in and len(self.answered) == 3 and not self.raised:
                self.raised = True
                raise error

        def delivered(self, outcome: Any) -> None:
            super().delivered(outcome)
            self._look("delivered")

        def flush(self) -> None:
            self._look("flush")

    rig, sink = Rig(right), Picky()
    with pytest.raises(type(error)):
        rig.run(sink=sink)
    assert len({outcome.items[0].number for outcome in sink.answered}) == rig.wire.answered
    assert len(sink.answered) == rig.wire.answered + isinstance(error, KeyboardInterrupt)
    assert rig.left() == 0


def test_a_sink_that_raises_for_the_last_answer_of_all_ends_the_job() -> None:
    class Late(Kept):
        def flush(self) -> None:
            if len(self.answered) == 3:
                raise Bug("sink")

    rig, sink = Rig(right), Late()
    with pytest.raises(Bug):
        rig.run(MANY[:3], sink=sink, work=Echo(Packing(max_items=1, answer_bytes=SIZE)))
    assert rig.left() == 0


def test_a_sink_that_refuses_all_ends_with_what_it_refused_first() -> None:
    class Refusing(Kept):
        def delivered(self, outcome: Any) -> None:
            super().delivered(outcome)
            raise Bug(f"answer {len(self.answered)}")

    rig, sink = Rig(right), Refusing()
    with pytest.raises(Bug, match=r"^answer 1$"):
        rig.run(sink=sink)
    assert len(sink.answered) == rig.wire.answered
    assert rig.left() == 0


def test_after_a_second_ctrl_c_while_answers_come_home_it_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver is left in the middle of its end, with answers that nobody will take."""

    class Hasty(Kept):
        def delivered(self, outcome: Any) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("penstock.engine.driver.Driver._give_up", raises)
    rig = Rig(right)
    with pytest.raises((KeyboardInterrupt, Bug)):
        rig.run(sink=Hasty())
    time.sleep(0.2)
    assert rig.left() == 0


def test_after_a_source_that_raises_it_is_empty() -> None:
    def source() -> Iterator[Item]:
        yield from items(MANY[:30])
        raise Bug("source")

    rig = Rig(right)
    with pytest.raises(Bug):
        rig.run(source())
    assert rig.left() == 0


def test_after_an_answer_that_stops_the_run_it_is_empty() -> None:
    rig = Rig(lambda texts, n: (401, {}) if n > 3 else right(texts, n))
    with pytest.raises(AccessDenied):
        rig.run()
    assert rig.left() == 0


def test_jobs_share_little_room_with_slow_sinks_and_all_end() -> None:
    """Three jobs, room for two packs, and sinks that take their time: none waits for ever, none loses an answer."""

    class Slow(Kept):
        def delivered(self, outcome: Any) -> None:
            time.sleep(0.002)
            super().delivered(outcome)

    rig = Rig(right, most=2 * 4 * SIZE)
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(rig.run, sink=Slow()) for _ in range(3)]
        assert all(one.result(20).done == list(range(400)) for one in running)
    assert rig.left() == 0


def test_a_job_that_waits_for_room_stops_at_once_while_the_sink_of_another_is_stuck() -> None:
    stuck, go_on = threading.Event(), threading.Event()

    class Stuck(Kept):
        def delivered(self, outcome: Any) -> None:
            stuck.set()
            assert go_on.wait(20)
            super().delivered(outcome)

    rig = Rig(right, most=4 * SIZE)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(rig.run, sink=Stuck())
        assert stuck.wait(5)
        control = RunControl()
        second = pool.submit(rig.run, control=control)
        time.sleep(0.1)
        control.request_stop(Interrupted("stop"))
        with pytest.raises(RunStopped):
            second.result(2)
        go_on.set()
        assert first.result(10).done == list(range(400))
    assert rig.left() == 0


class Play:
    """Two jobs that enter, leave, are cancelled and close, and what must hold after each of it."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.room = Room(most)
        self.shares = [Share(self.room), Share(self.room)]
        self.waiting: list[tuple[asyncio.Task[None], Share, int]] = []
        self.inside: list[tuple[Share, int]] = []

    def step(self, what: str, which: int, size: int) -> None:
        share = self.shares[which]
        if what == "enter":
            self.waiting.append((asyncio.ensure_future(share.enter(size)), share, size))
        elif what == "cancel" and self.waiting:
            self.waiting.pop(size % len(self.waiting))[0].cancel()
        elif what == "leave" and self.inside:
            owner, taken = self.inside.pop(size % len(self.inside))
            owner.leave(taken)
        elif what == "close":
            share.close()
            self.inside = [entry for entry in self.inside if entry[0] is not share]
            self.shares[which] = Share(self.room)

    async def settle(self) -> None:
        for _ in range(2 * len(self.waiting) + 4):
            await asyncio.sleep(0)
        for entry in [entry for entry in self.waiting if entry[0].done()]:
            self.waiting.remove(entry)
            if entry[1] in self.shares:
                self.inside.append(entry[1:])

    def check(self) -> None:
        assert self.room.taken == sum(taken for _, taken in self.inside)
        assert self.room.taken <= self.most or len([taken for _, taken in self.inside if taken]) == 1
        if self.waiting:
            assert self.room.taken > 0, "nobody waits beside an empty room"
            assert self.room.taken + self.waiting[0][2] > self.most

    async def end(self) -> None:
        for task, _, _ in self.waiting:
            task.cancel()
        for share in self.shares:
            share.close()
        await self.settle()
        assert self.room.taken == 0


@settings(max_examples=150, deadline=None)
@given(
    most=st.integers(1, 30),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["enter", "enter", "cancel", "leave", "close"]), st.integers(0, 1), st.integers(0, 40)
        ),
        max_size=40,
    ),
)
def test_whatever_enters_leaves_and_is_cancelled_room_is_bounded_and_nobody_waits_beside_it(
    most: int, steps: list[tuple[str, int, int]]
) -> None:
    async def play() -> None:
        jobs = Play(most)
        for step in steps:
            jobs.step(*step)
            await jobs.settle()
            jobs.check()
        await jobs.end()

    asyncio.run(play())
