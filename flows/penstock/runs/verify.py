"""Proof after the fact: every row of a run has one fate, and every file is as it was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.errors import AccountError
from penstock.outputs.folder import damage
from penstock.runs.account import close_account
from penstock.runs.record import RunRecord
from penstock.tables.parts import read_counts


def verify_run(record: RunRecord, parts: Sequence[tuple[str, Sequence[tuple[Path, Path]]]]) -> list[str]:
    """What is wrong with a complete run, as sentences; empty when everything holds.

    Args:
        parts: for each segment in order, the part and the errors part of each partition.
    """
    problems: list[str] = []
    counts: list[tuple[str, list[Mapping[str, Any]]]] = []
    for segment, files in parts:
        found: list[Mapping[str, Any]] = []
        for part, errors in files:
            one = read_counts(part)
            if one is None:
                problems.append(f"the part {part} is missing or damaged")
                continue
            found.append(one)
            if one["rows"] != one["written"]:
                problems.append(f"{part} has {one['rows']} rows and says {one['written']}")
            if (failed := _rows(errors)) != one["failed"]:
                problems.append(f"{errors} has {failed} rows and its part says {one['failed']}")
        counts.append((segment, found))
    if problems:
        return problems
    try:
        account = close_account(counts)
    except AccountError as error:
        return [str(error)]
    if record.account is not None and account != record.account:
        problems.append("the account of the parts is not the one in the run record")
    for output in record.outputs:
        problems += damage(Path(output.path), output.files)
        rows = sum(_rows(Path(output.path) / entry["name"]) for entry in output.files)
        if rows != account.written:
            problems.append(f"{output.path} has {rows} rows and the account {account.written}")
    return problems


def _rows(path: Path) -> int:
    from pyarrow import parquet

    return parquet.read_metadata(path).num_rows if path.exists() else 0
