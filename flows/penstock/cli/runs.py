"""``penstock runs``, ``show``, ``errors`` and ``verify``: what was run, what failed, and the proof of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from penstock.cli.console import clear_errors, print_json, say
from penstock.cli.exit_codes import ExitCode
from penstock.cli.options import JSON, RUN, STATE, chosen_run, state_roots
from penstock.cli.summary import came_in, summary
from penstock.errors import InputError, UsageError
from penstock.items import Cause
from penstock.values import format_usd

if TYPE_CHECKING:
    import polars as pl


_WRITERS = {".csv": "write_csv", ".jsonl": "write_ndjson", ".parquet": "write_parquet"}


def register(app: typer.Typer) -> None:
    """Put the commands into the command line."""
    app.command(epilog="Examples:  penstock runs  |  penstock runs --pipeline embed-reviews --json")(runs)
    app.command(epilog="Examples:  penstock show  |  penstock show 9f3a --json")(show)
    app.command(epilog="Examples:  penstock errors  |  penstock errors 9f3a --cause too_long --to failed.csv")(errors)
    app.command(epilog="Examples:  penstock verify  |  penstock verify 20261122-140503-9f3a")(verify)


def runs(
    state: str | None = STATE,
    pipeline: str | None = typer.Option(None, "--pipeline", help="Only runs of this pipeline.", show_default=False),
    most: int = typer.Option(20, "--most", min=1, help="How many at the most, the newest first."),
    as_json: bool = JSON,
) -> None:
    """List runs, the newest first."""
    with clear_errors(as_json=as_json):
        from penstock.runs.history import list_runs, mark_crashed
        from penstock.tables.state import State

        found = []
        for root in state_roots(state):
            for name in sorted(path.name for path in root.iterdir() if (path / "runs").is_dir()):
                mark_crashed(State(root, name))
            found += [record for _, record in list_runs(root, pipeline)]
        found = sorted(found, key=lambda record: record.run_id, reverse=True)[:most]
        if as_json:
            print_json([record.model_dump(mode="json") for record in found])
            return
        say(f"{'run':<22} {'pipeline':<20} {'status':<22} {'rows':>10} {'failed':>8} {'dollars':>10}")
        for record in found:
            rows = f"{record.account.written:,}" if record.account else "-"
            failed = f"{record.account.failed:,}" if record.account else "-"
            begin = f"{record.run_id:<22} {record.pipeline:<20} {record.status.value:<22}"
            say(f"{begin} {rows:>10} {failed:>8} {format_usd(record.usage.usd):>10}")


def show(run_id: str | None = RUN, state: str | None = STATE, as_json: bool = JSON) -> None:
    """Show one run: its account of rows, tokens and dollars, and where everything is."""
    with clear_errors(as_json=as_json):
        root, _, record = chosen_run(run_id, state)
        if as_json:
            print_json(record.model_dump(mode="json"))
            return
        for line in summary(record, root):
            say(line)


def errors(
    run_id: str | None = RUN,
    cause: list[str] = typer.Option([], "--cause", help="Only rows that failed by this."),
    most: int = typer.Option(20, "--most", min=1, help="How many rows to show."),
    to: Path | None = typer.Option(
        None, "--to", metavar="FILE", help="Write all of them to a .csv, .jsonl or .parquet file.", show_default=False
    ),
    state: str | None = STATE,
    as_json: bool = JSON,
) -> None:
    """Show the rows that failed, with their keys, causes and texts."""
    with clear_errors(as_json=as_json):
        import polars as pl

        known = [str(one) for one in Cause]
        if unknown := [name for name in cause if name not in known]:
            raise UsageError(f"there is no cause {unknown[0]!r}; the causes are {', '.join(known)}")
        if to is not None and to.suffix.lower() not in _WRITERS:
            raise InputError(f"--to takes a file that ends in {', '.join(_WRITERS)}, and got {to}")
        _, _, record = chosen_run(run_id, state)
        if record.errors_path is None:
            incomplete = f"it is not complete ({record.status.value}), and failed rows are gathered at its end"
            say(f"run {record.run_id}: {'no row failed' if record.account else incomplete}")
            return
        frame = pl.read_parquet(record.errors_path, glob=False)
        if cause:
            frame = frame.filter(pl.col("cause").is_in(cause))
        if to is not None:
            _write(frame, to)
            say(f"{len(frame):,} rows written to {to}")
        elif as_json:
            print_json(frame.to_dicts())
        else:
            _print_errors(frame, most)


def verify(run_id: str | None = RUN, state: str | None = STATE, as_json: bool = JSON) -> None:
    """Prove that every row of a run has one fate, and every published file its checksum."""
    with clear_errors(as_json=as_json):
        from penstock.execute.publish import plan_parts
        from penstock.plan.model import read_plan
        from penstock.runs.record import PLAN
        from penstock.runs.verify import verify_run
        from penstock.spec.model import restore
        from penstock.tables.state import State

        root, folder, record = chosen_run(run_id, state)
        if record.account is None:
            raise InputError(
                f"run {record.run_id} is not complete ({record.status.value}); there is nothing to prove yet"
            )
        plan = read_plan(folder / PLAN)
        spec = restore(plan.spec)
        outputs = [spec.outputs[one.number].at(Path(one.path)) for one in record.outputs]
        problems = verify_run(record, plan_parts(plan, State(root, record.pipeline)), plan.ends, outputs)
        if as_json:
            print_json({"run": record.run_id, "ok": not problems, "problems": problems})
        elif problems:
            for problem in problems:
                say(f"- {problem}")
        else:
            account = record.account
            files = sum(len(output.files) for output in record.outputs)
            say(
                f"run {record.run_id} holds: {came_in(account)} = {account.written:,} written + "
                f"{account.filtered:,} filtered + {account.merged:,} merged + {account.failed:,} failed; "
                f"{files:,} file{'s' if files != 1 else ''} with the right SHA-256"
            )
        if problems:
            raise SystemExit(int(ExitCode.ROWS_FAILED))


def _print_errors(frame: pl.DataFrame, most: int) -> None:
    keys = frame.columns[: frame.columns.index("partition")]
    for row in frame.head(most).iter_rows(named=True):
        say(_error_line(row, keys))
    if len(frame) > most:
        say(f"… and {len(frame) - most:,} more; all of them with --to failed.csv")


def _error_line(row: dict[str, Any], keys: list[str]) -> str:
    place = f"{Path(row['file']).name}:{row['line']}" if row["file"] else ""
    named = ", ".join(f"{key}={row[key]}" for key in keys if row[key] is not None) or place
    text = " ".join((row["text"] or "").split())[:60]
    return f"{named:<24} {row['step']:<12} {row['cause']:<16} {row['message']}" + (f"  [{text}]" if text else "")


def _write(frame: pl.DataFrame, path: Path) -> None:
    try:
        getattr(frame, _WRITERS[path.suffix.lower()])(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None
