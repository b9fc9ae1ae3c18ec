"""The `penstock` command: its groups put together. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import typer

from penstock.cli import (
    assistants,
    batches,
    check,
    clean,
    deploy,
    files,
    finetune,
    init,
    models,
    plan,
    run,
    runs,
    sandbox,
    server,
)
from penstock.version import __version__

app = typer.Typer(
    name="penstock",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Push a whole data set through an OpenAI-style API and be sure of every row and every cent.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"penstock {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", help="Print the version and leave.", callback=_version),
) -> None:
    """Options of the command itself."""


for group in (
    init,
    check,
    plan,
    run,
    runs,
    clean,
    deploy,
    files,
    finetune,
    batches,
    models,
    assistants,
    sandbox,
    server,
):
    group.register(app)


def main() -> None:
    """Parse the command line and do what it says."""
    app()
