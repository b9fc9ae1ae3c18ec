"""``penstock files``: the files that a service holds for fine-tuning, batches and the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
from penstock.cli.transfer import Transfer
from penstock.errors import UsageError
from penstock.values import format_size

if TYPE_CHECKING:
    from penstock.api import Api
    from penstock.api.files import FileObject

files = typer.Typer(no_args_is_help=True, help="The files of an account: list, upload, show, download, delete.")
_FILE_ID = typer.Argument(..., metavar="FILE_ID", help="A file's id.", show_default=False)


def register(app: typer.Typer) -> None:
    """Put the group into the command line."""
    app.add_typer(files, name="files")


@files.command(
    "list",
    epilog="Examples:  penstock files list  |  penstock files list --purpose fine-tune --json  |  "
    "penstock files list --provider sandbox",
)
def list_files(
    purpose: str | None = typer.Option(None, "--purpose", help="Only files of this purpose.", show_default=False),
    most: int = MOST,
    provider: str = PROVIDER,
    base_url: str | None = BASE_URL,
    key_variable: str | None = KEY_VARIABLE,
    as_json: bool = JSON,
) -> None:
    """List the account's files."""
    with clear_errors(as_json=as_json):
        server = chosen_provider(provider, base_url, key_variable)
        found, more = carry_out(server, lambda api: first(api.files.list(purpose=purpose), most))
        if as_json:
            print_json([file.raw for file in found])
            return
        rows = [
            (file.id, format_size(file.bytes), moment(file.created_at), file.purpose, file.status, file.filename)
            for file in found
        ]
        print_table(("file", "size", "created", "purpose", "status", "name"), rows, nothing="no file")
        told_more(most, more)


@files.command(
    epilog="Examples:  penstock files upload train.jsonl --purpose fine-tune  |  "
    "penstock files upload requests.jsonl --purpose batch --json | jq -r .id",
)
def upload(
    file: Path = typer.Argument(..., metavar="FILE", help="The file to send.", show_default=False),
    purpose: str = typer.Option(
        ..., "--purpose", help="fine-tune, batch, assistants, vision, user_data or evals.", show_default=False
    ),
    name: str | None = typer.Option(
        None, "--name", help="What the service calls it; its own name if left out.", show_default=False
    ),
    provider: str = PROVIDER,
    base_url: str | None = BASE_URL,
    key_variable: str | None = KEY_VARIABLE,
    as_json: bool = JSON,
) -> None:
    """Send a file, in pieces, and show how far it is. It is not sent twice when it may have arrived."""
    with clear_errors(as_json=as_json):
        server = chosen_provider(provider, base_url, key_variable)
        sent = carry_out(server, lambda api: send(api, file, purpose, name), creates="penstock files list")
        if as_json:
            print_json(sent.raw)
        else:
            say(f"{shown(sent.id)}  {shown(sent.filename)}  {format_size(sent.bytes)}  {shown(sent.purpose)}")


@files.command(epilog="Examples:  penstock files show file-abc123  |  penstock files show file-abc123 --json")
def show(
    file_id: str = _FILE_ID,
    provider: str = PROVIDER,
    base_url: str | None = BASE_URL,
    key_variable: str | None = KEY_VARIABLE,
    as_json: bool = JSON,
) -> None:
    """Show one file: name, size, purpose, state."""
    with clear_errors(as_json=as_json):
        server = chosen_provider(provider, base_url, key_variable)
        file = carry_out(server, lambda api: api.files.retrieve(file_id))
        if as_json:
            print_json(file.raw)
            return
        print_facts(
            {
                "file": file.id,
                "name": file.filename,
                "size": f"{format_size(file.bytes)} ({file.bytes:,} bytes)",
                "purpose": file.purpose,
                "status": file.status,
                "details": file.status_details,
                "created": moment(file.created_at),
                "expires": moment(file.expires_at),
            }
        )


@files.command(
    epilog="Examples:  penstock files download file-abc123  |  penstock files download file-abc123 --to out.jsonl",
)
def download(
    file_id: str = _FILE_ID,
    to: Path | None = typer.Option(
        None, "--to", metavar="FILE", help="Where to write it; its own name, here, if left out.", show_default=False
    ),
    force: bool = typer.Option(False, "--force", help="Replace a file that is there."),
    provider: str = PROVIDER,
    base_url: str | None = BASE_URL,
    key_variable: str | None = KEY_VARIABLE,
    as_json: bool = JSON,
) -> None:
    """Write a file's content to the disk; it is there whole or not at all."""
    with clear_errors(as_json=as_json):
        server = chosen_provider(provider, base_url, key_variable)
        path = carry_out(server, lambda api: _fetch(api, file_id, to, force))
        size = path.stat().st_size
        if as_json:
            print_json({"id": file_id, "path": str(path), "bytes": size})
        else:
            say(f"{shown(path)}  {format_size(size)}")


@files.command(epilog="Examples:  penstock files delete file-abc123  |  penstock files delete file-abc123 --yes")
def delete(
    file_id: str = _FILE_ID,
    yes: bool = YES,
    provider: str = PROVIDER,
    base_url: str | None = BASE_URL,
    key_variable: str | None = KEY_VARIABLE,
    as_json: bool = JSON,
) -> None:
    """Delete a file for good."""
    with clear_errors(as_json=as_json):
        server = chosen_provider(provider, base_url, key_variable)
        confirm(f"Delete the file {file_id} for good?", yes)
        gone = carry_out(server, lambda api: api.files.delete(file_id))
        if as_json:
            print_json(gone.raw)
        else:
            say(f"{shown(gone.id)} is deleted" if gone.deleted else f"{shown(gone.id)} was not deleted")


async def send(api: Api, file: Path, purpose: str, name: str | None = None) -> FileObject:
    """Upload with its progress on standard error."""
    transfer = Transfer(f"uploading {file.name}")
    try:
        return await api.files.upload(file, purpose, filename=name, progress=transfer)
    finally:
        transfer.end()


async def _fetch(api: Api, file_id: str, to: Path | None, force: bool) -> Path:
    if to is None:
        # Only the last part: a name on a server must not choose the folder.
        to = Path(Path((await api.files.retrieve(file_id)).filename).name or file_id)
    if to.exists() and not force:
        raise UsageError(f"{to} is there already; --force replaces it, --to writes elsewhere")
    transfer = Transfer(f"downloading {file_id}")
    try:
        return await api.files.content(file_id, to, progress=transfer)
    finally:
        transfer.end()
