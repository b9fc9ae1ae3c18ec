"""``penstock deploy`` and ``penstock serve``: pipelines that run by themselves."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from penstock.cli.console import clear_errors, print_json, say, warn
from penstock.cli.options import parse_params
from penstock.errors import UsageError

if TYPE_CHECKING:
    from penstock.flow.deployments import Made, Wish
    from penstock.flow.rest import Api
    from penstock.spec.load import Loaded

POOL = "penstock"
_DEPLOY_EPILOG = """Examples:

\b
  penstock deploy pipelines/nightly.yaml
  penstock deploy pipelines/*.yaml --pool big-machine
  penstock deploy nightly.yaml -p since=2026-01-01 --paused
  penstock deploy nightly.yaml --worker-folder /srv/pipelines

\b
Then, where the runs are to happen, with the keys in its environment:
  prefect worker start --pool penstock

It needs a Prefect server (PREFECT_API_URL or a Prefect profile), and no key: those live with the worker.
"""
_SERVE_EPILOG = """Examples:

\b
  penstock serve pipelines/nightly.yaml
  penstock serve pipelines/*.yaml --at-once 2

It needs a Prefect server (PREFECT_API_URL or a Prefect profile), and the keys in its own environment.
"""
_FILES = typer.Argument(..., metavar="FILE...", help="Pipeline files.", show_default=False)
_PARAM = typer.Option(
    [], "--param", "-p", metavar="NAME=VALUE", help="A value for one of the pipeline's params, for every run."
)
_PROVIDER = typer.Option(
    None, "--provider", help="sandbox or openai, instead of what the file says.", show_default=False
)
_LIMIT = typer.Option(None, "--limit", min=1, help="Only the first rows, in every run.", show_default=False)
_STATE = typer.Option(
    None,
    "--state",
    metavar="DIR",
    help="The state folder where the runs happen; .penstock beside the pipeline file if left out.",
    show_default=False,
)
_PAUSED = typer.Option(
    None, "--paused/--active", help="Pause the schedule or let it go on; left as it is if left out.", show_default=False
)
_JSON = typer.Option(False, "--json", help="JSON for programs.")


def register(app: typer.Typer) -> None:
    """Put the commands into the command line."""
    app.command(epilog=_DEPLOY_EPILOG)(deploy)
    app.command(epilog=_SERVE_EPILOG)(serve)


def deploy(
    files: list[Path] = _FILES,
    pool: str = typer.Option(POOL, "--pool", help="The work pool; a process pool is made where there is none."),
    create_pool: bool = typer.Option(True, "--create-pool/--no-create-pool", help="Whether a missing pool is made."),
    name: str = typer.Option("deployed", "--name", help="The deployment's name; its flow has the pipeline's."),
    param: list[str] = _PARAM,
    provider: str | None = _PROVIDER,
    limit: int | None = _LIMIT,
    schedule: bool = typer.Option(True, "--schedule/--no-schedule", help="Whether the file's schedule is used."),
    paused: bool | None = _PAUSED,
    worker_folder: str | None = typer.Option(
        None, "--worker-folder", metavar="DIR", help="Where the files are for the worker, if elsewhere than here."
    ),
    state: str | None = _STATE,
    zombie_automation: bool = typer.Option(
        True,
        "--zombie-automation/--no-zombie-automation",
        help="Whether the server is to mark runs as crashed whose process died unseen.",
    ),
    as_json: bool = _JSON,
) -> None:
    """Tell a Prefect server about pipelines: their parameters, and the times at which a worker is to run them.

    Deploying again changes what changed, and never doubles anything.
    """
    with clear_errors(as_json=as_json):
        from penstock.flow.deployments import Wish, ensure_pool

        api, loaded = _begin(files, parse_params(param))
        made_pool = ensure_pool(api, pool, may_create=create_pool)
        folder = None if worker_folder is None else worker_folder.rstrip("/") or "/"
        wish = Wish(
            name, pool, parse_params(param), _options(provider, limit), schedule, paused, folder, _absolute(state)
        )
        made = _deployed(api, loaded, wish, zombie_automation=zombie_automation)
    if as_json:
        print_json({"pool": pool, "deployments": [_as_data(one) for one in made]})
        return
    for one in made:
        _tell(one)
    _tell_pool(pool, *made_pool)


def serve(
    files: list[Path] = _FILES,
    name: str = typer.Option("served", "--name", help="The deployment's name; its flow has the pipeline's."),
    param: list[str] = _PARAM,
    provider: str | None = _PROVIDER,
    limit: int | None = _LIMIT,
    at_once: int = typer.Option(5, "--at-once", min=1, help="Runs at a time, each of another pipeline."),
    state: str | None = _STATE,
) -> None:
    """Run pipelines at the times of their schedules, until Ctrl-C: the worker in the same command, without a pool.

    Runs that were missed while it was not there are caught up with as `schedule.catch_up` says.
    """
    with clear_errors():
        from penstock.flow.deployments import Wish

        api, loaded = _begin(files, parse_params(param))
        for one in loaded:
            if one.spec.schedule is None:
                raise UsageError(f"{one.file} has no `schedule`; write one, such as schedule: {{cron: '0 2 * * *'}}")
            one.check_environment()
        wish = Wish(name, None, parse_params(param), _options(provider, limit), paused=False, state=_absolute(state))
        made = _deployed(api, loaded, wish, zombie_automation=True)
        for one_made in made:
            _tell(one_made)
        say("\nserving until Ctrl-C")
        from penstock.flow.serving import serve as serve_all

        serve_all(made, at_once)
    say("the schedules go on; runs that come due now wait for the next `penstock serve`")


def _begin(files: list[Path], params: dict[str, str]) -> tuple[Api, list[Loaded]]:
    """The server and all pipelines, read before anything is told."""
    from penstock.flow.server import scheduling_api

    if len(files) > 1 and params:
        raise UsageError("-p is for one pipeline file: deploy the others on their own")
    api = scheduling_api()
    from penstock.flow.compile import read_pipeline

    loaded = [read_pipeline(file, params) for file in files]
    seen: dict[str, Path] = {}
    for one in loaded:
        if (other := seen.setdefault(one.spec.name, one.file)) is not one.file:
            raise UsageError(f"{other} and {one.file} are both named {one.spec.name!r}: a flow has one name")
    return api, loaded


def _deployed(api: Api, loaded: list[Loaded], wish: Wish, *, zombie_automation: bool) -> list[Made]:
    from penstock.flow.deployments import deploy as deploy_one
    from penstock.flow.zombies import ensure_automation

    made = [deploy_one(api, one, wish) for one in loaded]
    for one in made if zombie_automation else ():
        ensure_automation(api, one.id, f"{one.flow}/{one.name}")
    return made


def _options(provider: str | None, limit: int | None) -> dict[str, Any]:
    if provider not in {None, "sandbox", "openai"}:
        raise UsageError(f"there is no provider {provider!r}: sandbox or openai")
    return {name: value for name, value in {"provider": provider, "limit": limit}.items() if value is not None}


def _absolute(state: str | None) -> str | None:
    return None if state is None else str(Path(state).absolute())


def _as_data(made: Made) -> dict[str, Any]:
    schedule = made.schedule.model_dump(mode="json", exclude_none=True) if made.schedule else None
    return {**{field.name: getattr(made, field.name) for field in dataclasses.fields(made)}, "schedule": schedule}


def _tell(made: Made) -> None:
    say(f"{made.flow}/{made.name} {made.outcome}")
    when = made.schedule.in_words() if made.schedule else "none: it runs when somebody starts it"
    if made.paused:
        when += "; paused, go on with --active"
    elif made.next_time is not None:
        when += f"; next {made.next_time:%Y-%m-%d %H:%M:%S %Z}"
    say(f"  schedule  {when}")
    if made.schedule and not made.paused:
        say(f"  missed    {_CATCH_UP[made.schedule.catch_up]}")
    say(f"  runs      {made.file}")
    say(f"  page      {made.page}")
    if made.before:
        warn(f"note: it ran {made.before} before; pipelines of the same name are one flow")


_CATCH_UP = {
    "once": "times that were missed are made up for by one run",
    "never": "times that were missed are left out",
    "each": "times that were missed are run one after the other",
}


def _tell_pool(pool: str, kind: str, is_new: bool, has_worker: bool) -> None:
    say(f"\nwork pool {pool} ({kind}{', made now' if is_new else ''})")
    if not has_worker:
        say(f"no worker is there for it yet; where the runs are to happen: prefect worker start --pool {pool}")
