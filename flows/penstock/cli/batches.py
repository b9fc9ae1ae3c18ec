"""``penstock batches``: the batches of an account."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from penstock.cli.connection import MOST, YES, confirm
from penstock.cli.console import say
from penstock.cli.listing import moment, print_facts, shown
from penstock.cli.options import parse_pairs
from penstock.cli.server_command import Server, server_command
from penstock.cli.transfer import file_id
from penstock.errors import UsageError

if TYPE_CHECKING:
    from penstock.api import Api
    from penstock.api.batches import Batch

batches = typer.Typer(no_args_is_help=True, help="The batches of an account: create, list, show, cancel.")
_BATCH = typer.Argument(..., metavar="BATCH", help="A batch's id.", show_default=False)


def register(app: typer.Typer) -> None:
    """Put the group into the command line."""
    app.add_typer(batches, name="batches")


@server_command(
    batches,
    "create",
    epilog="Examples:  penstock batches create requests.jsonl  |  "
    "penstock batches create file-abc123 --endpoint /v1/embeddings --metadata run=nightly --json",
)
def create(
    server: Server,
    requests: str = typer.Argument(
        ..., metavar="REQUESTS", help="A file's id, or a file here, which is uploaded first.", show_default=False
    ),
    endpoint: str | None = typer.Option(
        None,
        "--endpoint",
        help="Such as /v1/chat/completions; the `url` of the first request if left out.",
        show_default=False,
    ),
    window: str = typer.Option("24h", "--window", help="Within which it is to be done."),
    metadata: list[str] = typer.Option(
        [], "--metadata", metavar="NAME=VALUE", help="By which it can be found again. Repeatable."
    ),
) -> None:
    """Start a batch. It costs money, so it is not started twice when it may have been."""
    pairs = parse_pairs("--metadata", metadata)
    chosen = endpoint or _endpoint_in(requests)

    async def begin(api: Api) -> Batch:
        return await api.batches.create(
            input_file_id=await file_id(api, requests, "batch"),
            endpoint=chosen,
            completion_window=window,
            metadata=pairs or None,
        )

    server.show(begin, _print_state, creates="penstock batches list")


@server_command(batches, "list", epilog="Examples:  penstock batches list  |  penstock batches list --most 5 --json")
def list_batches(server: Server, most: int = MOST) -> None:
    """List batches, the newest first."""
    columns = ("batch", "status", "created", "requests", "failed", "endpoint")
    server.list(lambda api: api.batches.list(), most, columns, _row, nothing="no batch")


@server_command(
    batches,
    "show",
    epilog="Examples:  penstock batches show batch_abc123  |  penstock batches show batch_abc123 --json",
)
def show(server: Server, batch_id: str = _BATCH) -> None:
    """Show one batch: its state, requests, files, and the mistakes of its input."""
    server.show(lambda api: api.batches.retrieve(batch_id), _print_batch)


@server_command(
    batches,
    "cancel",
    epilog="Examples:  penstock batches cancel batch_abc123  |  penstock batches cancel batch_abc123 --yes",
)
def cancel(server: Server, batch_id: str = _BATCH, yes: bool = YES) -> None:
    """End a batch; what is answered by then is kept in its output file, and paid."""
    confirm(f"Cancel the batch {batch_id}?", yes)
    server.show(lambda api: api.batches.cancel(batch_id), _print_state)


def _endpoint_in(requests: str) -> str:
    """The endpoint that the first request of a file here names."""
    if not Path(requests).is_file():
        raise UsageError("--endpoint is needed: only a file that is here can be looked into")
    try:
        with Path(requests).open(encoding="utf-8") as lines:
            url = json.loads(lines.readline())["url"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"the first line of {requests} is no request with a `url`; --endpoint says it") from None
    return str(url)


def _row(batch: Batch) -> tuple[object, ...]:
    counts = batch.request_counts
    return (
        batch.id,
        batch.status,
        moment(batch.created_at),
        f"{counts.completed:,}/{counts.total:,}",
        f"{counts.failed:,}",
        batch.endpoint,
    )


def _print_state(batch: Batch) -> None:
    say(f"{shown(batch.id)}  {shown(batch.status)}")


def _print_batch(batch: Batch) -> None:
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
