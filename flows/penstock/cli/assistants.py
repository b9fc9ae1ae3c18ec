"""``penstock assistants``: assistants, on servers that still have them."""

from __future__ import annotations

import typer

from penstock.cli.connection import BASE_URL, KEY_VARIABLE, MOST, PROVIDER, carry_out, chosen_provider, first
from penstock.cli.console import clear_errors, print_json, say
from penstock.cli.listing import moment, print_table, shown, told_more
from penstock.cli.options import JSON

assistants = typer.Typer(
    no_args_is_help=True,
    help="Assistants: list and create. OpenAI ended this API on 2026-08-26 and answers 404 since; the sandbox and "
    "other servers still have it.",
)


def register(app: typer.Typer) -> None:
    """Put the group into the command line."""
    app.add_typer(assistants, name="assistants")


@assistants.command(
    "list",
    epilog="Examples:  penstock assistants list --provider sandbox  |  penstock assistants list --most 5 --json",
)
def list_assistants(
    most: int = MOST,
    provider: str = PROVIDER,
    base_url: str | None = BASE_URL,
    key_variable: str | None = KEY_VARIABLE,
    as_json: bool = JSON,
) -> None:
    """List assistants, the newest first."""
    with clear_errors(as_json=as_json):
        server = chosen_provider(provider, base_url, key_variable)
        found, more = carry_out(server, lambda api: first(api.assistants.list(), most))
        if as_json:
            print_json([assistant.raw for assistant in found])
            return
        rows = [(one.id, moment(one.created_at), one.model, one.name) for one in found]
        print_table(("assistant", "created", "model", "name"), rows, nothing="no assistant")
        told_more(most, more)


@assistants.command(
    epilog="Example:  penstock assistants create --provider sandbox --model gpt-4o --name 'Math Tutor' "
    "--instructions 'You are a personal math tutor.' --tool code_interpreter",
)
def create(
    model: str = typer.Option(..., "--model", help="The model it uses.", show_default=False),
    name: str | None = typer.Option(None, "--name", help="At most 256 characters.", show_default=False),
    description: str | None = typer.Option(None, "--description", help="At most 512 characters.", show_default=False),
    instructions: str | None = typer.Option(
        None, "--instructions", help="What it is told to be and do.", show_default=False
    ),
    tool: list[str] = typer.Option([], "--tool", help="code_interpreter or file_search. Repeatable."),
    provider: str = PROVIDER,
    base_url: str | None = BASE_URL,
    key_variable: str | None = KEY_VARIABLE,
    as_json: bool = JSON,
) -> None:
    """Make an assistant; it is not made twice when it may have been."""
    with clear_errors(as_json=as_json):
        server = chosen_provider(provider, base_url, key_variable)
        made = carry_out(
            server,
            lambda api: api.assistants.create(
                model=model,
                name=name,
                description=description,
                instructions=instructions,
                tools=[{"type": kind} for kind in tool] or None,
            ),
            creates="penstock assistants list",
        )
        if as_json:
            print_json(made.raw)
        else:
            say(f"{shown(made.id)}  {shown(made.name)}  {shown(made.model)}")
