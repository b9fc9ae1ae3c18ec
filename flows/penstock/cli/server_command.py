"""The commands that talk to a server: the options they all have, and how they print one object or many.

A command is a function whose first parameter is a `Server`; its other parameters are its own options and arguments::

    @server_command(batches, "show", epilog="Example:  penstock batches show batch_abc123")
    def show(server: Server, batch_id: str = _BATCH) -> None:
        server.show(lambda api: api.batches.retrieve(batch_id), _print)
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from penstock.cli.connection import carry_out, chosen_provider, confirm, first
from penstock.cli.console import clear_errors, print_json, say
from penstock.cli.listing import print_table, shown, told_more

if TYPE_CHECKING:
    from penstock.api import Api
    from penstock.api.objects import ApiObject, Deleted
    from penstock.api.provider import Provider

_PROVIDER = typer.Option(
    "openai", "--provider", help="openai, or sandbox: the `penstock sandbox` that is running on this machine."
)
_BASE_URL = typer.Option(
    None,
    "--base-url",
    metavar="URL",
    help="The server's address with the version; OPENAI_BASE_URL if left out, then OpenAI itself, and for the sandbox "
    "http://127.0.0.1:8080/v1. OPENAI_API_KEY is not sent to an address that is given here, unless it is OpenAI's.",
    show_default=False,
)
_KEY_VARIABLE = typer.Option(
    None,
    "--key-variable",
    metavar="NAME",
    help="The environment variable that holds the key; OPENAI_API_KEY if left out.",
    show_default=False,
)

T = TypeVar("T")
ObjectT = TypeVar("ObjectT", bound="ApiObject")


@dataclass(frozen=True, slots=True)
class Server:
    """The server that a command talks to, and whether it prints for people or programs."""

    provider: Provider
    as_json: bool

    def ask(self, use: Callable[[Api], Awaitable[T]], *, creates: str = "") -> T:
        """What `use` returns; see `penstock.cli.connection.carry_out`."""
        return carry_out(self.provider, use, creates=creates)

    def show(
        self,
        use: Callable[[Api], Awaitable[ObjectT]],
        for_people: Callable[[ObjectT], None],
        *,
        creates: str = "",
    ) -> None:
        """Print the object that `use` returns."""
        found = self.ask(use, creates=creates)
        if self.as_json:
            print_json(found.raw)
        else:
            for_people(found)

    def list(
        self,
        use: Callable[[Api], AsyncIterator[ObjectT]],
        most: int,
        columns: Sequence[str],
        row: Callable[[ObjectT], Sequence[object]],
        *,
        nothing: str,
    ) -> None:
        """Print the first `most` objects of a list, each as a `row` of a table; `nothing` where there are none."""
        found, more = self.ask(lambda api: first(use(api), most))
        self.table(found, most, columns, row, nothing=nothing, more=more)

    def table(
        self,
        found: Sequence[ObjectT],
        most: int,
        columns: Sequence[str],
        row: Callable[[ObjectT], Sequence[object]],
        *,
        nothing: str,
        more: bool,
    ) -> None:
        """Print objects that were fetched already; `more` when there are others beyond `most`."""
        if self.as_json:
            print_json([one.raw for one in found])
            return
        print_table(columns, [row(one) for one in found], nothing=nothing)
        told_more(most, more)

    def delete(self, what: str, use: Callable[[Api], Awaitable[Deleted]], *, yes: bool) -> None:
        """Delete after asking; `what` is such as ``the file file-abc123``."""
        confirm(f"Delete {what} for good?", yes)
        self.show(use, lambda gone: say(f"{shown(gone.id)} {'is' if gone.deleted else 'was not'} deleted"))


def server_command(
    group: typer.Typer, name: str, *, epilog: str, json_help: str = "JSON for programs."
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Put a function into `group` as the command `name`, with the options that all of them have.

    Args:
        epilog: its examples.
        json_help: what ``--json`` prints.
    """
    shared = {
        "provider": (str, _PROVIDER),
        "base_url": (str | None, _BASE_URL),
        "key_variable": (str | None, _KEY_VARIABLE),
        "as_json": (bool, typer.Option(False, "--json", help=json_help)),
    }

    def add(function: Callable[..., None]) -> Callable[..., None]:
        def command(**options: Any) -> None:
            provider, base_url, key_variable, as_json = (options.pop(option) for option in shared)
            with clear_errors(as_json=as_json):
                function(Server(chosen_provider(provider, base_url, key_variable), as_json), **options)

        _, *own = inspect.signature(function, eval_str=True).parameters.values()
        parameters = [
            *(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own),
            *(
                inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
                for option, (kind, default) in shared.items()
            ),
        ]
        # Typer reads a command's options from its signature, and its help from its docstring.
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # functions may have one
        command.__annotations__ = {one.name: one.annotation for one in parameters}
        command.__doc__ = function.__doc__
        group.command(name, epilog=epilog)(command)
        return function

    return add
