"""``penstock clean``: makes room by removing what no run needs any more."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from penstock.cli.console import clear_errors, print_json, say
from penstock.cli.options import JSON, STATE, state_roots
from penstock.cli.summary import short
from penstock.values import format_size

if TYPE_CHECKING:
    from penstock.execute.baseline import Before, Unneeded
    from penstock.tables.state import State

_EPILOG = "Examples:  penstock clean  |  penstock clean --pipeline embed-reviews --keep 1 --yes"


def register(app: typer.Typer) -> None:
    """Put the command into the command line."""
    app.command(epilog=_EPILOG)(clean)


def clean(
    state: str | None = STATE,
    pipeline: str | None = typer.Option(None, "--pipeline", help="Only of this pipeline.", show_default=False),
    keep: int = typer.Option(2, "--keep", min=1, help="Complete runs whose answers stay, for each set of outputs."),
    yes: bool = typer.Option(False, "--yes", "-y", help="Remove without asking."),
    as_json: bool = JSON,
) -> None:
    """Remove parts, journals and answers that no run needs, after showing what and how much that is.

    What stays: the newest complete runs, and what can still be resumed. Published output and run records are never
    touched. A run whose parts are removed can be shown, and neither resumed nor verified any more.
    """
    with clear_errors(as_json=as_json):
        from penstock.tables.state import State

        states = [
            State(root, folder.parent.name)
            for root in state_roots(state)
            for folder in sorted(root.glob(f"{pipeline or '*'}/runs"))
        ]
        found = [(one, *_looked_at(one, keep)) for one in states]
        if as_json:
            print_json([_as_dict(one, needed, files) for one, needed, files in found])
        else:
            _show(found)
        wanted = [one for one, _, files in found if files.files]
        if wanted and (yes or (not as_json and _confirmed())):
            for one in wanted:
                _remove(one, keep, quiet=as_json)


def _looked_at(state: State, keep: int) -> tuple[list[Before], Unneeded]:
    from penstock.execute.baseline import needed_runs, unneeded

    needed = needed_runs(state, keep)
    return needed, unneeded(state, needed)


def _show(found: list[tuple[State, list[Before], Unneeded]]) -> None:
    if not found:
        say("there are no pipelines here that ran")
    for state, needed, files in found:
        runs = ", ".join(f"{one.record.run_id} ({one.record.status.value})" for one in needed) or "no run"
        say(f"{state.pipeline}  ({short(state.folder)})")
        say(f"  stays    what these need: {runs}")
        kinds: dict[str, list[Path]] = {}
        for file in files.files:
            kinds.setdefault(_kind(file), []).append(file)
        for kind, paths in sorted(kinds.items()):
            size = sum(path.stat().st_size for path in paths)
            say(f"  removes  {kind}: {len(paths):,}, {format_size(size)}")
        if not files.files:
            say("  removes  nothing: there is no file that no run needs")


def _kind(file: Path) -> str:
    if file.name.endswith(".errors.parquet"):
        return "errors parts"
    if file.parent.parent.name == "runs":
        return "tables of rows"
    return {".parquet": "parts", ".journal": "journals"}.get(file.suffix, "lists of answers and files")


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        say("\nnothing was removed; add --yes")
        return False
    return typer.confirm("\nRemove these files?")


def _remove(state: State, keep: int, *, quiet: bool) -> None:
    """Look again, with no run going on, and remove."""
    from penstock.execute.baseline import remove
    from penstock.execute.disk import storage_errors

    with storage_errors():
        lock = state.lock()
        try:
            _, files = _looked_at(state, keep)
            remove(state, files)
        finally:
            lock.release()
    if not quiet:
        say(f"{state.pipeline}: removed {len(files.files):,} files, {format_size(files.size)}")


def _as_dict(state: State, needed: list[Before], files: Unneeded) -> dict[str, Any]:
    return {
        "pipeline": state.pipeline,
        "folder": str(state.folder),
        "needed_runs": [one.record.run_id for one in needed],
        "files": [str(file) for file in files.files],
        "bytes": files.size,
    }
