"""Run an open session as a Prefect flow run, from a pending run to its end state.

The engine of Prefect runs in a thread of its own, and the main thread watches. So Ctrl-C never lands in the middle of
Prefect, its SIGTERM handler (which works in the main thread only) is not put in place, and an API that died cannot
hold the process.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Failed

from penstock.errors import Interrupted, RunStopped
from penstock.flow.artifacts import show_end, showing_progress
from penstock.flow.compile import StaysHere, build_flow
from penstock.flow.connection import Connection
from penstock.flow.contract import RunSession
from penstock.flow.draining import abandon, drain
from penstock.flow.embedded import revive
from penstock.flow.ending import EndState, end_state
from penstock.flow.flow_runs import create_flow_run, mark_crashed, set_state, wait_until_recorded
from penstock.flow.rest import ServerUnavailable
from penstock.flow.runners import check_reach
from penstock.flow.secret_blocks import offer_blocks
from penstock.flow.server_folder import ServerFolder
from penstock.flow.shared_limits import check_shared
from penstock.flow.stopping import StopWatch, watching
from penstock.flow.walk import walk
from penstock.runs.record import RunRecord
from penstock.secrets import redact

_TICK = 0.1
# From the wish to stop to the last task's end; the command promises to end within five seconds.
STOP_GRACE = 4.0
# Where word of it goes through files of a shared folder first.
STOP_GRACE_ELSEWHERE = 8.0
# For Prefect to write the end state after the body has ended, while its API does not answer.
_LOST_API = 15.0
# For an API that died before the body began; an embedded one is started again meanwhile.
_LOST_START = 40.0
_MOST_REVIVALS = 5
_SEND = 15.0
_RECORD = 60.0

Leave = Callable[[str], NoReturn]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        state: of the flow run.
        message: of that state: one sentence, as shown in Prefect.
        record: the closed run record.
        flow_run_id: Prefect's id.
        flow_run_url: its page in Prefect's UI, or empty when there is no UI.
        stopped: why the run ended early; None when it did not.
        warning: what went wrong with Prefect's own record of the run, or empty; the run itself is not concerned.
    """

    state: Literal["Completed", "Failed", "Cancelled"]
    message: str
    record: RunRecord | None
    flow_run_id: str
    flow_run_url: str
    stopped: RunStopped | None = None
    warning: str = ""


def execute(
    session: RunSession,
    connection: Connection,
    *,
    on_tick: Callable[[], None] = lambda: None,
    leave: Leave | None = None,
) -> Outcome:
    """Run an open session under Prefect and see it through.

    Args:
        session: the run; its plan is walked, and `finish` is called whether or not it ends early.
        connection: the Prefect API that answers.
        on_tick: called ten times a second in the calling thread, for progress.
        leave: ends the process at once; called with one sentence when tasks do not stop in time, or on a second
            Ctrl-C. None waits for them.

    Raises:
        ServerUnavailable: Prefect's API refuses the run or dies before it begins.
        InputError: a Secret block that the pipeline names is not there.
        Exception: what a defect of ours or of the user's code raised in a task.
    """
    check_reach(session.loaded.spec.runner, connection)
    check_shared(session.loaded.spec, connection)
    offer_blocks(session.loaded.spec.key_blocks)
    execution = _Execution(session, connection)
    execution.announce()
    thread = _FlowThread(execution)
    if leave is not None:
        # Prefect's log handler writes to standard error when its API is away, in the middle of the progress display.
        logging.raiseExceptions = False
    revive_server = execution.revive if connection.kind == "embedded" else None
    with watching(session.control, connection.api, execution.flow_run_id, revive=revive_server) as watch:
        thread.start()
        try:
            _see_through(execution, thread, watch, on_tick, leave)
        except BaseException:
            if session.control.stopped is None:
                # Whoever called goes its own way: no task may go on paying behind its back, without lock and record.
                session.control.request_stop(Interrupted("the run was left before its end"))
                thread.join(execution.stop_grace)
            raise
    return _outcome(execution, thread)


def leave_at_once(message: str) -> NoReturn:
    """End the process as it stands, as a second Ctrl-C does: journals are whole, and the next run goes on from them."""
    sys.stdout.flush()
    # A progress display that is not ended leaves the cursor hidden.
    sys.stderr.write("\x1b[?25h" if sys.stderr.isatty() else "")
    sys.stderr.write(f"penstock: {redact(message)}\n")
    sys.stderr.flush()
    os._exit(130)


class _Execution:
    """One flow run: the flow, its parameters, and how its body ended."""

    def __init__(self, session: RunSession, connection: Connection) -> None:
        self.session = session
        self.connection = connection
        self.flow_run_id = ""
        self.flow_run_url = ""
        self.ended: EndState | None = None
        self.defect: BaseException | None = None
        self.is_given_up = False
        self.has_begun = threading.Event()
        self.has_walked = threading.Event()
        self._created: dict[str, Any] = {}
        self.revivals = 0

    @property
    def stop_grace(self) -> float:
        """Seconds from the wish to stop to the last task's end."""
        return STOP_GRACE_ELSEWHERE if self.session.processes else STOP_GRACE

    def announce(self) -> None:
        """Make the flow run in Prefect and write its id into the run record."""
        session, spec = self.session, self.session.loaded.spec
        self._created = create_flow_run(
            self.connection.api,
            spec.name,
            name=session.run_id,
            parameters=self._parameters(),
            tags=spec.tags,
            labels={"penstock.run": session.run_id, "penstock.pipeline": str(session.plan.file)},
        )
        self.flow_run_id = str(self._created["id"])
        if self.connection.ui_url:
            self.flow_run_url = f"{self.connection.ui_url}/runs/flow-run/{self.flow_run_id}"
        session.note_flow_run(self.flow_run_id, self.flow_run_url)
        for record in session.crashed:
            if record.flow_run_id:
                mark_crashed(self.connection.api, record.flow_run_id)

    def run(self) -> State[Any]:
        """Let Prefect's engine run the flow; its state at the end."""
        with self._settings():
            state = run_flow(
                self._flow(),
                flow_run=FlowRun.model_validate(self._created),
                parameters=self._parameters(),
                return_type="state",
            )
        if not isinstance(state, State):
            raise TypeError(f"Prefect returned {type(state).__name__} for a state")
        return state

    def revive(self) -> None:
        """Start the embedded server again if its process is gone; a few times, since something must be killing it."""
        if self.revivals < _MOST_REVIVALS:
            with contextlib.suppress(ServerUnavailable):
                self.revivals += revive(self.connection.url)

    def _flow(self) -> Flow[..., Any]:
        return build_flow(
            self.session.loaded,
            StaysHere(self._body),
            workers=self.session.processes or self.session.workers,
            flow_run_name=self.session.run_id.replace("{", "(").replace("}", ")"),
        )

    def _parameters(self) -> dict[str, Any]:
        return dict(self.session.loaded.param_values)

    def _body(self, _values: Mapping[str, Any]) -> State[Any]:
        if self.is_given_up:
            return Failed(message="the Prefect API came back too late")
        self.has_begun.set()
        try:
            with self._progress():
                self.defect = walk(self.session)
        finally:
            self.has_walked.set()
        self.ended = end_state(self.session, self.defect)
        if self._is_shown and self.ended.record is not None:
            show_end(self.connection.api, self.flow_run_id, self.ended.record)
        return self.ended.for_prefect()

    @property
    def _is_shown(self) -> bool:
        """Whether somebody can look at the run in Prefect's UI: an embedded server has none."""
        return self.connection.kind == "configured"

    def _progress(self) -> contextlib.AbstractContextManager[None]:
        if not self._is_shown:
            return contextlib.nullcontext()
        return showing_progress(self.connection.api, self.flow_run_id, self.session.plan, self.session.control)

    def _settings(self) -> contextlib.AbstractContextManager[Any]:
        """Prefect's settings for this run.

        They froze at its import; where that was before the address was known, it is put right here. Heartbeats are for
        automations, which an embedded server does not run, and their thread takes up to a second to end.
        """
        updates: dict[Any, Any] = {}
        if PREFECT_API_URL.value() != self.connection.url:
            updates[PREFECT_API_URL] = self.connection.url
        if self.connection.kind == "embedded":
            updates[PREFECT_FLOWS_HEARTBEAT_FREQUENCY] = None
        return temporary_settings(updates) if updates else contextlib.nullcontext()


class _FlowThread(threading.Thread):
    """Prefect's engine at work; `error` is what came out of it, `state` its end state."""

    def __init__(self, execution: _Execution) -> None:
        super().__init__(name="flow", daemon=True)
        self._execution = execution
        self._context = contextvars.copy_context()
        self.state: State[Any] | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Run the flow within the context of the calling thread."""
        try:
            self.state = self._context.run(self._execution.run)
        except BaseException as error:  # noqa: BLE001  # carried over to the thread that waits for it
            self.error = error


def _see_through(
    execution: _Execution, thread: _FlowThread, watch: StopWatch, on_tick: Callable[[], None], leave: Leave | None
) -> None:
    """Wait for the flow's thread, but not longer than the user's patience or a dead API allow."""
    control = execution.session.control
    interrupted = walked = 0.0
    while thread.is_alive():
        thread.join(_TICK)
        on_tick()
        now = time.monotonic()
        if execution.has_walked.is_set():
            walked = walked or now
            if execution.ended and watch.unanswered_since and (watch.signals or now - walked > _LOST_API):
                return
        elif watch.unanswered_since and not execution.has_begun.is_set() and now - watch.unanswered_since > _LOST_START:
            return
        elif leave and isinstance(control.stopped, Interrupted):
            interrupted = interrupted or now
            if now - interrupted > execution.stop_grace or len(watch.signals) > 1:
                _leave(execution, leave)


def _leave(execution: _Execution, leave: Leave) -> NoReturn:
    message = f"{execution.session.control.stopped}; its tasks did not end in time, so it was ended as it stood"
    with contextlib.suppress(ServerUnavailable):
        set_state(execution.connection.api, execution.flow_run_id, "CANCELLED", message, timeout=1.0)
    # Stopped as it is, it publishes nothing: this only closes the record.
    execution.session.finish()
    leave(f"{message}. What was answered is kept: penstock resume goes on from here")


def _outcome(execution: _Execution, thread: _FlowThread) -> Outcome:
    warning = ""
    if execution.ended is None or thread.is_alive() or thread.error is not None:
        warning = _raise_or_warn(execution, thread)
    elif not _flush(execution):
        warning = "Prefect's server has not recorded every task of this run; the run itself is not concerned"
    elif execution.revivals:
        warning = "the local Prefect server died and was started again, so its record of this run may have gaps"
    if execution.defect is not None:
        raise execution.defect
    ended = execution.ended
    if ended is None:
        # Only without an exception of its own: a state that Prefect gave it before the body began.
        raise ServerUnavailable("the flow ended without running: Prefect gave it the state " + str(thread.state))
    return Outcome(
        ended.state,
        ended.message,
        ended.record,
        execution.flow_run_id,
        execution.flow_run_url,
        ended.stopped,
        warning,
    )


def _raise_or_warn(execution: _Execution, thread: _FlowThread) -> str:
    """What went wrong around the body is a warning once the body has ended, and else raised."""
    if execution.defect is not None:
        raise execution.defect
    if execution.ended is None:
        if thread.error is not None:
            raise ServerUnavailable(
                redact(
                    f"Prefect could not begin the flow, nothing was sent: {type(thread.error).__name__}: {thread.error}"
                )
            ) from thread.error
        if thread.state is not None:
            thread.state.result(raise_on_failure=True)
        if thread.is_alive():
            execution.is_given_up = True
            abandon()
            raise ServerUnavailable(
                f"the Prefect API at {execution.connection.url} died before the run began, so nothing was sent"
            )
        return ""
    abandon()
    return (
        f"the Prefect API at {execution.connection.url} stopped answering, so its record of this run is incomplete; "
        "the run itself is complete. Look after that server and start it again before the next run"
    )


def _flush(execution: _Execution) -> bool:
    """Send what Prefect still holds, and let a server that ends with this process take it in."""
    is_sent = drain(_SEND)
    if execution.connection.kind == "embedded" and ServerFolder.of_user().idle == 0:
        return is_sent and wait_until_recorded(execution.connection.api, execution.flow_run_id, _RECORD)
    return is_sent
