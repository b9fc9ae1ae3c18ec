"""From finished parts to the published output: the account is proven first, then everything is put in place."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.errors import AccountError, InputError, StorageFailed, TooManyFailures
from penstock.execute.setup import keys_of
from penstock.items import Cause
from penstock.plan.make import beside
from penstock.plan.model import Plan
from penstock.runs.account import Account, close_account
from penstock.runs.record import ERRORS, OutputRecord
from penstock.spec import Spec
from penstock.tables.failures import read_errors
from penstock.tables.parts import read_counts, whole_or_absent
from penstock.tables.state import State

MOST_COMPARED = 2_000_000
"""Rows of a result up to which its keys are compared."""


@dataclass(frozen=True, slots=True)
class Published:
    """What stands where; `errors` is None when no row failed; `carried_rows` had been paid before."""

    account: Account
    outputs: list[OutputRecord]
    errors: Path | None
    carried_rows: int
    repeated_keys: int | None


def plan_parts(plan: Plan, state: State) -> list[tuple[str, list[tuple[Path, Path]]]]:
    """For each segment in order, the part and the errors part of each partition."""
    parts: list[tuple[str, list[tuple[Path, Path]]]] = []
    for segment in plan.segments:
        files = [state.part_files(segment.id, one.fingerprints[segment.id]) for one in plan.partitions]
        parts.append((segment.id, [(one.part, one.errors) for one in files]))
    return parts


def publish(plan: Plan, spec: Spec, state: State, folder: Path, *, nothing_answered: bool = False) -> Published:
    """Prove the account, write the run's errors table, and publish every output.

    Args:
        nothing_answered: the run sent requests, and not one succeeded.

    Raises:
        AccountError: a part is missing, or rows do not add up; nothing is published.
        TooManyFailures: no row has an answer, so that publishing would only take away what stands there.
        StorageFailed: an output cannot be written.
    """
    parts = plan_parts(plan, state)
    counts = _counts(parts)
    account = close_account(counts)
    errors = _write_errors(parts, folder, account.failed)
    carried = _carried_rows(plan, dict(counts))
    asked = {cause: count for cause, count in account.failures.items() if Cause(cause).asked}
    if nothing_answered and asked and not carried and errors is not None and spec.errors.stop_above < 1:
        raise TooManyFailures(_all_failed(asked, errors))
    if spec.errors.path:
        _publish_errors(errors, beside(Path(spec.errors.path), plan.rehearsal))
    files = [part for part, _ in parts[-1][1]]
    outputs: list[OutputRecord] = []
    for output, target in zip(spec.outputs, plan.targets, strict=True):
        try:
            done = output.model_copy(update={"path": target}).publish(files)
        except InputError as error:
            raise StorageFailed(f"{error}, then resume; all answers are kept") from error
        outputs.append(OutputRecord(path=str(done.path), rows=done.rows, files=done.files))
        if done.rows != account.written:
            raise AccountError(f"{done.path} has {done.rows} rows and the account {account.written}")
    return Published(account, outputs, errors, carried, _repeated_keys(files, keys_of(spec), account.written))


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


def _repeated_keys(files: list[Path], keys: list[str], rows: int) -> int | None:
    """Rows of the result whose key another row has too, by their hashes; 0 when the key columns are not in it.

    None above `MOST_COMPARED` rows: comparing takes memory for each row, and memory must stay flat.
    """
    import polars as pl

    if not files or not set(keys) <= set(pl.read_parquet_schema(files[0])):
        return 0
    if rows > MOST_COMPARED:
        return None
    hashes = [pl.read_parquet(file, columns=keys, glob=False).hash_rows(seed=0) for file in files]
    ordered = pl.concat(hashes).sort()
    return int((ordered == ordered.shift(1)).sum() or 0)


def _carried_rows(plan: Plan, counts: dict[str, list[dict[str, Any]]]) -> int:
    """Rows of the last API step whose answers were paid before: whole parts, and what journals and old parts held."""
    asking = [segment.id for segment in plan.segments if segment.api][-1:]
    parts = [one for segment in asking for one in counts[segment]]
    return sum(one["carried"] if one["run"] == plan.run_id else one["written"] for one in parts)


def _counts(parts: list[tuple[str, list[tuple[Path, Path]]]]) -> list[tuple[str, list[dict[str, Any]]]]:
    counts: list[tuple[str, list[dict[str, Any]]]] = []
    for segment, files in parts:
        found: list[dict[str, Any]] = []
        for part, _ in files:
            one = read_counts(part)
            if one is None:
                raise AccountError(f"the part {part} is missing although its task ended")
            found.append(one)
        counts.append((segment, found))
    return counts


def _write_errors(parts: list[tuple[str, list[tuple[Path, Path]]]], folder: Path, failed: int) -> Path | None:
    frame = read_errors([errors for _, files in parts for _, errors in files])
    found = 0 if frame is None else len(frame)
    if found != failed:
        raise AccountError(f"{failed} rows failed and the errors parts hold {found}; run the pipeline again")
    if frame is None:
        return None
    target = folder / ERRORS
    with whole_or_absent(target) as temporary:
        frame.write_parquet(temporary)
    return target
