"""The engine of a process: jobs come from any thread, requests go through one loop, one client and one set of limits.

::

    from penstock.engine import Job, engine
    engine().run(Job(work, items, sink, provider, control))
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from penstock.api.client import ApiClient
from penstock.api.provider import Provider
from penstock.api.wire import Wire
from penstock.api.wires import default_wire
from penstock.engine.attempt import Caller
from penstock.engine.concurrency import cap_of
from penstock.engine.control import RunControl
from penstock.engine.dispatch import Dispatch
from penstock.engine.driver import Driver
from penstock.engine.group import Group, GroupKey, account_of
from penstock.engine.judge import Circumstances
from penstock.engine.pack import Pack
from penstock.engine.packing import packs
from penstock.engine.portal import Portal, portal
from penstock.engine.room import Room
from penstock.items import Item, Sink, Work


@dataclass(frozen=True, slots=True)
class Job:
    """One partition in one API step.

    Attributes:
        items: pulled lazily, in the thread that calls `Engine.run`.
        sink: called in that thread too.
        concurrency: requests of this job in flight at most, below the provider's limit.
        check: called before each request, in the loop's thread, so it must be quick; what it raises ends the job.
    """

    work: Work
    items: Iterable[Item]
    sink: Sink
    provider: Provider
    control: RunControl
    concurrency: int | None = None
    check: Callable[[], object] = lambda: None


class Engine:
    """Runs jobs.

    Args:
        portal: the loop that sends.
        make_wire: how requests are sent; over connections of our own if left out.
    """

    def __init__(self, portal: Portal, make_wire: Callable[[], Wire] = default_wire) -> None:
        self._portal = portal
        self._make_wire = make_wire
        self._lock = threading.Lock()
        self._clients: dict[tuple[object, ...], ApiClient] = {}
        self._groups: dict[GroupKey, Group] = {}
        self._room = Room()
        portal.at_close(self._close)

    def run(self, job: Job) -> None:
        """Block until every item of `job` has its outcome.

        Raises:
            RunStopped: the run stops; what was answered is with the sink, the rest is undone.
            InputError: the key is not set, or a budget in dollars meets an unknown price.
            Exception: what the source, the sink, the step or the job's `check` raised.
        """
        job.control.check()
        job.control.require_price(job.work.model, provider=job.provider.name)
        with self._lock:
            client = self._client(job.provider)
            group = self._group(job.provider, job.work.model)
        dispatch = self._portal.run(_opened(job, client, group, self._room))
        try:
            self._drive(job, group, dispatch)
        finally:
            self._portal.loop.call_soon_threadsafe(group.leave, job.control, job.provider.limits)

    def _drive(self, job: Job, group: Group, dispatch: Dispatch) -> None:
        requests = (Pack.of(items) for items in packs(job.items, job.work.packing, max_tokens=_most_tokens(group)))
        concurrency = group.limiter.concurrency
        most = _most_workers(job)
        driver = Driver(
            dispatch,
            requests,
            sink=job.sink,
            control=job.control,
            width=lambda: min(concurrency.limit, most),
            call=self._portal.loop.call_soon_threadsafe,
        )
        driver.run()

    def _client(self, provider: Provider) -> ApiClient:
        secret = provider.api_key
        key = (
            provider.base_url,
            secret.reveal() if secret else None,
            provider.organization,
            provider.project,
            provider.timeouts,
        )
        if key not in self._clients:
            self._clients[key] = ApiClient(provider, self._make_wire())
        return self._clients[key]

    def _group(self, provider: Provider, model: str) -> Group:
        key = Group.key_of(provider, model)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(provider.limits, account=account_of(provider, model))
        return group

    async def _close(self) -> None:
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.aclose()


async def _opened(job: Job, client: ApiClient, group: Group, room: Room) -> Dispatch:
    caller = Caller(job.work, client, group, job.control, job.provider)
    control = job.control
    group.join(control, job.provider.limits)
    at = Circumstances(
        job.provider, job.work.endpoint, job.work.model, stop_after=control.stop_after, again=control.again
    )
    return Dispatch(
        caller,
        group,
        job.control,
        at,
        most_workers=_most_workers(job),
        room=room,
        answer_bytes=job.work.packing.answer_bytes,
        check=job.check,
    )


def _most_workers(job: Job) -> int:
    limits = job.provider.limits
    cap = cap_of(limits.concurrency, limits.shares)
    return cap if job.concurrency is None else max(1, min(cap, job.concurrency))


def _most_tokens(group: Group) -> int | None:
    return group.limiter.max_request_tokens


_engine: tuple[int, Engine] | None = None
_engine_lock = threading.Lock()


def engine() -> Engine:
    """The engine of this process, made at the first call; a forked child gets its own."""
    global _engine  # noqa: PLW0603  # one engine per process is the point
    with _engine_lock:
        current = portal()
        if _engine is None or _engine[0] != id(current):
            _engine = (id(current), Engine(current))
        return _engine[1]


def _forget() -> None:
    global _engine, _engine_lock  # noqa: PLW0603
    _engine = None
    _engine_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
