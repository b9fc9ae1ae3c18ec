"""``penstock finetune``: models made from examples."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from penstock.cli.connection import MOST, YES, confirm, first
from penstock.cli.console import clear_errors, print_json, say
from penstock.cli.exit_codes import ExitCode
from penstock.cli.listing import moment, print_facts, shown
from penstock.cli.server_command import Server, server_command
from penstock.cli.transfer import file_id

if TYPE_CHECKING:
    from penstock.api import Api
    from penstock.api.fine_tuning import FineTuningEvent, FineTuningJob

finetune = typer.Typer(
    no_args_is_help=True, help="Fine-tuning: check a training file; jobs: start, list, show, events, watch, cancel."
)
_JOB = typer.Argument(..., metavar="JOB", help="A job's id.", show_default=False)
_EVERY = typer.Option(5.0, "--every", min=0.1, help="Seconds between two looks.")


def register(app: typer.Typer) -> None:
    """Put the group into the command line."""
    app.add_typer(finetune, name="finetune")


_CHECK_EPILOG = """Examples:

\b
  penstock finetune check train.jsonl
  penstock finetune check train.jsonl valid.jsonl --model gpt-4.1-mini-2025-04-14 --suffix support
  penstock finetune check train.jsonl --no-tokens --json

Exit code 1 when there is any error; warnings alone leave it at 0. No key is needed and nothing is sent.
"""


@finetune.command("check", epilog=_CHECK_EPILOG)
def check(
    training: Path = typer.Argument(..., metavar="FILE", help="The training file.", show_default=False),
    validation: Path | None = typer.Argument(
        None, metavar="[VALIDATION]", help="The file to measure with; it must not share examples.", show_default=False
    ),
    model: str = typer.Option(
        "gpt-4o-mini-2024-07-18", "--model", help="The model to start from: its limits, vocabulary and price."
    ),
    suffix: str | None = typer.Option(
        None, "--suffix", help="The part of the new model's name that the job will ask for.", show_default=False
    ),
    suffix_rule: int = typer.Option(
        64, "--suffix-rule", min=1, help="Characters that a suffix may have: 64 today, 18 in the 2024 API."
    ),
    context: int | None = typer.Option(
        None,
        "--context",
        min=1,
        help="Tokens of an example that the model trains on; by --model if left out.",
        show_default=False,
    ),
    price: float | None = typer.Option(
        None,
        "--price",
        min=0,
        help="Dollars per million tokens trained on; by --model if left out.",
        show_default=False,
    ),
    show: int = typer.Option(10, "--show", min=1, help="How many problems of each kind are shown; all are counted."),
    no_tokens: bool = typer.Option(False, "--no-tokens", help="Count no tokens: several times as fast."),
    as_json: bool = typer.Option(False, "--json", help="JSON for programs."),
) -> None:
    """Find every fault of a training file with its line, then show lengths, tokens, epochs and cost."""
    from penstock.outputs.finetune.check import check_files
    from penstock.outputs.finetune.limits import Rules, TrainingPrice, listed_price
    from penstock.outputs.finetune.report import as_dict, as_lines

    own = None if price is None else TrainingPrice(price, "--price")
    with clear_errors(as_json=as_json):
        report = check_files(
            training,
            validation,
            rules=Rules.of(model, context=context, suffix_longest=suffix_rule, tokens=not no_tokens),
            suffix=suffix,
            most=show,
            price_of=listed_price if own is None else lambda _: own,
        )
        if as_json:
            print_json(as_dict(report))
        else:
            for line in as_lines(report):
                say(line)
        if report.errors:
            raise SystemExit(int(ExitCode.ROWS_FAILED))


@server_command(
    finetune,
    "start",
    epilog="Examples:  penstock finetune start train.jsonl --model gpt-4o-mini-2024-07-18  |  "
    "penstock finetune start file-abc123 --model gpt-4o-mini-2024-07-18 --validation valid.jsonl --watch",
)
def start(
    server: Server,
    training: str = typer.Argument(
        ..., metavar="TRAINING", help="A file's id, or a file here, which is uploaded first.", show_default=False
    ),
    model: str = typer.Option(..., "--model", help="The model to start from.", show_default=False),
    validation: str | None = typer.Option(
        None, "--validation", help="A file's id, or a file here, to measure with.", show_default=False
    ),
    suffix: str | None = typer.Option(
        None, "--suffix", help="A part of the new model's name; 18 characters in the 2024 API.", show_default=False
    ),
    epochs: int | None = typer.Option(
        None,
        "--epochs",
        min=1,
        help="How often all is gone through; the service's choice if left out.",
        show_default=False,
    ),
    seed: int | None = typer.Option(None, "--seed", help="Makes jobs repeatable.", show_default=False),
    watched: bool = typer.Option(False, "--watch", help="Stay and show its events until it has ended."),
) -> None:
    """Start a job. It costs money, so it is not started twice when it may have been."""

    async def begin(api: Api) -> FineTuningJob:
        return await api.fine_tuning.create(
            training_file=await file_id(api, training, "fine-tune"),
            model=model,
            validation_file=await file_id(api, validation, "fine-tune") if validation else None,
            suffix=suffix,
            hyperparameters={"n_epochs": epochs} if epochs else None,
            seed=seed,
        )

    job = server.ask(begin, creates="penstock finetune list")
    if server.as_json and not watched:
        print_json(job.raw)
    elif not server.as_json:
        _print_state(job)
    if watched:
        _end(server.ask(lambda api: _watch(api, job.id, 5.0, server.as_json)))


@server_command(finetune, "list", epilog="Examples:  penstock finetune list  |  penstock finetune list --most 5 --json")
def list_jobs(server: Server, most: int = MOST) -> None:
    """List jobs, the newest first."""
    columns = ("job", "status", "created", "from", "new model")
    server.list(lambda api: api.fine_tuning.list(), most, columns, _row, nothing="no job")


@server_command(
    finetune,
    "show",
    epilog="Examples:  penstock finetune show ftjob-abc123  |  penstock finetune show ftjob-abc123 --json",
)
def show(server: Server, job_id: str = _JOB) -> None:
    """Show one job: its state, files, model, and why it failed."""
    server.show(lambda api: api.fine_tuning.retrieve(job_id), _print_job)


@server_command(
    finetune,
    "events",
    epilog="Examples:  penstock finetune events ftjob-abc123  |  add --json for the figures in `data`",
)
def events(server: Server, job_id: str = _JOB, most: int = MOST) -> None:
    """Show the last events of a job, the oldest first."""
    found, _ = server.ask(lambda api: first(api.fine_tuning.events(job_id), most))
    found.reverse()
    if server.as_json:
        print_json([event.raw for event in found])
        return
    for event in found:
        say(_event_line(event))
    if not found:
        say("no event")


@server_command(
    finetune,
    "cancel",
    epilog="Examples:  penstock finetune cancel ftjob-abc123  |  penstock finetune cancel ftjob-abc123 --yes",
)
def cancel(server: Server, job_id: str = _JOB, yes: bool = YES) -> None:
    """End a job; what it has trained until then is lost."""
    confirm(f"Cancel the job {job_id}?", yes)
    server.show(lambda api: api.fine_tuning.cancel(job_id), _print_state)


@server_command(
    finetune,
    "watch",
    epilog="Examples:  penstock finetune watch ftjob-abc123  |  "
    "penstock finetune watch ftjob-abc123 --json | jq .data\n\n"
    "Exit code 1 when the job failed or was cancelled. Ctrl-C ends the watching, not the job.",
    json_help="JSON for programs: one event a line, the job last.",
)
def watch(server: Server, job_id: str = _JOB, every: float = _EVERY) -> None:
    """Show the events of a job as they happen, until it has ended."""
    _end(server.ask(lambda api: _watch(api, job_id, every, server.as_json)))


async def _watch(api: Api, job_id: str, every: float, as_json: bool) -> FineTuningJob:
    from penstock.api.fine_tuning import FineTuningJob

    async for one in api.fine_tuning.watch(job_id, every=every):
        if as_json:
            sys.stdout.write(json.dumps(one.raw, ensure_ascii=False) + "\n")
        elif isinstance(one, FineTuningJob):
            _print_job(one)
        else:
            say(_event_line(one))
        sys.stdout.flush()
        if isinstance(one, FineTuningJob):
            return one
    raise AssertionError("watching ends with the job")


def _end(job: FineTuningJob) -> None:
    if job.status != "succeeded":
        raise SystemExit(int(ExitCode.ROWS_FAILED))


def _row(job: FineTuningJob) -> tuple[object, ...]:
    return job.id, job.status, moment(job.created_at), job.model, job.fine_tuned_model


def _print_state(job: FineTuningJob) -> None:
    say(f"{shown(job.id)}  {shown(job.status)}")


def _event_line(event: FineTuningEvent) -> str:
    return f"{moment(event.created_at, '%Y-%m-%d %H:%M:%S')}  {shown(event.level):<5}  {shown(event.message)}"


def _print_job(job: FineTuningJob) -> None:
    error = job.error
    print_facts(
        {
            "job": job.id,
            "status": job.status,
            "from": job.model,
            "new model": job.fine_tuned_model,
            "training": job.training_file,
            "validation": job.validation_file,
            "results": job.result_files,
            "settings": job.hyperparameters,
            "tokens": f"{job.trained_tokens:,}" if job.trained_tokens is not None else None,
            "created": moment(job.created_at),
            "finished": moment(job.finished_at),
            "error": f"{error.code or ''} {error.message}".strip() if error and error.message else None,
        }
    )
