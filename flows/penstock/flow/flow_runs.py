"""Flow runs by plain HTTP: made before the flow starts, looked at after it, and marked when their process died."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.flow.configured import configured_api
from penstock.flow.embedded import status
from penstock.flow.rest import Api, ServerRefused, ServerUnavailable, call

TERMINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_UNFINISHED = ["SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"]
_MOST_MARKED = 200
_PATIENCE = 30.0


def create_flow_run(
    api: Api, flow: str, *, name: str, parameters: Mapping[str, Any], tags: Sequence[str], labels: Mapping[str, str]
) -> dict[str, Any]:
    """Make a pending flow run, and return it as the API gives it.

    Its id is known before Prefect's engine runs, so that the run record can name it from the start.

    Raises:
        ServerUnavailable: the API does not answer, or refuses.
    """
    flow_id = call(api, "POST", "/flows/", {"name": flow}, timeout=30, patience=_PATIENCE).body["id"]
    wanted = {
        "flow_id": flow_id,
        "name": name,
        "parameters": dict(parameters),
        "tags": list(tags),
        "labels": dict(labels),
        "state": {"type": "PENDING", "name": "Pending"},
    }
    created: dict[str, Any] = call(api, "POST", "/flow_runs/", wanted, timeout=30, patience=_PATIENCE).body
    return created


def set_state(api: Api, flow_run_id: str, kind: str, message: str, *, name: str = "", timeout: float = 5.0) -> None:
    """Put a flow run into the state ``CANCELLED``, ``CRASHED`` or another, whatever it is in; `name` is what it shows.

    Raises:
        ServerUnavailable: the API does not answer, or does not know it.
    """
    _set(api, f"/flow_runs/{flow_run_id}", kind, message, name=name, timeout=timeout)


def _set(api: Api, path: str, kind: str, message: str, *, name: str = "", timeout: float = 5.0) -> None:
    state = {"type": kind, "name": name or kind.capitalize(), "message": message}
    call(api, "POST", f"{path}/set_state", {"state": state, "force": True}, timeout=timeout, patience=timeout)


def wait_until_recorded(api: Api, flow_run_id: str, limit: float, stall: float = 5.0) -> bool:
    """Wait until the server has recorded the end of every task run of a flow run; False when it has not in time.

    The server records task runs from events, about 30 a second and so some time after they ended; one that ends before
    keeps them ``Running`` for ever.

    Args:
        api: which API.
        flow_run_id: which flow run.
        limit: seconds in all.
        stall: seconds without any progress.
    """
    now = time.monotonic()
    deadline, moved, least = now + limit, now, None
    while True:
        try:
            count = call(api, "POST", "/task_runs/count", _unfinished(flow_run_id), timeout=5, patience=stall).body
        except ServerUnavailable:
            return False
        now = time.monotonic()
        if least is None or count < least:
            least, moved = count, now
        if count == 0 or now > deadline or now - moved > stall:
            return bool(count == 0)
        time.sleep(0.1)


def _unfinished(flow_run_id: str) -> dict[str, Any]:
    return {
        "flow_runs": {"id": {"any_": [flow_run_id]}},
        "task_runs": {"state": {"type": {"any_": _UNFINISHED}}},
    }


def mark_crashed(
    api: Api, flow_run_id: str, message: str = "its process died without a word (killed, or out of memory)"
) -> bool:
    """Mark the flow run of a dead process, and its task runs, as crashed: Prefect leaves them running for ever.

    Returns:
        True when the flow run is in an end state now, or is not known to the API at all; False when the API does not
        answer, so that it is to be tried again at another time.
    """
    try:
        found = call(api, "GET", f"/flow_runs/{flow_run_id}", patience=5).body
        if found["state_type"] not in TERMINAL:
            set_state(api, flow_run_id, "CRASHED", message)
        wanted = _unfinished(flow_run_id) | {"limit": _MOST_MARKED}
        for task_run in call(api, "POST", "/task_runs/filter", wanted, patience=5).body:
            _set(api, f"/task_runs/{task_run['id']}", "CRASHED", message)
    except ServerRefused as error:
        return error.status == 404
    except ServerUnavailable:
        return False
    return True


def running_api() -> Api | None:
    """The configured Prefect API, or the embedded server's if it runs; None when there is neither."""
    if configured := configured_api():
        return configured.api
    found = status()
    return Api(found.record.url) if found.state == "running" and found.record else None
