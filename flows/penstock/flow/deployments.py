"""Deployments: what a Prefect server must know to run a pipeline by itself, and telling it.

By plain HTTP, so that it is in our hands what is sent: a file's name, parameters, a schedule, and never a secret. The
server takes the same deployment twice as one (https://docs.prefect.io/v3/api-ref/rest-api).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from penstock.errors import InputError, UsageError
from penstock.flow.connection import ui_url
from penstock.flow.entry import ENTRYPOINT, PULL_STEP
from penstock.flow.rest import Api, ServerRefused, call
from penstock.spec.schedule import ANCHOR, ScheduleSettings

if TYPE_CHECKING:
    from penstock.spec.load import Loaded

DEPLOYED = "deployed"
SERVED = "served"
SLUG = "schedule"
"""Names a deployment's only schedule, so that the server knows it again."""
_PATIENCE = 30.0
_COMPARED = ("version", "description", "entrypoint", "work_pool_name", "parameters", "tags", "pull_steps")


@dataclass(frozen=True, slots=True)
class Wish:
    """How a pipeline is to be deployed.

    Attributes:
        name: of the deployment; its flow has the pipeline's name.
        pool: the work pool; None for a deployment that a process of its own serves.
        params: values for the pipeline's parameters, as on the command line.
        options: `provider` and `limit`, where given.
        is_scheduled: False leaves the file's schedule out.
        paused: None leaves a deployment as it is, and a new one active.
        folder: the pipeline file's folder on the worker's machine, if it is another one there.
        state: the state folder on the worker's machine.
    """

    name: str = DEPLOYED
    pool: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    is_scheduled: bool = True
    paused: bool | None = None
    folder: str | None = None
    state: str | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A deployment as it now is.

    Attributes:
        outcome: what was done to it.
        file: the pipeline file on the worker's machine.
        before: the file that it ran before, if that was another one.
        next_time: the first time of the schedule from now on; None without a schedule or while it is paused.
        page: in Prefect's UI.
    """

    id: str
    flow: str
    name: str
    outcome: Literal["made", "changed", "unchanged"]
    file: str
    before: str | None
    schedule: ScheduleSettings | None
    next_time: datetime | None
    paused: bool
    page: str


def deploy(api: Api, loaded: Loaded, wish: Wish) -> Made:
    """Make the deployment of a pipeline, or change it to what is wished.

    Args:
        api: of a server with a scheduler.
        loaded: see `penstock.flow.compile.read_pipeline`.
        wish: the rest.

    Raises:
        UsageError: a scheduled run would lack a parameter, or a parameter looks like a key.
        ServerUnavailable: the API does not answer, or refuses.
    """
    from penstock.flow.compile import as_json_values

    _check_params(loaded, wish)
    schedule = loaded.spec.schedule if wish.is_scheduled else None
    before = _existing(api, loaded.spec.name, wish.name)
    payload = _payload(loaded, wish, schedule, as_json_values(loaded, wish.params))
    paused = bool(before and before["paused"]) if wish.paused is None else wish.paused
    is_same = before is not None and _is_same(before, payload, paused=paused)
    found = before
    if found is None or not is_same:
        flow_id = call(api, "POST", "/flows/", {"name": loaded.spec.name}, timeout=30, patience=_PATIENCE).body["id"]
        wanted = {**payload, "flow_id": flow_id, "paused": paused}
        found = call(api, "POST", "/deployments/", wanted, timeout=30, patience=_PATIENCE).body
    was = _file_of(before) if before else None
    runs = None if schedule is None or paused else next(schedule.times(datetime.now(UTC)))
    return Made(
        id=found["id"],
        flow=loaded.spec.name,
        name=wish.name,
        outcome="made" if before is None else "unchanged" if is_same else "changed",
        file=_file_of(payload) or "",
        before=was if was != _file_of(payload) else None,
        schedule=schedule,
        next_time=runs,
        paused=paused,
        page=f"{ui_url(api.url)}/deployments/deployment/{found['id']}",
    )


def _check_params(loaded: Loaded, wish: Wish) -> None:
    missing = [name for name, param in loaded.spec.params.items() if param.required and name not in wish.params]
    if missing and loaded.spec.schedule is not None and wish.is_scheduled:
        raise UsageError(
            f"{loaded.file}: the parameter {missing[0]!r} has no default, and a scheduled run can ask nobody: "
            f"give it a value with -p {missing[0]}=…, or deploy with --no-schedule"
        )


def _existing(api: Api, flow: str, name: str) -> dict[str, Any] | None:
    try:
        path = f"/deployments/name/{quote(flow, safe='')}/{quote(name, safe='')}"
        found: dict[str, Any] = call(api, "GET", path, timeout=10, patience=_PATIENCE).body
    except ServerRefused as error:
        if error.status == 404:
            return None
        raise
    return found


def _payload(
    loaded: Loaded, wish: Wish, schedule: ScheduleSettings | None, params: Mapping[str, Any]
) -> dict[str, Any]:
    from penstock.flow.compile import parameter_schema

    spec = loaded.spec
    name = loaded.file.name
    file = str(Path(wish.folder) / name) if wish.folder else str(loaded.file.absolute())
    pool = {} if wish.pool is None else {"work_pool_name": wish.pool, "job_variables": {}}
    return {
        "name": wish.name,
        "version": loaded.sha256[:12],
        "description": spec.description or f"Penstock pipeline {name}",
        "tags": list(spec.tags),
        "entrypoint": ENTRYPOINT,
        "pull_steps": [{PULL_STEP: {"file": file, **({"state": wish.state} if wish.state else {})}}],
        "parameters": {**params, **wish.options},
        "parameter_openapi_schema": parameter_schema(loaded),
        "enforce_parameter_schema": True,
        "schedules": [{"schedule": _for_prefect(schedule), "active": True, "slug": SLUG}] if schedule else [],
        # A run that is still going on when the next one is due holds the pipeline's lock: that one waits.
        "concurrency_limit": 1,
        "concurrency_options": {"collision_strategy": "ENQUEUE"},
        **pool,
    }


def _for_prefect(schedule: ScheduleSettings) -> dict[str, Any]:
    if schedule.every is not None:
        return {"interval": schedule.every, "anchor_date": ANCHOR.isoformat(), "timezone": "UTC"}
    return {"cron": schedule.cron, "timezone": schedule.timezone or "UTC"}


def _is_same(before: Mapping[str, Any], payload: Mapping[str, Any], *, paused: bool) -> bool:
    """Whether telling the server would change nothing: it would throw away and remake the runs that are planned."""
    had = [
        {name: one["schedule"].get(name) for name in ("cron", "interval", "timezone")} | {"active": one["active"]}
        for one in before["schedules"]
    ]
    wants = [
        {name: one["schedule"].get(name) for name in ("cron", "interval", "timezone")} | {"active": one["active"]}
        for one in payload["schedules"]
    ]
    schema = before["parameter_openapi_schema"]["properties"] == payload["parameter_openapi_schema"]["properties"]
    same = all(before.get(name) == payload.get(name) for name in _COMPARED)
    return same and schema and had == wants and bool(before["paused"]) == paused


def _file_of(deployment: Mapping[str, Any]) -> str | None:
    steps = deployment.get("pull_steps") or []
    return next((str(step[PULL_STEP]["file"]) for step in steps if PULL_STEP in step), None)


def ensure_pool(api: Api, name: str, *, may_create: bool = True) -> tuple[str, bool, bool]:
    """Find a work pool, or make a process pool of that name.

    Returns:
        Its type, whether it was made now, and whether a worker is there for it.

    Raises:
        InputError: it is not there, and may not be made.
        ServerUnavailable: the API does not answer, or refuses.
    """
    path = f"/work_pools/{quote(name, safe='')}"
    try:
        kind = str(call(api, "GET", path, timeout=10, patience=_PATIENCE).body["type"])
    except ServerRefused as error:
        if error.status != 404:
            raise
        if not may_create:
            raise InputError(
                f"there is no work pool {name!r}; make it with: prefect work-pool create {name} --type process"
            ) from None
        from prefect.workers.process import ProcessWorker

        pool = {"name": name, "type": "process", "base_job_template": ProcessWorker.get_default_base_job_template()}
        call(api, "POST", "/work_pools/", pool, timeout=30, patience=_PATIENCE)
        return "process", True, False
    workers = call(api, "POST", f"{path}/workers/filter", {}, timeout=10, patience=_PATIENCE).body
    return kind, False, any(one.get("status") == "ONLINE" for one in workers)
