"""A run from its lock to its record: opened, walked by whoever runs tasks, and finished or left to be resumed."""

from __future__ import annotations

import os
import platform
import threading
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from penstock.engine.control import RunControl, control_of, release
from penstock.engine.prices import table_version
from penstock.errors import InputError, Interrupted, RunStopped
from penstock.execute.baseline import Left, last_complete, left_at, needed_runs, remove, unneeded
from penstock.execute.changes import with_changes
from penstock.execute.conducting import Conductor
from penstock.execute.delivering import deliver, servers_of
from penstock.execute.disk import storage_errors
from penstock.execute.publish import Published, publish
from penstock.execute.request import Request, load_request, plan_request, planned
from penstock.execute.setup import control_for
from penstock.execute.working import workers_folder
from penstock.plan.model import Plan, read_plan
from penstock.runs.history import mark_crashed, untold_crashes
from penstock.runs.record import ERRORS, PLAN, ROWS, RowChanges, RunRecord, RunStatus, RunUsage, new_run_id, read_record
from penstock.secrets import MASK, redact
from penstock.spec import Loaded, Spec
from penstock.spec.provider import SANDBOX_KEY, SandboxSettings
from penstock.tables.state import State
from penstock.version import __version__

_SAVE_SECONDS = 2.0
_ROOM = ".room"
_ROOM_BYTES = 65_536
"""Kept free for the end of the record, so that it can be written when the disk is full."""
__all__ = ["Request", "Session", "load_request", "open_session", "plan_request"]


class Session:
    """One run. A context manager: leaving it without `finish` records why, and frees the lock and the sandbox.

    Attributes:
        plan_file: all that a worker elsewhere needs.
        workers: partitions in work at a time.
        processes: worker processes; 0 where this process does the work.
        crashed: runs of before whose process is gone, and of which Prefect does not know it yet.
        left: of an incremental pipeline and for each output, the runs whose rows may stand in it.
    """

    def __init__(self, request: Request, loaded: Loaded) -> None:
        self.request = request
        self.loaded = loaded
        self.spec: Spec = loaded.spec
        runner = self.spec.runner
        self.workers = runner.in_work(request.workers)
        self.processes = runner.processes(request.workers)
        self.state = State.of(request.file, loaded.spec.name, request.state)
        self.run_id = new_run_id()
        self.folder = self.state.run_folder(self.run_id)
        self.plan_file = self.folder / PLAN
        self.crashed: list[RunRecord] = []
        self.left: list[list[Left]] = []
        self._closing = ExitStack()
        self._finished = False
        self._conductor: Conductor | None = None
        self._untold: list[tuple[Path, RunRecord]] = []
        self._servers: dict[str, dict[str, Any]] = {}
        self._record_lock = threading.Lock()
        self._saving_ends = threading.Event()
        self._saver = threading.Thread(target=self._save_now_and_then, name="penstock-record", daemon=True)

    def __enter__(self) -> Self:
        """Take the lock, make the plan, start the sandbox where one is needed, write plan and record.

        Raises:
            RunLocked: another run of this pipeline is going on.
            InputError, StorageFailed: see `penstock.plan.make.make_plan`.
        """
        with ExitStack() as opening, storage_errors():
            opening.callback(self.state.lock().release)
            marked = mark_crashed(self.state)
            self._untold = untold_crashes(self.state)
            told = {record.run_id for _, record in self._untold}
            self.crashed = [*(one for one in marked if one.run_id not in told), *(one for _, one in self._untold)]
            plan = self._make_plan()
            self._check_same_rows(plan)
            self._servers = servers_of(self.spec, self.state)
            urls = self._start_sandbox(opening) if plan.tasks or self.spec.deliveries else {}
            self.plan = msgspec.structs.replace(plan, run_id=self.run_id, base_urls=urls, processes=self.processes)
            self.folder.mkdir(parents=True, exist_ok=True)
            self.plan.write(self.plan_file)
            self.control: RunControl = control_of(self.run_id, lambda: control_for(self.spec))
            opening.callback(release, self.run_id)
            if self.processes:
                self._conductor = Conductor(
                    workers_folder(self.plan_file), self.control, self.spec.budget, self.processes
                )
                opening.callback(self._conductor.end)
                self._conductor.start()
            self.record = self._new_record()
            if self.request.fresh:
                # Only now that nothing can refuse the run: from here on no answer of before is used.
                self.state.begin_anew(self.run_id, self.plan.rehearsal)
            self.record.save(self.folder)
            (self.folder / _ROOM).write_bytes(bytes(_ROOM_BYTES))
            opening.callback(self._stop_saving)
            self._saver.start()
            self._closing = opening.pop_all()
        return self

    def _make_plan(self) -> Plan:
        plan = planned(self.request, self.loaded, self.state, anew=self.run_id)
        if self.spec.incremental_settings is None or plan.rehearsal:
            return plan
        self.left = left_at(self.state, plan.targets)
        before = last_complete(self.state, plan.targets)
        return with_changes(plan, self.loaded, self.state, before, self.folder / ROWS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self._finished:
                if self._conductor is not None:
                    self._conductor.end()
                self._leave(error)
        finally:
            self._closing.close()

    def note_flow_run(self, flow_run_id: str, url: str) -> None:
        """Write down which flow run of Prefect this run is."""
        with self._record_lock:
            self.record.flow_run_id = flow_run_id
            self.record.flow_run_url = url or None
            self.record.save(self.folder)
        for folder, crashed in self._untold:
            # Whoever knows Prefect's id of this run has told Prefect of those that crashed.
            crashed.crash_told = True
            crashed.save(folder)

    def finish(self) -> RunRecord:
        """Publish, prove the account of rows, and close the record. To be called when no task goes on any more.

        A run that was stopped publishes nothing; its record says why, and so does one whose output cannot be written.

        Raises:
            AccountError: the rows do not add up; nothing was published.
        """
        if self._conductor is not None:
            self._conductor.end()
        try:
            self.control.check()
            with storage_errors():
                done: Published = publish(
                    self.plan,
                    self.spec,
                    self.state,
                    self.folder,
                    batch=self.record.batch,
                    nothing_answered=self._nothing_answered(),
                    left=self.left,
                    starting=self._note_publishing,
                )
        except RunStopped as stop:
            self.control.request_stop(stop)
            if (self.folder / ERRORS).exists():
                self.record.errors_path = str(self.folder / ERRORS)
            self._leave(stop)
            return self.record
        self.record.account = done.account
        self.record.outputs = done.outputs
        self.record.errors_path = str(done.errors) if done.errors else None
        self.record.merged_path = str(done.merged) if done.merged else None
        self.record.carried_rows = done.carried_rows
        self.record.notes += done.notes
        self._deliver()
        return self.record

    def _note_publishing(self) -> None:
        """So that the next run knows that these rows may stand in the outputs, if this process dies before it can tell.

        Raises:
            OSError: it cannot be written down; nothing was published.
        """
        with self._record_lock:
            self.record.publishing_at = datetime.now(UTC)
            self.record.save(self.folder)

    def _deliver(self) -> None:
        """Bring outputs where they are to go, and close the record by how that ended; what is published stands."""
        self._save_usage()
        assert self.record.account is not None  # noqa: S101  # it was closed by the only caller
        try:
            failures = deliver(self.plan, self.spec, self.control, self.record, self._servers)
        except RunStopped as stop:
            self.control.request_stop(stop)
            self._leave(stop)
            return
        self.record.message = redact(" ".join(f"{failure.rstrip('.')}." for failure in failures))
        failed = self.record.account.failed or failures
        self._close(RunStatus.COMPLETED_WITH_ERRORS if failed else RunStatus.COMPLETED)
        self._remove_old_answers()

    def _remove_old_answers(self) -> None:
        """What no run needs any more, after a complete run of an incremental pipeline."""
        settings = self.spec.incremental_settings
        if settings is None or self.plan.rehearsal:
            return
        # It is complete whether or not there is room again; `penstock clean` tells what stands in the way.
        with suppress(OSError):
            remove(self.state, unneeded(self.state, needed_runs(self.state, settings.keep_runs)))

    def _nothing_answered(self) -> bool:
        meter = self.control.snapshot()
        return meter["requests"] > 0 and not any(result.startswith("2") for result in meter["results"])

    def _leave(self, error: BaseException | None) -> None:
        # A defect is told as what it is, also when the stop that it caused came first.
        defect = error is not None and not isinstance(error, RunStopped)
        reason = error if defect else self.control.stopped or error
        if isinstance(reason, RunStopped):
            status = RunStatus.INTERRUPTED if isinstance(reason, Interrupted) else RunStatus.STOPPED
            self.record.reason = reason.reason
        elif isinstance(reason, KeyboardInterrupt):
            status, self.record.reason = RunStatus.INTERRUPTED, Interrupted.reason
        else:
            status = RunStatus.FAILED
        self.record.message = redact(str(reason)) if reason is not None else "the run was left before its end"
        self._close(status)

    def _close(self, status: RunStatus) -> None:
        self._stop_saving()
        self.record.status = status
        self.record.notes += self.control.notes
        self.record.ended_at = datetime.now(UTC)
        self._finished = True
        try:
            (self.folder / _ROOM).unlink(missing_ok=True)
            self._save_usage()
        except OSError:
            # A run that ends early must tell why, whatever became of the disk; without an end in its record
            # it counts as crashed, and is resumed like one.
            if status in {RunStatus.COMPLETED, RunStatus.COMPLETED_WITH_ERRORS}:
                raise

    def _save_usage(self) -> None:
        with self._record_lock:
            meter = self.control.snapshot()
            self.record.usage = RunUsage(**{name: meter[name] for name in RunUsage.model_fields})
            self.record.save(self.folder)

    def _save_now_and_then(self) -> None:
        """So that the record of a run that is killed tells what it cost, but for the last seconds."""
        while not self._saving_ends.wait(_SAVE_SECONDS):
            # A full disk stops the run where answers are written; here it only makes the record older.
            with suppress(OSError):
                self._save_usage()

    def _stop_saving(self) -> None:
        self._saving_ends.set()
        if self._saver.is_alive() and self._saver is not threading.current_thread():
            self._saver.join()

    def _check_same_rows(self, plan: Plan) -> None:
        """A retry asks failed rows again and nothing else, so the rows must be those of the run that it retries."""
        if self.request.retries is None:
            return
        before = read_plan(self.state.run_folder(self.request.retries) / PLAN)
        known = {name for partition in before.partitions for name in partition.fingerprints.values()}
        if any(name not in known for partition in plan.partitions for name in partition.fingerprints.values()):
            raise InputError(
                f"the source, the pipeline or the provider changed since run {self.request.retries}, so there is more "
                f"to do than to retry its failed rows; see `penstock plan {self.request.file}`, then `penstock run` it"
            )

    def _new_record(self) -> RunRecord:
        return RunRecord(
            run_id=self.run_id,
            pipeline=self.spec.name,
            file=str(self.request.file.absolute()),
            sha256=self.loaded.sha256,
            started_at=datetime.now(UTC),
            resumes=self.request.resumes,
            batch=self._batch(),
            params=dict(self.request.params),
            provider=self.request.provider,
            limit=self.request.limit,
            rehearsal=self.plan.rehearsal,
            changes=RowChanges.model_validate(self.plan.changes) if self.plan.changes is not None else None,
            fresh=self.request.fresh,
            versions={"penstock": __version__, "python": platform.python_version(), "prices": table_version()},
        )

    def _batch(self) -> str:
        """What names these rows when they are added to others: the first of the runs that this one goes on with."""
        before = self.request.resumes or self.request.retries
        if before is None:
            return self.run_id
        return read_record(self.state.run_folder(before)).batch or before

    def _start_sandbox(self, opening: ExitStack) -> dict[str, str]:
        used = self.spec.used_providers
        urls: dict[str, str] = {}
        for name, provider in used.items():
            if not isinstance(provider, SandboxSettings):
                continue
            from penstock.sandbox.launch import start
            from penstock.sandbox.settings import DEFAULT_KEY

            server = opening.enter_context(
                start(
                    faults=provider.faults,
                    latency=provider.latency,
                    seed=provider.seed or 0,
                    rpm=provider.limits.requests_per_minute,
                    tpm=provider.limits.tokens_per_minute,
                    state=self._servers.get(name, {}).get("state", provider.state),
                )
            )
            os.environ[SANDBOX_KEY] = DEFAULT_KEY
            urls[name] = server.url
        return urls


def open_session(request: Request) -> Session:
    """A session for the request, not yet entered.

    Raises:
        SpecError, InputError: see `load_request`.
    """
    if request.limit is not None and request.limit < 1:
        raise InputError("--limit takes a whole number from 1 on")
    if request.resumes is not None and (masked := [name for name, value in request.params.items() if MASK in value]):
        raise InputError(
            f"the parameter {masked[0]!r} of run {request.resumes} looked like a key, so the record does not hold it; "
            f"go on with: penstock run {request.file} -p {masked[0]}=..."
        )
    loaded = load_request(request)
    return Session(_as_before(request, loaded), loaded)


def _as_before(request: Request, loaded: Loaded) -> Request:
    """A resumed retry asks again what that retry asked, and not every failed row."""
    if request.resumes is None or request.retries is not None or request.retry_causes is not None:
        return request
    state = State.of(request.file, loaded.spec.name, request.state)
    try:
        before = read_plan(state.run_folder(request.resumes) / PLAN)
    except InputError:
        # Of another version of Penstock: then it goes on as any run does.
        return request
    return replace(request, retry_causes=before.retry_causes)
