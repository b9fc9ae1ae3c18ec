"""What Prefect's UI shows of a run besides its tasks: how far it is, its account, and a sample of the rows that failed.

All of it by plain HTTP, never in the way of the run: where the API does not answer, the run record still has it all.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.flow.rest import Api, ServerUnavailable, call
from penstock.flow.row_count import RowCount
from penstock.secrets import redact
from penstock.values import format_duration, format_size, format_usd

if TYPE_CHECKING:
    from penstock.engine.control import RunControl
    from penstock.plan.model import Plan
    from penstock.runs.record import RunRecord

EVERY_SECONDS = 5.0
MOST_ROWS = 50
"""Rows of the sample of failed rows."""
_LONGEST_TEXT = 300
_PATIENCE = 5.0


class _Progress(threading.Thread):
    """Keeps the progress artifact of a flow run up to date; each update is one request to the API."""

    def __init__(self, api: Api, flow_run_id: str, plan: Plan, control: RunControl) -> None:
        super().__init__(name="progress-artifact", daemon=True)
        self._api = api
        self._flow_run_id = flow_run_id
        self._rows = RowCount(plan)
        self._control = control
        self._over = threading.Event()
        self._artifact = ""
        self._shown: dict[str, Any] = {}

    def run(self) -> None:
        """Update every few seconds, and a last time at the end; quick runs have none."""
        while not self._over.wait(EVERY_SECONDS):
            self._update()
        if self._artifact:
            self._update()

    def end(self) -> None:
        """Stop, and wait for the thread."""
        self._over.set()
        self.join()

    def _update(self) -> None:
        meter = self._control.snapshot()
        failed = f", {meter['rows_failed']:,} failed" if meter["rows_failed"] else ""
        shown = {
            "data": round(100 * self._rows.share(meter), 1),
            "description": f"{self._rows.done(meter):,} of {self._rows.total:,} rows{failed}; "
            f"{meter['requests']:,} requests, {format_usd(meter['usd'])}",
        }
        if shown == self._shown:
            return
        # An API that is away for a moment gets the next update.
        with suppress(ServerUnavailable):
            if self._artifact:
                call(self._api, "PATCH", f"/artifacts/{self._artifact}", shown, timeout=5)
            else:
                made = {**shown, "type": "progress", "flow_run_id": self._flow_run_id}
                self._artifact = str(call(self._api, "POST", "/artifacts/", made, timeout=5).body["id"])
            self._shown = shown


@contextmanager
def showing_progress(api: Api, flow_run_id: str, plan: Plan, control: RunControl) -> Iterator[None]:
    """Show in Prefect how far the run is, for as long as this context lasts."""
    progress = _Progress(api, flow_run_id, plan, control)
    progress.start()
    try:
        yield
    finally:
        progress.end()


def show_end(api: Api, flow_run_id: str, record: RunRecord) -> bool:
    """Put the account of a closed run and a sample of its failed rows into Prefect; False where the API is away."""
    slug = record.pipeline.replace("_", "-")
    shown: list[dict[str, Any]] = [
        {
            "key": f"{slug}-summary",
            "type": "markdown",
            "data": summary_markdown(record),
            "description": f"Run {record.run_id} of {record.pipeline}: rows, tokens, dollars, files.",
        }
    ]
    if rows := failed_rows(record):
        shown.append(
            {
                "key": f"{slug}-failed-rows",
                "type": "table",
                "data": rows,
                "description": f"The first {len(rows)} failed rows of run {record.run_id}; all of them: "
                f"`penstock errors {record.run_id}`.",
            }
        )
    try:
        for one in shown:
            call(api, "POST", "/artifacts/", {**one, "flow_run_id": flow_run_id}, timeout=10, patience=_PATIENCE)
    except ServerUnavailable:
        return False
    return True


def failed_rows(record: RunRecord) -> list[dict[str, str]]:
    """The first failed rows as texts, without keys: what names a row, where it failed, why."""
    if record.errors_path is None or not Path(record.errors_path).is_file():
        return []
    import polars as pl

    frame = pl.scan_parquet(record.errors_path, glob=False).head(MOST_ROWS).collect()
    return [{name: _short(value) for name, value in row.items() if value is not None} for row in frame.to_dicts()]


def _short(value: Any) -> str:
    # Before it is cut: half a key would not be known as one.
    text = redact(str(value))
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


def summary_markdown(record: RunRecord) -> str:
    """The account of a closed run as Markdown: rows by fate, causes of failures, tokens, dollars, where things are."""
    took = f" in {format_duration(record.seconds)}" if record.seconds is not None else ""
    parts = [f"# {record.pipeline}: {record.status.value.replace('_', ' ')}{took}"]
    if record.message:
        parts.append(record.message)
    parts += [_table("rows", _rows(record)), _table("rows since the run before", _changes(record))]
    parts += [_table("cause of failed rows", _causes(record))]
    parts += [_table("sent in this run", _usage(record)), _table("where", _places(record))]
    parts += [f"- {note}" for note in record.notes]
    return redact("\n\n".join(part for part in parts if part) + "\n")


def _table(title: str, rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    lines = [f"| {name} | {text.replace('|', chr(92) + '|')} |" for name, text in rows]
    return "\n".join([f"| {title} | |", "|---|---|", *lines])


def _rows(record: RunRecord) -> list[tuple[str, str]]:
    account = record.account
    if account is None:
        return []
    fates = ("read", "added", "branched", "written", "filtered", "merged", "failed")
    counts = {name: getattr(account, name) for name in fates}
    rows = [(name, f"{count:,}") for name, count in counts.items() if count or name in {"read", "written", "failed"}]
    if record.carried_rows:
        rows.append(("paid in earlier runs", f"{record.carried_rows:,}"))
    return rows


def _changes(record: RunRecord) -> list[tuple[str, str]]:
    if record.changes is None:
        return []
    words = ("new", "changed", "unchanged", "deleted")
    return [(word, f"{getattr(record.changes, word):,}") for word in words]


def _causes(record: RunRecord) -> list[tuple[str, str]]:
    return [(cause, f"{count:,}") for cause, count in (record.account.failures if record.account else {}).items()]


def _usage(record: RunRecord) -> list[tuple[str, str]]:
    usage = record.usage
    again = f", {usage.retried:,} of them again" if usage.retried else ""
    return [
        ("requests", f"{usage.requests:,}{again}"),
        ("tokens of requests", f"{usage.prompt_tokens:,}"),
        ("tokens of answers", f"{usage.completion_tokens:,}"),
        ("dollars at list price", format_usd(usage.usd)),
    ]


def _places(record: RunRecord) -> list[tuple[str, str]]:
    files = [
        ("result", f"{one.path} ({one.rows:,} rows, {format_size(sum(file['bytes'] for file in one.files))})")
        for one in record.outputs
    ]
    more = {"failed rows": record.errors_path, "merged rows": record.merged_path, "pipeline": record.file}
    return [*files, *((name, path) for name, path in more.items() if path), ("machine", record.host)]
