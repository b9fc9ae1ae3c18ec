"""Options that several commands share, and what they mean."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from penstock.errors import InputError, UsageError

if TYPE_CHECKING:
    from penstock.runs.record import RunRecord

FILE = typer.Argument(..., metavar="FILE", help="The pipeline file.", show_default=False)
PARAM = typer.Option([], "--param", "-p", metavar="NAME=VALUE", help="A value for one of the pipeline's params.")
PROVIDER = typer.Option(
    None, "--provider", help="sandbox or openai, instead of what the file says.", show_default=False
)
LIMIT = typer.Option(
    None,
    "--limit",
    min=1,
    help="Only the first rows; the result stands beside the pipeline's own output.",
    show_default=False,
)
STATE = typer.Option(
    None,
    "--state",
    metavar="DIR",
    help="The state folder (PENSTOCK_STATE); .penstock beside the pipeline file if left out.",
    show_default=False,
)
FRESH = typer.Option(False, "--fresh", help="Ask everything anew: use no answer of before, now or later.")
JSON = typer.Option(False, "--json", help="JSON for programs.")
RUN = typer.Argument(
    None, metavar="[RUN]", help="A run's id, or the end of it; the newest if left out.", show_default=False
)


def parse_params(given: Sequence[str]) -> dict[str, str]:
    """``-p name=value`` as a mapping; see `parse_pairs`."""
    return parse_pairs("-p", given)


def parse_pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    """The values ``NAME=VALUE`` of a repeatable option as a mapping.

    Raises:
        UsageError: there is no ``=``, or no name before it.
    """
    pairs: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{option} takes NAME=VALUE, and got {text!r}")
        pairs[name.strip()] = value
    return pairs


def state_roots(chosen: str | None) -> list[Path]:
    """Where runs are looked for: the folder named, or ``.penstock`` here and one level below.

    Raises:
        InputError: there is none.
    """
    named = chosen or os.environ.get("PENSTOCK_STATE")
    if named:
        roots = [Path(named)] if Path(named).is_dir() else []
    else:
        roots = [root for root in [Path(".penstock"), *sorted(Path().glob("*/.penstock"))] if root.is_dir()]
    if not roots:
        where = str(named) if named else "here or one folder below (.penstock)"
        raise InputError(
            f"there are no runs in {where}; start one with `penstock run FILE`, or name its --state folder"
        )
    return [root.absolute() for root in roots]


def chosen_run(run: str | None, state: str | None) -> tuple[Path, Path, RunRecord]:
    """State root, folder and record of the run that is meant.

    Raises:
        InputError: there is no such run.
    """
    from penstock.runs.history import find_run

    roots = state_roots(state)
    failure: InputError | None = None
    found: list[tuple[Path, Path, RunRecord]] = []
    for root in roots:
        try:
            found.append((root, *find_run(root, run)))
        except InputError as error:
            failure = failure or error
    if not found:
        raise failure or InputError("there are no runs")
    return max(found, key=lambda one: one[2].run_id)
