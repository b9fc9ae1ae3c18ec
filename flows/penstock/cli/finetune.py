"""``penstock finetune``: models made from examples."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from penstock.cli.connection import BASE_URL, KEY_VARIABLE, MOST, PROVIDER, carry_out, chosen_provider, first
from penstock.cli.console import clear_errors, print_json, say
from penstock.cli.exit_codes import ExitCode
from penstock.cli.files import send
from penstock.cli.listing import moment, print_facts, print_table, shown, told_more
from penstock.cli.options import JSON

if TYPE_CHECKING:
    from penstock.api import Api
    from penstock.api.fine_tuning import FineTuningEvent, FineTuningJob

finetune = typer.Typer(no_args_is_help=True, help="Fine-tuning jobs: start, list, show, events, watch, cancel.")
_JOB = typer.Argument(..., metavar="JOB", help="A job's id.", show_default=False)
_EVERY = typer.Option(5.0, "--every", min=0.1, help="Seconds between two looks.")


def register(app: typer.Typer) -> None:
    """Put the group into the command line."""
    app.add_typer(finetune, name="finetune")


@finetune.command(
    epilog="Examples:  penstock finetune start train.jsonl --model gpt-4o-mini-2024-07-18  |  "
    "penstock finetune start file-abc123 --model gpt-4o-mini-2024-07-18 --validation valid.jsonl --watch",
)
def start(
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
    provider: str = PROVIDER,
    base_url: str | None = BASE_URL,
    key_variable: str | None = KEY_VARIABLE,
    as_json: bool = JSON,
) -> None:
    """Start a job. It costs money, so it is not started twice when it may have been."""
    with clear_errors(as_json=as_json):
        server = chosen_provider(provider, base_url, key_variable)

        async def begin(api: Api) -> FineTuningJob:
            return await api.fine_tuning.create(
                training_file=await _file_id(api, training),
                model=model,
                validation_file=await _file_id(api, validation) if validation else None,
                suffix=suffix,
                hyperparameters={"n_epochs": epochs} if epochs else None,
                seed=seed,
            )

        job = carry_out(server, begin, creates="penstock finetune list")
        if as_json and not watched:
            print_json(job.raw)
        elif not as_json:
            say(f"{shown(job.id)}  {shown(job.status)}")
        if watched:
            _end(carry_out(server, lambda api: _watch(api, job.id, 5.0, as_json)))


@finetune.command("list", epilog="Examples:  penstock finetune list  |  penstock finetune list --most 5 --json")
def list_jobs(
    most: int = MOST,
    provider: str = PROVIDER,
    base_url: str | None = BASE_URL,
    key_variable: str | None = KEY_VARIABLE,
    as_json: bool = JSON,
) -> None:
    """List jobs, the newest first."""
    with clear_errors(as_json=as_json):
        server = chosen_provider(provider, base_url, key_variable)
        found, more = carry_out(server, lambda api: first(api.fine_tuning.list(), most))
        if as_json:
            print_json([job.raw for job in found])
            return
        rows = [(job.id, job.status, moment(job.created_at), job.model, job.fine_tuned_model) for job in found]
        print_table(("job", "status", "created", "from", "new model"), rows, nothing="no job")
        told_more(most, more)


@finetune.command(
    epilog="Examples:  penstock finetune show ftjob-abc123  |  penstock finetune show ftjob-abc123 --json"
)
def show(
    job_id: str = _JOB,
    provider: str = PROVIDER,
    base_url: str | None = BASE_URL,
    key_variable: str | None = KEY_VARIABLE,
    as_json: bool = JSON,
) -> None:
    """Show one job: its state, files, model, and why it failed."""
    with clear_errors(as_json=as_json):
        server = chosen_provider(provider, base_url, key_variable)
        job = carry_out(server, lambda api: api.fine_tuning.retrieve(job_id))
        if as_json:
            print_json(job.raw)
        else:
            _print_job(job)


@finetune.command(epilog="Examples:  penstock finetune events ftjob-abc123  |  add --json for the figures in `data`")
def events(
    job_id: str = _JOB,
    most: int = MOST,
    provider: str = PROVIDER,
    base_url: str | None = BASE_URL,
    key_variable: str | None = KEY_VARIABLE,
    as_json: bool = JSON,
) -> None:
    """Show the last events of a job, the oldest first."""
    with clear_errors(as_json=as_json):
        server = chosen_provider(provider, base_url, key_variable)
        found, _ = carry_out(server, lambda api: first(api.fine_tuning.events(job_id), most))
        found.reverse()
        if as_json:
            print_json([event.raw for event in found])
            return
        for event in found:
            say(_event_line(event))
        if not found:
            say("no event")


@finetune.command(epilog="Example:  penstock finetune cancel ftjob-abc123")
def cancel(
    job_id: str = _JOB,
    provider: str = PROVIDER,
    base_url: str | None = BASE_URL,
    key_variable: str | None = KEY_VARIABLE,
    as_json: bool = JSON,
) -> None:
    """End a job; what it has trained until then is lost."""
    with clear_errors(as_json=as_json):
        server = chosen_provider(provider, base_url, key_variable)
        job = carry_out(server, lambda api: api.fine_tuning.cancel(job_id))
        if as_json:
            print_json(job.raw)
        else:
            say(f"{shown(job.id)}  {shown(job.status)}")


@finetune.command(
    epilog="Examples:  penstock finetune watch ftjob-abc123  |  "
    "penstock finetune watch ftjob-abc123 --json | jq .data\n\n"
    "Exit code 1 when the job failed or was cancelled. Ctrl-C ends the watching, not the job.",
)
def watch(
    job_id: str = _JOB,
    every: float = _EVERY,
    provider: str = PROVIDER,
    base_url: str | None = BASE_URL,
    key_variable: str | None = KEY_VARIABLE,
    as_json: bool = typer.Option(False, "--json", help="JSON for programs: one event a line, the job last."),
) -> None:
    """Show the events of a job as they happen, until it has ended."""
    with clear_errors(as_json=as_json):
        server = chosen_provider(provider, base_url, key_variable)
        job = carry_out(server, lambda api: _watch(api, job_id, every, as_json))
        _end(job)


async def _file_id(api: Api, given: str) -> str:
    """The id of a file: as given, or of the file here of that name, once it is uploaded."""
    if Path(given).is_file():
        return (await send(api, Path(given), "fine-tune")).id
    return given


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
