"""``penstock batches``: the batches of an account."""

from __future__ import annotations

import typer

from penstock.cli.connection import (
    BASE_URL,
    KEY_VARIABLE,
    MOST,
    PROVIDER,
    YES,
    carry_out,
    chosen_provider,
    confirm,
    first,
)
from penstock.cli.console import clear_errors, print_json, say
from penstock.cli.listing import moment, print_facts, print_table, shown, told_more
from penstock.cli.options import JSON

batches = typer.Typer(no_args_is_help=True, help="The batches of an account: list, show, cancel.")
_BATCH = typer.Argument(..., metavar="BATCH", help="A batch's id.", show_default=False)


def register(app: typer.Typer) -> None:
    """Put the group into the command line."""
    app.add_typer(batches, name="batches")


@batches.command("list", epilog="Examples:  penstock batches list  |  penstock batches list --most 5 --json")
def list_batches(
    most: int = MOST,
    provider: str = PROVIDER,
    base_url: str | None = BASE_URL,
    key_variable: str | None = KEY_VARIABLE,
    as_json: bool = JSON,
) -> None:
    """List batches, the newest first."""
    with clear_errors(as_json=as_json):
        server = chosen_provider(provider, base_url, key_variable)
        found, more = carry_out(server, lambda api: first(api.batches.list(), most))
        if as_json:
            print_json([batch.raw for batch in found])
            return
        rows = [
            (
                batch.id,
                batch.status,
                moment(batch.created_at),
                f"{batch.request_counts.completed:,}/{batch.request_counts.total:,}",
                f"{batch.request_counts.failed:,}",
                batch.endpoint,
            )
            for batch in found
        ]
        columns = ("batch", "status", "created", "requests", "failed", "endpoint")
        print_table(columns, rows, nothing="no batch")
        told_more(most, more)


@batches.command(epilog="Examples:  penstock batches show batch_abc123  |  penstock batches show batch_abc123 --json")
def show(
    batch_id: str = _BATCH,
    provider: str = PROVIDER,
    base_url: str | None = BASE_URL,
    key_variable: str | None = KEY_VARIABLE,
    as_json: bool = JSON,
) -> None:
    """Show one batch: its state, requests, files, and the mistakes of its input."""
    with clear_errors(as_json=as_json):
        server = chosen_provider(provider, base_url, key_variable)
        batch = carry_out(server, lambda api: api.batches.retrieve(batch_id))
        if as_json:
            print_json(batch.raw)
            return
        counts = batch.request_counts
        print_facts(
            {
                "batch": batch.id,
                "status": batch.status,
                "endpoint": batch.endpoint,
                "requests": f"{counts.completed:,} of {counts.total:,} answered, {counts.failed:,} failed",
                "input": batch.input_file_id,
                "output": batch.output_file_id,
                "errors": batch.error_file_id,
                "created": moment(batch.created_at),
                "completed": moment(batch.completed_at),
                "expires": moment(batch.expires_at),
                "metadata": batch.metadata,
            }
        )
        for mistake in batch.errors.data if batch.errors else ():
            say(f"- {shown(mistake.message)}" + (f" (line {mistake.line})" if mistake.line else ""))


@batches.command(
    epilog="Examples:  penstock batches cancel batch_abc123  |  penstock batches cancel batch_abc123 --yes"
)
def cancel(
    batch_id: str = _BATCH,
    yes: bool = YES,
    provider: str = PROVIDER,
    base_url: str | None = BASE_URL,
    key_variable: str | None = KEY_VARIABLE,
    as_json: bool = JSON,
) -> None:
    """End a batch; what is answered by then is kept in its output file, and paid."""
    with clear_errors(as_json=as_json):
        server = chosen_provider(provider, base_url, key_variable)
        confirm(f"Cancel the batch {batch_id}?", yes)
        batch = carry_out(server, lambda api: api.batches.cancel(batch_id))
        if as_json:
            print_json(batch.raw)
        else:
            say(f"{shown(batch.id)}  {shown(batch.status)}")
