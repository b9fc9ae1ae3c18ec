"""Prefect's task runners for the key `runner`, and what each of their worker processes needs before its first task."""

from __future__ import annotations

import logging
import multiprocessing
import os
import socket
import threading
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from multiprocessing.context import SpawnContext
from multiprocessing.queues import Queue
from typing import Any, Self
from urllib.parse import urlsplit

from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from penstock.errors import InputError
from penstock.flow.connection import Connection
from penstock.spec.runner_key import RunnerSettings

_MOST_RENEWALS = 3


def task_runner(settings: RunnerSettings, workers: int | None = None, *, threads: int) -> TaskRunner[Any]:
    """The task runner that the pipeline asks for.

    Args:
        workers: worker processes, as chosen on the command line.
        threads: where the work is done in threads.
    """
    processes = settings.processes(workers)
    if settings.missing_extra:
        # A pipeline may be deployed where it never runs; where it does, reading it has refused by then.
        return ThreadPoolTaskRunner(max_workers=threads)
    if settings.kind == "processes":
        return RenewablePool(max_workers=processes, initializer=end_with_parent)
    if settings.kind == "threads":
        return ThreadPoolTaskRunner(max_workers=threads)
    runner: TaskRunner[Any] = (_dask if settings.kind == "dask" else _ray)(settings, processes)
    return runner


def _dask(settings: RunnerSettings, processes: int) -> Any:
    from prefect_dask.task_runners import DaskTaskRunner

    if settings.address:
        return DaskTaskRunner(address=settings.address)
    # Its warnings at the end of each worker would stand in the middle of the account.
    quiet = {"n_workers": processes, "threads_per_worker": settings.partitions, "silence_logs": "CRITICAL"}
    return DaskTaskRunner(cluster_kwargs={**quiet, "dashboard_address": None})


def _ray(settings: RunnerSettings, processes: int) -> Any:
    from prefect_ray.task_runners import RayTaskRunner

    # Ray's own notes would stand in the middle of the progress display.
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if settings.address:
        return RayTaskRunner(address=settings.address, init_kwargs=quiet)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Without an address Ray takes any cluster that it finds on this machine, or in its environment.
    return RayTaskRunner(address="local", init_kwargs={**quiet, "num_cpus": processes, "include_dashboard": False})


class RenewablePool(ProcessPoolTaskRunner):
    """Prefect's process pool, which can go on after one of its processes was killed: that ends a pool for good."""

    renewals = 0

    def __enter__(self) -> Self:
        super().__enter__()
        _never_wait_for(self._subprocess_message_queue)
        return self

    def renew(self) -> bool:
        """Put a new pool in the place of a broken one; whether tasks can be submitted now."""
        broken = self._executor
        # Private, and the only way to know without a task of one's own; a pool without it counts as broken.
        if broken is not None and not getattr(broken, "_broken", True):
            return True
        if broken is None or self.renewals == _MOST_RENEWALS:
            return False
        self.renewals += 1
        context = multiprocessing.get_context("spawn")
        dead, messages = self._subprocess_message_queue, self._renew_messages(context)
        initargs: Any = tuple(messages if one is dead else one for one in broken._initargs)
        self._executor = ProcessPoolExecutor(
            max_workers=self._max_workers,
            mp_context=context,
            initializer=broken._initializer,
            initargs=initargs,
        )
        broken.shutdown(wait=False, cancel_futures=True)
        return True

    def _renew_messages(self, context: SpawnContext) -> Queue[object]:
        """A new queue for the log of the new processes: the killed one may have died with the lock of the old one."""
        messages = context.Queue()
        _never_wait_for(messages)
        self._subprocess_message_queue = messages
        self._message_forwarding_thread = threading.Thread(
            target=self._forward_subprocess_messages, name="penstock-pool-messages", daemon=True
        )
        self._message_forwarding_thread.start()
        return messages


def _never_wait_for(messages: Queue[object] | None) -> None:
    """Let this process end without the lock of a queue, which a process that was killed can hold for ever."""
    if messages is not None:
        messages.cancel_join_thread()


def mend(error: BaseException) -> bool:
    """See to it that a task of the current flow can be submitted again after `error`; False when that would not help.

    Clusters see to it themselves: they give the task of a worker that died to another one.
    """
    if not isinstance(error, BrokenExecutor):
        return False
    context = FlowRunContext.get()
    runner = context.task_runner if context is not None else None
    return isinstance(runner, RenewablePool) and runner.renew()


def given_up(future: PrefectFuture[Any]) -> str:
    """Why Dask gave a task up, of which Prefect's future says nothing; empty where it did not."""
    task = getattr(future, "wrapped_future", None)
    status = getattr(task, "status", None)
    if task is None or status not in {"error", "cancelled", "lost"}:
        return ""
    # What it goes on to say is where to read about it.
    return str(task.exception()).partition(". ")[0] if status == "error" else f"Dask: {status}"


def end_with_parent() -> None:
    """Let a process of the pool end as soon as the one that made it is gone: it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def check_reach(settings: RunnerSettings, connection: Connection) -> None:
    """Make sure that workers elsewhere can reach the Prefect API.

    Raises:
        InputError: they cannot: it is the server that this machine keeps for itself.
    """
    host = urlsplit(settings.address or "").hostname
    if connection.kind == "embedded" and host is not None and not _is_here(host):
        raise InputError(
            f"the workers of {settings.address} cannot reach the Prefect server that Penstock starts on this machine: "
            "start one that they reach (prefect server start --host 0.0.0.0) and name it here and for them: "
            "export PREFECT_API_URL=http://HOST:4200/api"
        )


def _is_here(host: str) -> bool:
    """Whether an address is one of this machine's own."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True
