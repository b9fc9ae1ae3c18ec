"""Runs that end early: what is paid for is kept, the reason is clear, and it takes seconds."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Empty
from typing import Any

import pytest
from echo_jobs import Echo, Kept, echo, items, provider_of, run

from penstock.api.provider import Limits, RetryPolicy
from penstock.engine import Job, RunControl, engine
from penstock.engine.outbox import Outbox
from penstock.errors import (
    AccessDenied,
    BudgetSpent,
    InputError,
    Interrupted,
    NoSuccess,
    QuotaExhausted,
    StorageFailed,
    TooManyFailures,
)
from penstock.items import Item, Packing
from raw_http import RawServer, Reply, Seen, error, reply

MANY = [f"t{n}" for n in range(5000)]


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (
            error(401, "invalid_api_key", "Incorrect API key: sk-engine-0123456789"),
            AccessDenied,
            "the key in ENGINE_TEST_KEY",
        ),
        (error(403, None, "Country not supported"), AccessDenied, "Country not supported"),
        (
            error(404, "model_not_found", "no such model"),
            AccessDenied,
            "the model 'text-embedding-3-small' is not there",
        ),
        (reply(404, {"detail": "Not Found"}), AccessDenied, "knows no /echo"),
        (error(429, "insufficient_quota", "You exceeded your quota"), QuotaExhausted, "no quota or money left"),
        (reply(301, b"", {"Location": "https://x/"}), AccessDenied, "redirects to https://x/"),
    ],
)
def test_what_no_item_can_help_stops_the_run_after_one_answer(answer, kind, words):
    with RawServer(lambda _: answer) as server:
        sink, control = Kept(), RunControl()
        with pytest.raises(kind, match=words) as stopped:
            run(server, MANY, sink=sink, control=control, limits=Limits(concurrency=4))
    assert "sk-engine" not in str(stopped.value)
    assert control.stopped is stopped.value
    assert len(server.seen) <= 4
    assert sink.failures == []


def test_a_stop_keeps_what_is_under_way_and_ends_in_time():
    def respond(seen: Seen) -> Reply:
        if seen.number == 7:
            threading.Timer(0.05, control.request_stop, [Interrupted("Ctrl-C")]).start()
        return Reply(echo(seen).data, delay=0.3)

    with RawServer(respond) as server:
        sink, control = Kept(), RunControl()
        began = time.monotonic()
        with pytest.raises(Interrupted, match="Ctrl-C"):
            run(server, MANY, sink=sink, control=control)
    assert time.monotonic() - began < 5
    assert len(server.seen) == 8
    assert len(sink.done) == 8, "all eight that were sent came home"


def test_what_does_not_come_home_in_time_is_left():
    with RawServer(lambda _: Reply(then="hold")) as server:
        sink, control = Kept(), RunControl()
        threading.Timer(0.2, control.request_stop, [Interrupted("Ctrl-C")]).start()
        began = time.monotonic()
        with pytest.raises(Interrupted):
            run(server, MANY, sink=sink, control=control, timeouts=type(provider_of(server).timeouts)(5, 60, 60))
    assert 3 < time.monotonic() - began < 4.2
    assert (sink.done, sink.lost) == ([], [])
    assert control.snapshot()["in_flight"] == 0


def test_items_that_wait_for_a_retry_or_a_pause_stop_at_once():
    for answer in (error(503, headers={"retry-after": "60"}), error(429, headers={"retry-after": "60"})):
        with RawServer(lambda _, answer=answer: answer) as server:
            sink, control = Kept(), RunControl()
            threading.Timer(0.3, control.request_stop, [Interrupted("now")]).start()
            began = time.monotonic()
            with pytest.raises(Interrupted):
                run(server, ["a", "b"], sink=sink, control=control)
            assert time.monotonic() - began < 1
            assert sink.failures == []
            assert control.snapshot()["waiting"] is None or "rate limited" in control.snapshot()["waiting"]


def test_a_stop_reaches_every_job_of_the_run():
    with RawServer(lambda seen: Reply(echo(seen).data, delay=0.05)) as server, ThreadPoolExecutor(4) as pool:
        control = RunControl()
        provider = provider_of(server)
        running = [pool.submit(engine().run, Job(Echo(), items(MANY), Kept(), provider, control)) for _ in range(4)]
        time.sleep(0.3)
        control.request_stop(Interrupted("all of you"))
        for job in running:
            with pytest.raises(Interrupted):
                job.result(5)
        with pytest.raises(Interrupted):
            run(server, ["late"], control=control)


def test_a_budget_is_kept_to_the_token():
    with RawServer(echo) as server:
        sink, control = Kept(), RunControl(budget_tokens=505)
        with pytest.raises(BudgetSpent, match="the budget of 505 tokens is used up: 500 are spent"):
            run(server, MANY, sink=sink, control=control)
    assert len(server.seen) == len(sink.done) == 50


def test_a_budget_in_dollars_is_kept():
    with RawServer(echo) as server:
        sink, control = Kept(), RunControl(budget_usd=100 * 10 * 0.02e-6)
        with pytest.raises(BudgetSpent):
            run(server, MANY, Echo(Packing(8)), sink=sink, control=control)
    assert 90 <= len(sink.done) <= 100


def test_a_budget_in_dollars_is_kept_where_the_server_counts_no_tokens():
    silent = {"model": "text-embedding-3-small"}
    with RawServer(lambda seen: reply(200, {**silent, "data": seen.json["input"]})) as server:
        sink, control = Kept(), RunControl(budget_usd=100 * 10 * 0.02e-6)
        with pytest.raises(BudgetSpent):
            run(server, MANY, Echo(Packing(8)), sink=sink, control=control)
    assert 90 <= len(sink.done) <= 100
    assert control.snapshot()["usd"] is None, "what was really paid is not known"


def test_a_budget_in_dollars_without_a_price_is_refused_before_anything_is_sent():
    with RawServer(echo) as server, pytest.raises(InputError, match="price of the model 'llama3'"):
        run(server, ["a"], Echo(model="llama3"), control=RunControl(budget_usd=5))
    assert server.seen == []


def test_a_missing_key_is_an_error_before_anything_is_sent(monkeypatch):
    monkeypatch.delenv("ENGINE_TEST_KEY")
    with RawServer(echo) as server, pytest.raises(InputError, match="ENGINE_TEST_KEY is not set"):
        run(server, ["a"])
    assert server.seen == []


def test_too_many_failed_rows_stop_the_run():
    class Counting(Kept):
        def failed(self, outcome: Any) -> None:
            super().failed(outcome)
            control.note_rows(0, 1, causes=[outcome.cause])

    control = RunControl(stop_above_min_rows=20)
    with RawServer(lambda _: error(400, "bad", "no good")) as server:
        sink = Counting()
        with pytest.raises(TooManyFailures, match="invalid_request"):
            run(server, MANY, sink=sink, control=control)
    assert 20 <= len(sink.failures) <= 60


@pytest.mark.parametrize("answer", [error(503), error(429, headers={"retry-after": "0.05"})], ids=["503", "429"])
def test_no_success_for_too_long_stops_the_run(answer):
    with RawServer(lambda _: answer) as server:
        sink, control = Kept(), RunControl(stop_after=0.6)
        began = time.monotonic()
        with pytest.raises(NoSuccess, match=r"no request has succeeded.*(503|429): "):
            run(server, MANY, sink=sink, control=control, retry=RetryPolicy(1000, 0.1))
    assert 0.6 < time.monotonic() - began < 2.5
    assert sink.failures == []


def test_a_server_that_was_never_there_stops_the_run():
    with RawServer(echo) as server:
        pass
    sink = Kept()
    with pytest.raises(NoSuccess, match="'mine' cannot be reached, 4 attempts: no connection to"):
        run(server, MANY, sink=sink)
    assert sink.failures == []


class Bug(Exception):
    pass


def raises(*_: object) -> None:
    raise Bug("mine")


def test_a_bug_in_reading_an_answer_stops_the_run_with_its_traceback():
    with RawServer(echo) as server:
        sink = Kept()
        with pytest.raises(Bug, match="mine") as caught:
            run(server, MANY, Echo(on_read=raises), sink=sink)
    assert "raises" in [entry.name for entry in caught.traceback]
    assert (sink.done, sink.lost) == ([], [])
    assert len(server.seen) <= 8


def test_a_bug_in_making_a_request_stops_the_run():
    class Broken(Echo):
        def body(self, payloads: Any) -> bytes:
            raise Bug("no body")

    with RawServer(echo) as server, pytest.raises(Bug, match="no body"):
        run(server, MANY, Broken())


def test_a_bug_in_the_sink_stops_the_run():
    class Broken(Kept):
        def delivered(self, outcome: Any) -> None:
            raise Bug("in the sink")

    with RawServer(echo) as server:
        with pytest.raises(Bug, match="in the sink"):
            run(server, MANY, sink=Broken())
        assert run(server, ["a"]).done == [0], "and the engine goes on"


def test_a_bug_in_the_source_keeps_what_was_answered():
    def source() -> Iterator[Item]:
        yield from items(["a", "b", "c"])
        raise Bug("in the source")

    with RawServer(echo) as server:
        sink = Kept()
        with pytest.raises(Bug, match="in the source"):
            engine().run(Job(Echo(), source(), sink, provider_of(server), RunControl()))
        assert len(sink.done) == len(server.seen)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_or_closed_disk_stops_the_run_in_words(number):
    class Full(Kept):
        def delivered(self, outcome: Any) -> None:
            if len(self.answered) >= 5:
                raise OSError(number, "No room", "/data/journal")
            super().delivered(outcome)

    with RawServer(echo) as server:
        sink = Full()
        with pytest.raises(StorageFailed, match="an answer could not be stored: No room /data/journal"):
            run(server, MANY, sink=sink)
    assert len(sink.done) == 5


def test_other_errors_of_the_system_are_bugs():
    class Odd(Kept):
        def delivered(self, outcome: Any) -> None:
            raise OSError(errno.EBADF, "closed")

    with RawServer(echo) as server, pytest.raises(OSError, match="closed"):
        run(server, MANY, sink=Odd())


def test_the_last_answer_wins_over_a_stop_that_comes_with_it():
    class Stopping(Kept):
        def delivered(self, outcome: Any) -> None:
            super().delivered(outcome)
            if len(self.answered) == 3:
                control.request_stop(Interrupted("late"))

    control = RunControl()
    with RawServer(echo) as server:
        assert run(server, ["a", "b", "c"], sink=Stopping(), control=control).done == [0, 1, 2]


CTRL_C = """
import sys, threading
sys.path[:0] = {tests!r}
from echo_jobs import Echo, Kept, echo, items, provider_of
from raw_http import RawServer, Reply
import os
os.environ["ENGINE_TEST_KEY"] = "x" * 10
from penstock.api.provider import Timeouts
from penstock.engine import Job, RunControl, engine
with RawServer(lambda seen: Reply(echo(seen).data, delay=0.3)) as server:
    class Told(Kept):
        def delivered(self, outcome):
            super().delivered(outcome)
            if len(self.answered) == 1:
                print("ready", flush=True)
    sink = Told()
    try:
        provider = provider_of(server, timeouts=Timeouts(5, 5, 10))
        engine().run(Job(Echo(), items(map(str, range(10**6))), sink, provider, RunControl()))
    except KeyboardInterrupt:
        print("interrupted", len(sink.done) > 0, len(set(sink.done)) == len(server.seen), flush=True)
"""


def test_what_is_in_an_outbox_survives_whoever_was_told_of_it():
    """An exception may come between being told of an outcome and taking it."""
    outbox: Outbox[str] = Outbox()
    outbox.put(["a", "b"])
    assert (outbox.first(), outbox.first(wait=False)) == ("a", "a")
    outbox.taken()
    assert outbox.first() == "b"
    outbox.taken()
    with pytest.raises(Empty):
        outbox.first(wait=False)
    threading.Timer(0.1, outbox.put, [["c"]]).start()
    assert outbox.first() == "c"


@pytest.mark.parametrize("attempt", range(3))
def test_ctrl_c_keeps_what_is_paid_and_leaves_nothing_on_the_screen(request, attempt):
    folder = request.path.parent
    code = CTRL_C.format(tests=[str(folder), str(folder.parent)])
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (out, err) == ("interrupted True True\n", "")
    assert process.returncode == 0
