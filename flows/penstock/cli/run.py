"""``penstock run``, ``resume`` and ``retry``: the commands that send requests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from penstock.cli.console import clear_errors, print_json, say, warn
from penstock.cli.exit_codes import ExitCode
from penstock.cli.options import FILE, FRESH, JSON, LIMIT, PARAM, PROVIDER, RUN, STATE, chosen_run, parse_params
from penstock.errors import UsageError

if TYPE_CHECKING:
    from penstock.execute.session import Request, Session
    from penstock.flow.run import Outcome
    from penstock.flow.server import Boot
    from penstock.outputs import Bill
    from penstock.runs.record import RunRecord

_QUIET = typer.Option(False, "--quiet", "-q", help="No progress, only the account at the end.")
_WORKERS = typer.Option(
    None,
    "--workers",
    min=1,
    max=256,
    help="Threads or worker processes, in place of the pipeline's `runner` (3 threads).",
)


def register(app: typer.Typer) -> None:
    """Put the commands into the command line."""
    examples = "Examples:  penstock run pipeline.yaml  |  penstock run pipeline.yaml --limit 100 --provider sandbox"
    app.command(epilog=examples)(run)
    app.command(epilog="Examples:  penstock resume  |  penstock resume 20261122-140503-9f3a")(resume)
    app.command(epilog="Examples:  penstock retry  |  penstock retry 9f3a --cause timeout --cause server_error")(retry)


def run(
    file: Path = FILE,
    param: list[str] = PARAM,
    provider: str | None = PROVIDER,
    limit: int | None = LIMIT,
    state: str | None = STATE,
    fresh: bool = FRESH,
    workers: int | None = _WORKERS,
    quiet: bool = _QUIET,
    as_json: bool = JSON,
) -> None:
    """Run a pipeline, and end with the account of rows, tokens and dollars.

    What was answered before is not paid again, unless --fresh is given. Exit codes: 0 done, 1 done with rows in
    the errors table, 2 wrong usage, 3 stopped early and resumable, 130 interrupted and resumable.
    """
    with clear_errors(as_json=as_json):
        from dataclasses import replace

        from penstock.execute.session import Request

        request = Request(file, parse_params(param), provider=provider, limit=limit, state=state, workers=workers)
        request = replace(request, fresh=fresh)
        _carry_out(request, quiet=quiet, as_json=as_json)


def resume(
    run_id: str | None = RUN,
    state: str | None = STATE,
    workers: int | None = _WORKERS,
    quiet: bool = _QUIET,
    as_json: bool = JSON,
) -> None:
    """Go on after a crash, a stop or Ctrl-C, with the parameters of that run. Nothing answered is asked again."""
    with clear_errors(as_json=as_json):
        from penstock.runs.record import RunStatus

        request, record = _again(run_id, state, workers)
        if record.status in {RunStatus.COMPLETED, RunStatus.COMPLETED_WITH_ERRORS}:
            raise UsageError(
                f"run {record.run_id} is complete. Use `penstock retry` for its failed rows, "
                f"or `penstock run {record.file}` for a new run"
            )
        _carry_out(request, quiet=quiet, as_json=as_json)


def retry(
    run_id: str | None = RUN,
    cause: list[str] = typer.Option(
        [], "--cause", help="Only failures of this cause; all that were asked if left out."
    ),
    state: str | None = STATE,
    workers: int | None = _WORKERS,
    quiet: bool = _QUIET,
    as_json: bool = JSON,
) -> None:
    """Ask the failed rows of a run again, and only those. The published output is replaced at the end."""
    with clear_errors(as_json=as_json):
        from dataclasses import replace

        from penstock.items import Cause

        known = {str(one): one for one in Cause}
        if unknown := [name for name in cause if name not in known]:
            raise UsageError(f"there is no cause {unknown[0]!r}; the causes are {', '.join(known)}")
        if fixed := [name for name in cause if not known[name].mendable]:
            raise UsageError(
                f"rows that failed by {fixed[0]} were never sent; mend the data and run the pipeline again"
            )
        request, record = _again(run_id, state, workers)
        failures = record.account.failures if record.account else {}
        if not any(known[name].mendable and (not cause or name in cause) for name in failures):
            of_cause = " of that cause" if cause else ""
            say(f"run {record.run_id} has no failed rows{of_cause} that asking again could mend")
            return
        request = replace(request, retries=record.run_id, retry_causes=tuple(cause) or None)
        _carry_out(request, quiet=quiet, as_json=as_json)


def _again(run_id: str | None, state: str | None, workers: int | None) -> tuple[Request, Any]:
    from penstock.execute.session import Request
    from penstock.runs.history import mark_crashed
    from penstock.runs.record import read_record
    from penstock.tables.state import State

    root, folder, record = chosen_run(run_id, state)
    mark_crashed(State(root, record.pipeline))
    record = read_record(folder)
    request = Request(
        Path(record.file),
        record.params,
        provider=record.provider,
        limit=record.limit,
        state=root,
        resumes=record.run_id,
        workers=workers,
    )
    return request, record


def _carry_out(request: Request, *, quiet: bool, as_json: bool) -> None:
    from penstock.memory import give_back_memory

    give_back_memory()
    from penstock.flow.whole import run_request

    hushed = quiet or as_json
    session, outcome = run_request(
        request,
        announce=_say_nothing if hushed else _announce,
        progress=lambda session: _ticking(session, quiet=hushed),
        leave=_leave,
    )
    _tell(session, outcome, as_json=as_json)


@contextmanager
def _ticking(session: Session, *, quiet: bool) -> Iterator[Callable[[], None]]:
    from penstock.cli.progress import Progress
    from penstock.memory import leave_libraries_alone

    leave_libraries_alone()
    with Progress(session, quiet=quiet) as progress:
        yield progress.tick


def _leave(message: str) -> NoReturn:
    from penstock.flow.run import leave_at_once

    leave_at_once(message)


def _say_nothing(session: Session, boot: Boot) -> None:
    """For programs and quiet runs."""


def announced(bill: Bill) -> Iterator[str]:
    """What is told of an output that goes to a server, before anything is paid."""
    from penstock.cli.plan import described

    first, *rest = described(bill)
    yield f"{first.strip()}, see `penstock plan`"
    yield from (line for line in rest if line.strip().startswith(("epochs", "price", "note")))


def _announce(session: Session, boot: Boot) -> None:
    plan = session.plan
    finished = sum(one.finished for one in plan.reuse)
    known = f", {finished} finished before" if finished else ""
    warn(f"{plan.pipeline}: {plan.rows:,} rows, {len(plan.tasks)} tasks to run{known}")
    for bill in plan.bills:
        for line in announced(bill):
            warn(line)
    for record in session.crashed:
        warn(f"the run {record.run_id} had crashed; its answers are kept and used")
    if boot.is_starting:
        warn("starting the local Prefect API (the first start takes longer)")


def _tell(session: Session, outcome: Outcome, *, as_json: bool) -> None:
    from penstock.cli.summary import exit_code, summary
    from penstock.spec.provider import SandboxSettings

    used = session.spec.used_providers.values()
    record = session.record
    if as_json:
        print_json(record.model_dump(mode="json"))
    else:
        sandbox = bool(used) and all(isinstance(provider, SandboxSettings) for provider in used)
        for line in summary(record, session.state.root, sandbox=sandbox):
            say(line)
        if outcome.warning:
            warn(f"note: {outcome.warning}")
        if _offered(record):
            raise SystemExit(int(ExitCode.ROWS_FAILED))
    raise SystemExit(int(exit_code(record)))


def _offered(record: RunRecord) -> bool:
    """Ask at a terminal for what `upload: ask` left to be asked; whether that failed."""
    waiting = [output for output in record.outputs if output.delivered.get("state") == "written"]
    if not waiting or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    from penstock.cli.finetune_continue import offer

    failures = [offer(Path(output.path)) for output in waiting]
    return any(failures)
