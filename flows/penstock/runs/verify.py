"""Proof after the fact: every row of a run has one fate, and every file is as it was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.errors import AccountError
from penstock.outputs import Output
from penstock.runs.account import SegmentParts, close_account
from penstock.runs.record import RunRecord
from penstock.tables.file_lists import read_file_lists
from penstock.tables.parts import read_counts
from penstock.tables.state import PartFiles


def verify_run(
    record: RunRecord,
    parts: Sequence[tuple[str, str | None, Sequence[tuple[Path, Path]]]],
    ends: Sequence[str],
    outputs: Sequence[Output],
) -> list[str]:
    """What is wrong with a complete run, as sentences; empty when everything holds.

    Args:
        parts: for each segment in order its id, the segment it reads, and of each partition the part and errors part.
        ends: the segment that each output publishes.
        outputs: as they stood in the pipeline, at the places where the run published them.
    """
    problems: list[str] = []
    counts: list[SegmentParts] = []
    for segment, reads, files in parts:
        found: list[Mapping[str, Any]] = []
        for part, errors in files:
            one = read_counts(part)
            if one is None:
                problems.append(f"the part {part} is missing or damaged")
                continue
            found.append(one)
            if one["rows"] != one["written"]:
                problems.append(f"{part} has {one['rows']} rows and says {one['written']}")
            problems += _wrong_rows(errors, one["failed"], "its part")
            problems += _lost_files(part, one)
        counts.append(SegmentParts(segment, reads, found))
    if problems:
        return problems
    try:
        account = close_account(counts, ends, [one.refused for one in record.outputs])
    except AccountError as error:
        return [str(error)]
    if record.account is not None and account != record.account:
        problems.append("the account of the parts is not the one in the run record")
    if record.errors_path is not None:
        problems += _wrong_rows(Path(record.errors_path), account.failed, "the account")
    if record.merged_path is not None:
        problems += _wrong_rows(Path(record.merged_path), account.merged, "the account")
    for output, written, expected in zip(outputs, record.outputs, account.outputs, strict=True):
        damages = output.damage(written.files)
        rows = output.rows(written.files)
        if not damages and rows != expected + written.kept:
            damages = [f"{written.path} has {rows} rows and the account {expected + written.kept}"]
        problems += damages
    return problems


def _lost_files(part: Path, counts: Mapping[str, Any]) -> list[str]:
    """What is wrong with the files that a part's answers became, such as pictures."""
    if not counts.get("saved"):
        return []
    lists = read_file_lists(PartFiles.file_lists_of(part), counts["made"])
    if lists is None:
        return [f"the list of the files of {part} is missing or damaged; run the pipeline again to restore it"]
    lost = lists.lost()
    if not lost:
        return []
    others = f" and {len(lost) - 1:,} more files of its part" if len(lost) > 1 else ""
    return [f"{lost[0]}{others} cannot be found as written; run the pipeline again to restore what is lost, at no cost"]


def _wrong_rows(path: Path, expected: int, by: str) -> list[str]:
    rows = _rows(path)
    if rows is None:
        return [f"{path} is damaged"]
    return [] if rows == expected else [f"{path} has {rows} rows and {by} says {expected}"]


def _rows(path: Path) -> int | None:
    """Rows of a Parquet file, 0 where there is none, None where it cannot be read."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return int(parquet.read_metadata(path).num_rows)
    except FileNotFoundError:
        return 0
    except (pa.ArrowInvalid, OSError):
        return None
