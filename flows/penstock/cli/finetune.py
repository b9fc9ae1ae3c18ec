"""``penstock finetune``: models made from examples."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import typer

from penstock.cli.connection import MOST, YES, confirm, first
from penstock.cli.console import print_json, say, warn
from penstock.cli.exit_codes import ExitCode
from penstock.cli.finetune_check import CHECK_EPILOG, check
from penstock.cli.finetune_continue import CONTINUE_EPILOG, continue_
from penstock.cli.job_display import event_line
from penstock.cli.listing import moment, print_facts, shown
from penstock.cli.server_command import Server, server_command
from penstock.cli.transfer import file_id

if TYPE_CHECKING:
    from penstock.api import Api
    from penstock.api.fine_tuning import FineTuningEvent, FineTuningJob

finetune = typer.Typer(
    no_args_is_help=True,
    help="Fine-tuning: check a training file, continue from a written output; jobs: start, list, show, events, watch, "
    "cancel.",
)
_JOB = typer.Argument(..., metavar="JOB", help="A job's id.", show_default=False)
_EVERY = typer.Option(5.0, "--every", min=0.1, help="Seconds between two looks.")


def register(app: typer.Typer) -> None:
    """Put the group into the command line."""
    app.add_typer(finetune, name="finetune")


finetune.command("check", epilog=CHECK_EPILOG)(check)
finetune.command("continue", epilog=CONTINUE_EPILOG)(continue_)


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
        say(event_line(event))
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
    from penstock.cli.job_display import JobDisplay
    from penstock.outputs.finetune.following import Course, follow, read_results, why_failed

    def happened(event: FineTuningEvent) -> None:
        if as_json:
            _print_line(event.raw)
        else:
            display.happened(event)

    def changed(course: Course) -> None:
        display.changed(job_id, course)

    with JobDisplay(quiet=as_json) as display:
        job, course = await follow(api, job_id, every=every, changed=changed, happened=happened)
    if not course.losses:
        await read_results(api, job, course)
    if as_json:
        _print_line(job.raw)
        return job
    if course.losses:
        say(course.line(job.id))
    _print_job(job)
    if why := why_failed(job):
        warn(why)
    return job


def _print_line(value: object) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _end(job: FineTuningJob) -> None:
    if job.status != "succeeded":
        raise SystemExit(int(ExitCode.ROWS_FAILED))


def _row(job: FineTuningJob) -> tuple[object, ...]:
    return job.id, job.status, moment(job.created_at), job.model, job.fine_tuned_model


def _print_state(job: FineTuningJob) -> None:
    say(f"{shown(job.id)}  {shown(job.status)}")


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
