"""From finished parts to the published outputs: the account is proven first, then everything is put in place."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import AccountError, InputError, StorageFailed, TooManyFailures
from penstock.execute.baseline import Left
from penstock.execute.deciding import merged_rows
from penstock.execute.keeping import Former
from penstock.execute.setup import keys_of
from penstock.items import Cause
from penstock.memory import trim
from penstock.outputs import Origin, Prepared
from penstock.plan.make import beside
from penstock.plan.model import Plan
from penstock.runs.account import Account, SegmentParts, close_account
from penstock.runs.record import ERRORS, MERGED, OutputRecord
from penstock.spec import Spec
from penstock.tables.failures import read_errors
from penstock.tables.parts import read_counts, rows_of, whole_or_absent
from penstock.tables.state import State

if TYPE_CHECKING:
    import polars as pl

_SCRATCH = "prepared"
_LEAST_ROWS = 200
"""As for rows that steps refuse."""
MOST_COMPARED = 2_000_000
"""Rows of a result up to which its keys are compared."""

Files = list[tuple[Path, Path]]
"""Of each partition the part and the errors part."""


@dataclass(frozen=True, slots=True)
class Published:
    """What stands where.

    Attributes:
        errors: the errors table; None when no row failed.
        merged: the table of merged rows; None when there is none.
        carried_rows: rows whose answers had been paid before.
        notes: what is no failure but worth knowing.
    """

    account: Account
    outputs: list[OutputRecord]
    errors: Path | None
    merged: Path | None
    carried_rows: int
    notes: list[str] = field(default_factory=list)


def plan_parts(plan: Plan, state: State) -> list[tuple[str, str | None, Files]]:
    """For each segment that has rows, in order: its id, the segment it reads, and its files."""
    parts: list[tuple[str, str | None, Files]] = []
    for segment in plan.segments:
        if not segment.whole:
            files = [state.part_files(segment.id, one.fingerprints[segment.id]) for one in plan.partitions]
            parts.append((segment.id, segment.reads, [(one.part, one.errors) for one in files]))
    return parts


def publish(
    plan: Plan,
    spec: Spec,
    state: State,
    folder: Path,
    *,
    batch: str = "",
    nothing_answered: bool = False,
    left: Sequence[Sequence[Left]] = (),
    starting: Callable[[], None] = lambda: None,
) -> Published:
    """Prove the account, write the run's errors table, and publish every output.

    Args:
        batch: what names the rows of this run and of those that it goes on with.
        nothing_answered: the run sent requests, and not one succeeded.
        left: of incremental pipelines and for each output, the runs whose rows may stand in it, the newest first.
        starting: called when all is proven and prepared, right before the first output is put in place.

    Raises:
        AccountError: a part is missing, or rows do not add up; nothing is published.
        TooManyFailures: no row has an answer, so that publishing would only take away what stands there.
        StorageFailed: an output cannot be written.
    """
    # What tasks needed is free now; what looks at all rows needs some of its own.
    trim()
    parts = plan_parts(plan, state)
    counts = [SegmentParts(segment, reads, _counts(files)) for segment, reads, files in parts]
    files = {segment: [part for part, _ in found] for segment, _, found in parts}
    try:
        former = [
            Former(spec.incremental_settings, state, number, left[number] if left else ())
            for number in range(len(plan.ends))
        ]
        kept = [one.kept(files[end], spec.source.keys, folder) for one, end in zip(former, plan.ends, strict=True)]
        prepared = _prepared(plan, spec, files, kept, folder / _SCRATCH)
        account = close_account(counts, plan.ends, [_causes(one.refused) for one in prepared])
        refused = [one.refused for one in prepared if one.refused is not None]
        errors = _write_errors([files for _, _, files in parts], refused, folder, account.failed)
        _check_refused(spec, account, refused)
        carried = _carried_rows(plan, {one.segment: one.counts for one in counts})
        asked = {cause: count for cause, count in account.failures.items() if Cause(cause).asked}
        if nothing_answered and asked and not carried and errors is not None and spec.errors.stop_above < 1:
            raise TooManyFailures(_all_failed(asked, errors))
        if spec.errors.path:
            _publish_errors(errors, beside(Path(spec.errors.path), plan.rehearsal))
        merged = _write_merged(plan, state, folder, account.merged)
        models = tuple(dict.fromkeys(step.model for step in spec.api_steps))
        origin = Origin(pipeline=plan.pipeline, run=plan.run_id, batch=batch, models=models, prices=_prices(counts))
        origins = [replace(origin, replaces=one.replaced()) for one in former]
        starting()
        outputs, notes = _put_in_place(prepared, account, origins, [rows_of(one) if one else 0 for one in kept])
    finally:
        shutil.rmtree(folder / _SCRATCH, ignore_errors=True)
    notes += _repeated_keys(plan, spec, files)
    return Published(account, outputs, errors, merged, carried, notes)


def _prepared(
    plan: Plan, spec: Spec, files: Mapping[str, list[Path]], kept: Sequence[Path | None], scratch: Path
) -> list[Prepared]:
    """Every output at its place, with the rows that it cannot take; `kept` holds those of before that stay in it."""
    found: list[Prepared] = []
    for number, (output, target, end) in enumerate(zip(spec.outputs, plan.targets, plan.ends, strict=True)):
        keys = keys_of(spec, plan, plan.segment(end))
        added = kept[number]
        parts = [*files[end], *([added] if added is not None else [])]
        try:
            found.append(output.at(Path(target)).prepare(parts, keys, scratch / str(number)))
        except InputError as error:
            raise _unwritable(error) from error
    return found


def _put_in_place(
    prepared: Sequence[Prepared], account: Account, origins: Sequence[Origin], kept: Sequence[int]
) -> tuple[list[OutputRecord], list[str]]:
    outputs: list[OutputRecord] = []
    notes: list[str] = []
    for number, one in enumerate(prepared):
        try:
            done = one.publish(origins[number])
        except InputError as error:
            raise _unwritable(error) from error
        refused = _causes(one.refused)
        outputs.append(
            OutputRecord(
                path=str(done.path),
                rows=done.rows,
                kept=kept[number],
                files=done.files,
                number=number,
                refused=refused,
            )
        )
        notes += done.notes
        expected = account.outputs[number] + kept[number]
        if done.rows != expected:
            raise AccountError(f"{done.path} has {done.rows} rows and the account {expected}")
    return outputs, notes


def _unwritable(error: InputError) -> StorageFailed:
    return StorageFailed(f"{error}, then resume; all answers are kept")


def _causes(refused: pl.DataFrame | None) -> dict[str, int]:
    """Rows that an output refused, by cause."""
    return {} if refused is None else dict(refused.group_by("cause").len().sort("cause").iter_rows())


def _check_refused(spec: Spec, account: Account, refused: Sequence[pl.DataFrame]) -> None:
    """Stop where outputs refuse more rows than are allowed to fail; steps have kept to that long before.

    Raises:
        TooManyFailures: they do. Nothing was published.
    """
    count = sum(map(len, refused))
    rows = count + account.written
    if count and rows >= _LEAST_ROWS and count > spec.errors.stop_above * rows:
        example = str(refused[0]["message"][0]).rstrip(".")
        raise TooManyFailures(
            f"{count:,} of {rows:,} rows cannot be written, which is more than errors.stop_above allows "
            f"({spec.errors.stop_above:.0%}), for example: {example}. Nothing was published; mend the data or the "
            "output, or allow more, and run again"
        )


def _prices(counts: Sequence[SegmentParts]) -> str:
    return next((part["prices"] for one in counts for part in one.counts if "prices" in part), "")


def _all_failed(asked: dict[str, int], errors: Path) -> str:
    import polars as pl

    rows = pl.scan_parquet(errors, glob=False).filter(pl.col("cause").is_in(list(asked)))
    example = rows.select("message").head(1).collect().item().rstrip(".")
    causes = ", ".join(f"{cause} {count:,}" for cause, count in asked.items())
    return (
        f"no request succeeded ({causes}), for example: {example}. Nothing was published, and what stood there is as "
        "it was. Mend the cause and resume; errors.stop_above: 100% publishes such a result all the same"
    )


def _publish_errors(errors: Path | None, target: Path) -> None:
    if errors is None:
        target.unlink(missing_ok=True)
        return
    with whole_or_absent(target) as temporary:
        shutil.copyfile(errors, temporary)


def _repeated_keys(plan: Plan, spec: Spec, files: dict[str, list[Path]]) -> list[str]:
    """What to say of rows of a result whose key another row has too."""
    notes: list[str] = []
    for end in dict.fromkeys(plan.ends):
        keys = keys_of(spec, plan, plan.segment(end))
        named = ", ".join(keys)
        repeated = _repeated(files[end], keys)
        if repeated is None:
            notes.append(f"whether a key ({named}) stands twice was not looked at, for the number of rows")
        elif repeated:
            notes.append(f"{repeated:,} rows have a key ({named}) that another row has too")
    return list(dict.fromkeys(notes))


def _repeated(files: list[Path], keys: list[str]) -> int | None:
    """Rows whose key another row has too, by their hashes; 0 when the key columns are not in the result.

    None above `MOST_COMPARED` rows: comparing takes memory for each row, and memory must stay flat.
    """
    import polars as pl
    from pyarrow import parquet

    if not files or not set(keys) <= set(pl.read_parquet_schema(files[0])):
        return 0
    if sum(parquet.read_metadata(file).num_rows for file in files) > MOST_COMPARED:
        return None
    hashes = [pl.read_parquet(file, columns=keys, glob=False).hash_rows(seed=0) for file in files]
    ordered = pl.concat(hashes).sort()
    return int((ordered == ordered.shift(1)).sum() or 0)


def _carried_rows(plan: Plan, counts: Mapping[str, Sequence[Mapping[str, Any]]]) -> int:
    """Rows of the last API step whose answers were paid before: whole parts, and what journals and old parts held."""
    asking = [segment.id for segment in plan.segments if segment.api][-1:]
    parts = [one for segment in asking for one in counts[segment]]
    return sum(one["carried"] if one["run"] == plan.run_id else one["written"] for one in parts)


def _counts(files: Files) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for part, _ in files:
        one = read_counts(part)
        if one is None:
            raise AccountError(f"the part {part} is missing although its task ended")
        found.append(one)
    return found


def _write_errors(parts: Sequence[Files], refused: Sequence[pl.DataFrame], folder: Path, failed: int) -> Path | None:
    frame = read_errors([errors for files in parts for _, errors in files], refused)
    return _write_counted(frame, folder / ERRORS, failed, "failed and the errors parts hold")


def _write_merged(plan: Plan, state: State, folder: Path, merged: int) -> Path | None:
    return _write_counted(merged_rows(plan, state), folder / MERGED, merged, "were merged and the decisions name")


def _write_counted(frame: pl.DataFrame | None, target: Path, expected: int, what: str) -> Path | None:
    """Write a table that must have as many rows as were counted; None, and no file, when there are none."""
    found = 0 if frame is None else len(frame)
    if found != expected:
        raise AccountError(f"{expected} rows {what} {found}; run the pipeline again")
    if frame is None:
        return None
    with whole_or_absent(target) as temporary:
        frame.write_parquet(temporary)
    return target
