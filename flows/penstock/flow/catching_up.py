"""Scheduled times that were missed: one run makes up for all of them, or they are left out, or each is run.

Prefect makes the runs of a schedule's next times ahead (three of them, and those of the next hour). While no worker is
there, or the server is down, they become late, and the next worker would start all of them, one after the other. A
pipeline reads its source as it stands, so by `catch_up: once` the first run that begins takes over the times of all
others that have come, and marks their runs as done by it: a week of missed quarters of an hour costs one start.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.flow.flow_runs import set_state
from penstock.flow.rest import Api, call
from penstock.spec.schedule import ScheduleSettings

SKIPPED = "Skipped"
"""Name of the state, a completed one, of a run whose work another one does, or nobody."""
GRACE = timedelta(minutes=15)
"""A run that begins so long after its time was missed; one of a denser schedule is when the next one is due."""
_LEAST_GRACE = timedelta(minutes=1)
_STARTING = timedelta(minutes=10)
"""A run that was handed to a process so long ago and did not begin lost that process: nobody else notices."""
_PAGE = 200


def settle_missed(
    api: Api, flow_run_id: str, schedule: ScheduleSettings | None, now: datetime | None = None
) -> str | None:
    """Settle what becomes of the scheduled runs whose time has passed, this one included.

    Runs that somebody started by hand, or started again, do their work and leave the others alone.

    Returns:
        Why this flow run is not to do its work, as a sentence; None when it is.

    Raises:
        ServerUnavailable: Prefect's API does not answer.
    """
    if schedule is None or schedule.catch_up == "each":
        return None
    run = call(api, "GET", f"/flow_runs/{flow_run_id}", timeout=10, patience=30).body
    if not run["auto_scheduled"] or run["run_count"] > 1 or not run["deployment_id"]:
        return None
    now = now or datetime.now(UTC)
    for other in _waiting(api, run["deployment_id"], now):
        if other["id"] == run["id"] or not other["auto_scheduled"] or other["run_count"] or _may_begin(other, now):
            continue
        if schedule.catch_up == "once":
            reason: str | None = f"its time had passed: the run {run['name']!r} makes up for it (catch_up: once)"
        else:
            reason = _too_late(schedule, other, now)
        if reason:
            set_state(api, other["id"], "COMPLETED", reason, name=SKIPPED, timeout=10)
    return _too_late(schedule, run, now) if schedule.catch_up == "never" else None


def _waiting(api: Api, deployment_id: str, now: datetime) -> list[dict[str, Any]]:
    """The runs of a deployment whose time has come, and that have not begun: late, waiting for their turn, or lost."""
    wanted = {
        "flow_runs": {
            "deployment_id": {"any_": [deployment_id]},
            "expected_start_time": {"before_": now.isoformat()},
            "state": {"type": {"any_": ["SCHEDULED", "PENDING"]}},
        },
        "sort": "EXPECTED_START_TIME_ASC",
        "limit": _PAGE,
    }
    found: list[dict[str, Any]] = []
    while True:
        asked = {**wanted, "offset": len(found)}
        page = call(api, "POST", "/flow_runs/filter", asked, timeout=10, patience=30).body
        found += page
        if len(page) < _PAGE:
            return found


def _may_begin(run: dict[str, Any], now: datetime) -> bool:
    """Whether a process is just starting for the run."""
    since = datetime.fromisoformat(run["state"]["timestamp"])
    return run["state_type"] == "PENDING" and now - since < _STARTING


def _too_late(schedule: ScheduleSettings, run: dict[str, Any], now: datetime) -> str | None:
    due = datetime.fromisoformat(run["expected_start_time"])
    grace = max(_LEAST_GRACE, min(GRACE, next(schedule.times(due)) - due))
    if now - due <= grace:
        return None
    return f"its time, {due:%Y-%m-%d %H:%M:%S %Z}, had passed by too long, and it is left out (catch_up: never)"
