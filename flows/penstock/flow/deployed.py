"""A flow run that Prefect started, from a schedule, a form or a worker: nobody has opened a session for it yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import runtime
from prefect.client.schemas.objects import State

from penstock.errors import InputError
from penstock.execute.session import Request, open_session
from penstock.flow.configured import configured_api
from penstock.flow.connection import ui_url
from penstock.flow.ending import end_state
from penstock.flow.flow_runs import mark_crashed
from penstock.flow.stopping import watching
from penstock.flow.walk import walk


def run_deployed(
    pipeline: Path, params: dict[str, str], provider: str | None = None, limit: int | None = None
) -> State[Any]:
    """Plan the pipeline and walk the plan inside the current flow run; the state it ends in.

    Raises:
        SpecError: the file has mistakes.
        InputError: the key is missing, or no Prefect API is known.
        RunLocked: another run of the pipeline is going on.
        Exception: what a defect of ours or of the user's code raised in a task.
    """
    configured = configured_api()
    if configured is None:
        raise InputError(
            "this flow run has no PREFECT_API_URL in its environment, and Prefect's own temporary server cannot run "
            "pipelines; use: penstock run FILE"
        )
    flow_run_id = str(runtime.flow_run.id)
    with open_session(Request(pipeline, params, provider, limit)) as session:
        session.note_flow_run(flow_run_id, f"{ui_url(configured.api.url)}/runs/flow-run/{flow_run_id}")
        for record in session.crashed:
            if record.flow_run_id:
                mark_crashed(configured.api, record.flow_run_id)
        with watching(session.control, configured.api, flow_run_id):
            # The flow's task runner was made before it was known how many workers the run has.
            defect = walk(session, window=session.workers)
            ended = end_state(session, defect)
        if defect is not None:
            raise defect
    return ended.for_prefect()
