"""A flow run that Prefect started, from a schedule, a form or a worker: nobody has opened a session for it yet."""

from __future__ import annotations

import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prefect import runtime
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from penstock.errors import InputError, PenstockError
from penstock.execute.session import Request, Session, open_session
from penstock.flow.artifacts import show_end, showing_progress
from penstock.flow.catching_up import SKIPPED, settle_missed
from penstock.flow.configured import configured_api
from penstock.flow.connection import ui_url
from penstock.flow.ending import EndState, end_state
from penstock.flow.flow_runs import mark_crashed
from penstock.flow.rest import Api
from penstock.flow.secret_blocks import offer_blocks
from penstock.flow.stopping import watching
from penstock.flow.walk import walk
from penstock.memory import give_back_memory
from penstock.secrets import redact


def run_deployed(
    pipeline: Path, params: dict[str, str], provider: str | None = None, limit: int | None = None
) -> State[Any]:
    """Plan the pipeline and walk the plan inside the current flow run; the state it ends in.

    What goes wrong is a state and no exception: Prefect would store its text in five places, and it may hold a key.
    """
    give_back_memory()
    try:
        return _seen_through(_api(), Request(pipeline, params, provider, limit))
    except PenstockError as error:
        return Failed(message=redact(str(error)))
    except Exception as error:  # noqa: BLE001  # not swallowed: it is the run's state, and its traceback the run's log
        get_run_logger().error(redact("".join(traceback.format_exception(error))))
        return Failed(message=redact(f"{type(error).__name__}: {error}"))


def _api() -> Api:
    configured = configured_api()
    if configured is None:
        raise InputError(
            "this flow run has no PREFECT_API_URL in its environment, and Prefect's own temporary server cannot run "
            "pipelines; use: penstock run FILE"
        )
    return configured.api


def _seen_through(api: Api, request: Request) -> State[Any]:
    flow_run_id = str(runtime.flow_run.id)
    # A source may need them already for its columns to be checked.
    offer_blocks()
    session = open_session(request)
    if reason := settle_missed(api, flow_run_id, session.spec.schedule):
        get_run_logger().info(reason)
        return Completed(name=SKIPPED, message=reason)
    offer_blocks(session.spec.key_blocks)
    with ExitStack() as afterwards, session:
        afterwards.callback(_show_end, api, flow_run_id, session)
        session.note_flow_run(flow_run_id, f"{ui_url(api.url)}/runs/flow-run/{flow_run_id}")
        for record in session.crashed:
            if record.flow_run_id:
                mark_crashed(api, record.flow_run_id)
        _announce(session)
        ended, defect = _walked(session, api, flow_run_id)
        if defect is not None:
            raise defect
    return ended.for_prefect()


def _show_end(api: Api, flow_run_id: str, session: Session) -> None:
    if not show_end(api, flow_run_id, session.record):
        get_run_logger().warning(f"Prefect could not take the account of the run; see penstock show {session.run_id}")


def _walked(session: Session, api: Api, flow_run_id: str) -> tuple[EndState, BaseException | None]:
    with (
        watching(session.control, api, flow_run_id),
        showing_progress(api, flow_run_id, session.plan, session.control),
    ):
        # The flow's task runner was made before it was known how many workers the run has.
        defect = walk(session, window=session.workers)
        return end_state(session, defect), defect


def _announce(session: Session) -> None:
    plan = session.plan
    finished = sum(one.finished for one in plan.reuse)
    known = f", {finished} finished before" if finished else ""
    get_run_logger().info(
        redact(f"run {session.run_id} of {plan.file}: {plan.rows:,} rows, {len(plan.tasks)} tasks to run{known}")
    )
