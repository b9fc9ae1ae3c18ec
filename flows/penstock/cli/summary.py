"""The account that a run ends with, for people."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.cli.exit_codes import ExitCode
from penstock.values import format_duration, format_size, format_usd

if TYPE_CHECKING:
    from penstock.runs.account import Account
    from penstock.runs.record import RunRecord

_HEADLINES = {
    "completed": "completed",
    "completed_with_errors": "completed, with rows in the errors table",
    "stopped": "stopped early",
    "interrupted": "interrupted",
    "crashed": "crashed",
    "failed": "failed",
    "running": "is running",
}


def exit_code(record: RunRecord) -> ExitCode:
    """The exit code that tells how a run ended."""
    return {
        "completed": ExitCode.DONE,
        "interrupted": ExitCode.INTERRUPTED,
        "stopped": ExitCode.STOPPED,
        "crashed": ExitCode.STOPPED,
    }.get(record.status.value, ExitCode.ROWS_FAILED)


def summary(record: RunRecord, root: Path, *, sandbox: bool = False) -> Iterator[str]:
    """The lines of a run's account."""
    took = f" in {format_duration(record.seconds)}" if record.seconds is not None else ""
    yield f"{record.pipeline}: run {record.run_id} {_headline(record)}{took}"
    if record.message:
        yield f"  {record.message}"
    yield ""
    if record.account is not None:
        yield from _rows(record.account)
        yield from _changes(record)
    usage = record.usage
    retried = f", {usage.retried:,} of them again" if usage.retried else ""
    yield _line("requests", f"{usage.requests:,}{retried}")
    yield _line("tokens", f"{usage.prompt_tokens:,}" + _completion(usage.completion_tokens, usage.cached_tokens))
    if usage.seconds:
        yield _line("heard", f"{format_duration(usage.seconds)} of sound")
    if usage.characters:
        yield _line("spoken", f"{usage.characters:,} characters")
    if usage.images:
        yield _line("drawn", f"{usage.images:,} images")
    price = (
        f"{format_usd(usage.usd)} at list price"
        if usage.usd is not None
        else "unknown: a price or a count of tokens is not known"
    )
    yield _line("dollars", price + (" (the sandbox charges nothing)" if sandbox else ""))
    for note in record.notes:
        yield _line("note", note)
    if record.carried_rows:
        yield _line("carried", f"{record.carried_rows:,} rows whose answers were paid in earlier runs")
    yield ""
    yield from _places(record, root)
    yield from _next_step(record, root)


def came_in(account: Account) -> str:
    """The rows that came in, as a sum where there are others than those read."""
    more = [f"{count:,} {word}" for count, word in ((account.added, "added"), (account.branched, "branched")) if count]
    return " + ".join([f"{account.read:,} rows read", *more])


def _changes(record: RunRecord) -> Iterator[str]:
    """How the source changed since the last complete run, and what was kept of what is gone."""
    changes = record.changes
    if changes is None:
        return
    yield _line("new", f"{changes.new:,}")
    if changes.since:
        yield _line("changed", f"{changes.changed:,}")
        yield _line("unchanged", f"{changes.unchanged:,}")
        kept = sum(output.kept for output in record.outputs)
        yield _line("deleted", f"{changes.deleted:,}  (since run {changes.since})")
        if kept:
            yield _line("kept", f"{kept:,}  (rows of the result that are no longer in the source)")
    yield ""


def _rows(account: Account) -> Iterator[str]:
    yield _line("rows read", f"{account.read:,}")
    if account.added:
        yield _line("added", f"{account.added:,}  (one row became several)")
    if account.branched:
        yield _line("branched", f"{account.branched:,}  (rows that go several ways)")
    several = " + ".join(f"{rows:,}" for rows in account.outputs) if len(account.outputs) > 1 else ""
    yield _line("written", f"{account.written:,}" + (f"  ({several})" if several else ""))
    steps = [f"{step} {count:,}" for one in account.segments for step, count in one.filtered.items() if count]
    yield _line("filtered", f"{account.filtered:,}" + (f"  ({', '.join(steps)})" if steps else ""))
    if account.merged:
        yield _line("merged", f"{account.merged:,}")
    causes = ", ".join(f"{cause} {count:,}" for cause, count in account.failures.items())
    yield _line("failed", f"{account.failed:,}" + (f"  ({causes})" if causes else ""))
    yield ""


def _completion(completion: int, cached: int) -> str:
    more = [f"{completion:,} completion"] if completion else []
    more += [f"{cached:,} cached"] if cached else []
    return f" prompt, {', '.join(more)}" if more else ""


def _places(record: RunRecord, root: Path) -> Iterator[str]:
    for output in record.outputs:
        size = format_size(sum(entry["bytes"] for entry in output.files))
        count = len(output.files)
        yield _line("result", f"{short(Path(output.path))}  ({count} file{'s' if count != 1 else ''}, {size})")
    if record.rehearsal:
        yield _line("", f"({record.rehearsal}: the pipeline's own output is untouched)")
    if record.merged_path:
        yield _line("merged", f"{short(Path(record.merged_path))}")
    if record.errors_path:
        yield _line("errors", f"{short(Path(record.errors_path))}")
    yield _line("record", f"{short(root / record.pipeline / 'runs' / record.run_id / 'run.json')}")
    if record.flow_run_url:
        yield _line("prefect", record.flow_run_url)


def _headline(record: RunRecord) -> str:
    if record.status.value == "completed_with_errors" and record.account is not None and not record.account.failed:
        return "completed, but not all that was to follow"
    return _HEADLINES[record.status.value]


def _next_step(record: RunRecord, root: Path) -> Iterator[str]:
    status = record.status.value
    if status in {"stopped", "interrupted", "crashed", "failed"}:
        yield f"\nGo on with: {command('resume', record, root)}"
    elif record.account is not None and record.account.failed:
        yield f"\nLook at the failed rows with: {command('errors', record, root)}"


def command(name: str, record: RunRecord, root: Path) -> str:
    """A command about this run that works where the user stands."""
    here = Path.cwd()
    near = root.name == ".penstock" and here in {root.parent, root.parent.parent}
    state = "" if near or os.environ.get("PENSTOCK_STATE") == str(root) else f" --state {shlex.quote(str(short(root)))}"
    return f"penstock {name} {record.run_id}{state}"


def short(path: Path) -> Path:
    """The path from here where it is below, whole elsewhere."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _line(label: str, text: str) -> str:
    return f"  {label:<10} {text}"
