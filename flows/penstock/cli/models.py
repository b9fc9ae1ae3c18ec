"""``penstock models``: what a server offers."""

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
from penstock.cli.listing import moment, print_facts, print_table, told_more
from penstock.cli.options import JSON

models = typer.Typer(no_args_is_help=True, help="The models of a server: list, show, and delete fine-tuned ones.")
_MODEL = typer.Argument(..., metavar="MODEL", help="A model's id.", show_default=False)


def register(app: typer.Typer) -> None:
    """Put the group into the command line."""
    app.add_typer(models, name="models")


@models.command(
    "list",
    epilog="Examples:  penstock models list  |  penstock models list --find embedding  |  "
    "penstock models list --base-url http://localhost:11434/v1",
)
def list_models(
    find: str = typer.Option("", "--find", help="Only models whose id has this."),
    most: int = MOST,
    provider: str = PROVIDER,
    base_url: str | None = BASE_URL,
    key_variable: str | None = KEY_VARIABLE,
    as_json: bool = JSON,
) -> None:
    """List the models that the key may see."""
    with clear_errors(as_json=as_json):
        server = chosen_provider(provider, base_url, key_variable)
        found, _ = carry_out(server, lambda api: first(api.models.list(), 1_000_000))
        found = sorted((model for model in found if find.lower() in model.id.lower()), key=lambda model: model.id)
        if as_json:
            print_json([model.raw for model in found[:most]])
            return
        rows = [(model.id, moment(model.created), model.owned_by) for model in found[:most]]
        print_table(("model", "created", "owner"), rows, nothing="no model")
        told_more(most, len(found) > most)


@models.command(epilog="Examples:  penstock models show gpt-4o  |  penstock models show gpt-4o --json")
def show(
    model: str = _MODEL,
    provider: str = PROVIDER,
    base_url: str | None = BASE_URL,
    key_variable: str | None = KEY_VARIABLE,
    as_json: bool = JSON,
) -> None:
    """Show one model."""
    with clear_errors(as_json=as_json):
        server = chosen_provider(provider, base_url, key_variable)
        found = carry_out(server, lambda api: api.models.retrieve(model))
        if as_json:
            print_json(found.raw)
        else:
            print_facts({**found.raw, "created": moment(found.created)})


@models.command(epilog="Examples:  penstock models delete ft:gpt-4o-mini:acme::abc123  |  add --yes not to be asked")
def delete(
    model: str = _MODEL,
    yes: bool = YES,
    provider: str = PROVIDER,
    base_url: str | None = BASE_URL,
    key_variable: str | None = KEY_VARIABLE,
    as_json: bool = JSON,
) -> None:
    """Delete a fine-tuned model for good; only its organization's owners may."""
    with clear_errors(as_json=as_json):
        server = chosen_provider(provider, base_url, key_variable)
        confirm(f"Delete the model {model} for good?", yes)
        gone = carry_out(server, lambda api: api.models.delete(model))
        if as_json:
            print_json(gone.raw)
        else:
            say(f"{gone.id} is deleted" if gone.deleted else f"{gone.id} was not deleted")
