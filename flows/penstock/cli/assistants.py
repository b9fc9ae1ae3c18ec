"""``penstock assistants``: assistants, on servers that still have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from penstock.cli.connection import MOST
from penstock.cli.console import say
from penstock.cli.listing import moment, shown
from penstock.cli.server_command import Server, server_command

if TYPE_CHECKING:
    from penstock.api.assistants import Assistant

assistants = typer.Typer(
    no_args_is_help=True,
    help="Assistants: list and create. OpenAI ended this API on 2026-08-26 and answers 404 since; the sandbox and "
    "other servers still have it.",
)


def register(app: typer.Typer) -> None:
    """Put the group into the command line."""
    app.add_typer(assistants, name="assistants")


@server_command(
    assistants,
    "list",
    epilog="Examples:  penstock assistants list --provider sandbox  |  penstock assistants list --most 5 --json",
)
def list_assistants(server: Server, most: int = MOST) -> None:
    """List assistants, the newest first."""
    columns = ("assistant", "created", "model", "name")
    server.list(lambda api: api.assistants.list(), most, columns, _row, nothing="no assistant")


@server_command(
    assistants,
    "create",
    epilog="Example:  penstock assistants create --provider sandbox --model gpt-4o --name 'Math Tutor' "
    "--instructions 'You are a personal math tutor.' --tool code_interpreter",
)
def create(
    server: Server,
    model: str = typer.Option(..., "--model", help="The model it uses.", show_default=False),
    name: str | None = typer.Option(None, "--name", help="At most 256 characters.", show_default=False),
    description: str | None = typer.Option(None, "--description", help="At most 512 characters.", show_default=False),
    instructions: str | None = typer.Option(
        None, "--instructions", help="What it is told to be and do.", show_default=False
    ),
    tool: list[str] = typer.Option([], "--tool", help="code_interpreter or file_search. Repeatable."),
) -> None:
    """Make an assistant; it is not made twice when it may have been."""
    server.show(
        lambda api: api.assistants.create(
            model=model,
            name=name,
            description=description,
            instructions=instructions,
            tools=[{"type": kind} for kind in tool] or None,
        ),
        lambda made: say(f"{shown(made.id)}  {shown(made.name)}  {shown(made.model)}"),
        creates="penstock assistants list",
    )


def _row(one: Assistant) -> tuple[object, ...]:
    return one.id, moment(one.created_at), one.model, one.name
