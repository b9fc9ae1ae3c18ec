"""What somebody asked for: on the command line, in a deployment or from Python; and what that would do now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from penstock.errors import SpecError
from penstock.execute.baseline import last_complete
from penstock.execute.changes import with_changes
from penstock.plan.make import make_plan, rehearsal_name
from penstock.plan.model import Plan
from penstock.runs.record import ROWS
from penstock.spec import Loaded, Spec, load
from penstock.spec.provider import SandboxSettings
from penstock.tables.state import State


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asked for on the command line or in a deployment.

    Attributes:
        retry_causes: which failures of before are asked again; None for all that were asked.
        resumes: the run that this one goes on with.
        retries: the run whose failed rows are asked again, and nothing else.
        workers: threads or worker processes, in place of what the pipeline says under `runner`.
        fresh: use no answer of before, and let no later run of this kind use one.
    """

    file: Path
    params: Mapping[str, str] = field(default_factory=dict)
    provider: str | None = None
    limit: int | None = None
    state: str | Path | None = None
    retry_causes: Sequence[str] | None = None
    resumes: str | None = None
    retries: str | None = None
    workers: int | None = None
    fresh: bool = False


def load_request(request: Request) -> Loaded:
    """The pipeline, found right, with the key that it needs.

    Raises:
        SpecError: it has mistakes.
        InputError: the provider's key is not set.
    """
    loaded = load(request.file, params=request.params, provider=request.provider)
    loaded.check_environment()
    return loaded


def plan_request(request: Request, loaded: Loaded, *, every_row: bool = False) -> Plan:
    """What the request would do now. Sends nothing."""
    state = State.of(request.file, loaded.spec.name, request.state)
    plan = planned(request, loaded, state, every_row=every_row, anew="anew", counted=True)
    if loaded.spec.incremental_settings is None or plan.rehearsal:
        return plan
    with TemporaryDirectory() as folder:
        return with_changes(plan, loaded, state, last_complete(state, plan.targets), Path(folder) / ROWS)


def planned(
    request: Request, loaded: Loaded, state: State, *, anew: str, every_row: bool = False, counted: bool = False
) -> Plan:
    """The plan; `anew` tells answers of a run that asks everything anew from those of before."""
    rehearsal = stands_in(request, loaded)
    generation = state.generation(rehearsal_name(request.limit, rehearsal=rehearsal))
    return make_plan(
        loaded,
        state=state,
        limit=request.limit,
        every_row=every_row,
        retry_causes=request.retry_causes,
        rehearsal=rehearsal,
        generation=anew if request.fresh else generation,
        counted=counted,
    )


def stands_in(request: Request, loaded: Loaded) -> bool:
    """Whether the sandbox stands in for the provider that the file names."""
    if request.provider is None or not _only_sandbox(loaded.spec):
        return False
    try:
        return not _only_sandbox(load(request.file, params=request.params).spec)
    except SpecError:
        # Its own provider cannot even be named here, for want of a variable: it is not the sandbox.
        return True


def _only_sandbox(spec: Spec) -> bool:
    return all(isinstance(provider, SandboxSettings) for provider in spec.used_providers.values())
