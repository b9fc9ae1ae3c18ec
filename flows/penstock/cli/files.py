"""``penstock files``: the files that a service holds for fine-tuning, batches and the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from penstock.cli.connection import MOST, YES
from penstock.cli.console import print_json, say
from penstock.cli.listing import moment, print_facts, shown
from penstock.cli.server_command import Server, server_command
from penstock.cli.transfer import Transfer, send
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


@server_command(
    files,
    "list",
    epilog="Examples:  penstock files list  |  penstock files list --purpose fine-tune --json  |  "
    "penstock files list --provider sandbox",
)
def list_files(
    server: Server,
    purpose: str | None = typer.Option(None, "--purpose", help="Only files of this purpose.", show_default=False),
    most: int = MOST,
) -> None:
    """List the account's files."""
    columns = ("file", "size", "created", "purpose", "status", "name")
    server.list(lambda api: api.files.list(purpose=purpose), most, columns, _row, nothing="no file")


@server_command(
    files,
    "upload",
    epilog="Examples:  penstock files upload train.jsonl --purpose fine-tune  |  "
    "penstock files upload requests.jsonl --purpose batch --json | jq -r .id",
)
def upload(
    server: Server,
    file: Path = typer.Argument(..., metavar="FILE", help="The file to send.", show_default=False),
    purpose: str = typer.Option(
        ..., "--purpose", help="fine-tune, batch, assistants, vision, user_data or evals.", show_default=False
    ),
    name: str | None = typer.Option(
        None, "--name", help="What the service calls it; its own name if left out.", show_default=False
    ),
) -> None:
    """Send a file, in pieces, and show how far it is. It is not sent twice when it may have arrived."""
    server.show(
        lambda api: send(api, file, purpose, name),
        lambda sent: say("  ".join(map(shown, (sent.id, sent.filename, format_size(sent.bytes), sent.purpose)))),
        creates="penstock files list",
    )


@server_command(
    files, "show", epilog="Examples:  penstock files show file-abc123  |  penstock files show file-abc123 --json"
)
def show(server: Server, file_id: str = _FILE_ID) -> None:
    """Show one file: name, size, purpose, state."""
    server.show(lambda api: api.files.retrieve(file_id), _print_file)


@server_command(
    files,
    "download",
    epilog="Examples:  penstock files download file-abc123  |  penstock files download file-abc123 --to out.jsonl",
)
def download(
    server: Server,
    file_id: str = _FILE_ID,
    to: Path | None = typer.Option(
        None, "--to", metavar="FILE", help="Where to write it; its own name, here, if left out.", show_default=False
    ),
    force: bool = typer.Option(False, "--force", help="Replace a file that is there."),
) -> None:
    """Write a file's content to the disk; it is there whole or not at all."""
    path = server.ask(lambda api: _fetch(api, file_id, to, force))
    size = path.stat().st_size
    if server.as_json:
        print_json({"id": file_id, "path": str(path), "bytes": size})
    else:
        say(f"{shown(path)}  {format_size(size)}")


@server_command(
    files, "delete", epilog="Examples:  penstock files delete file-abc123  |  penstock files delete file-abc123 --yes"
)
def delete(server: Server, file_id: str = _FILE_ID, yes: bool = YES) -> None:
    """Delete a file for good."""
    server.delete(f"the file {file_id}", lambda api: api.files.delete(file_id), yes=yes)


def _row(file: FileObject) -> tuple[object, ...]:
    return file.id, format_size(file.bytes), moment(file.created_at), file.purpose, file.status, file.filename


def _print_file(file: FileObject) -> None:
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
