"""``penstock models``: what a server offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from penstock.cli.connection import MOST, YES, first
from penstock.cli.listing import moment, print_facts
from penstock.cli.server_command import Server, server_command

if TYPE_CHECKING:
    from penstock.api.models import Model

models = typer.Typer(no_args_is_help=True, help="The models of a server: list, show, and delete fine-tuned ones.")
_MODEL = typer.Argument(..., metavar="MODEL", help="A model's id.", show_default=False)
_ALL = 1_000_000


def register(app: typer.Typer) -> None:
    """Put the group into the command line."""
    app.add_typer(models, name="models")


@server_command(
    models,
    "list",
    epilog="Examples:  penstock models list  |  penstock models list --find embedding  |  "
    "penstock models list --base-url http://localhost:11434/v1",
)
def list_models(
    server: Server,
    find: str = typer.Option("", "--find", help="Only models whose id has this."),
    most: int = MOST,
) -> None:
    """List the models that the key may see."""
    found, _ = server.ask(lambda api: first(api.models.list(), _ALL))
    found = sorted((model for model in found if find.lower() in model.id.lower()), key=lambda model: model.id)
    server.table(found[:most], most, ("model", "created", "owner"), _row, nothing="no model", more=len(found) > most)


@server_command(models, "show", epilog="Examples:  penstock models show gpt-4o  |  penstock models show gpt-4o --json")
def show(server: Server, model: str = _MODEL) -> None:
    """Show one model."""
    server.show(
        lambda api: api.models.retrieve(model),
        lambda found: print_facts({**found.raw, "created": moment(found.created)}),
    )


@server_command(
    models,
    "delete",
    epilog="Examples:  penstock models delete ft:gpt-4o-mini:acme::abc123  |  add --yes not to be asked",
)
def delete(server: Server, model: str = _MODEL, yes: bool = YES) -> None:
    """Delete a fine-tuned model for good; only its organization's owners may."""
    server.delete(f"the model {model}", lambda api: api.models.delete(model), yes=yes)


def _row(model: Model) -> tuple[object, ...]:
    return model.id, moment(model.created), model.owned_by
