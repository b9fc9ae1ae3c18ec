"""The account of rows: every row that came in went somewhere, per part, per segment and over all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from penstock.errors import AccountError


class SegmentAccount(BaseModel):
    """Where the rows of one segment went."""

    model_config = ConfigDict(frozen=True)

    segment: str = Field(description="The segment's id.")
    read: int = Field(description="Rows that came in.")
    written: int = Field(description="Rows that went on.")
    filtered: dict[str, int] = Field(description="Rows that filters dropped, by step.")
    merged: int = Field(default=0, description="Rows merged into another as duplicates.")
    failed: int = Field(description="Rows in the errors table.")


class Account(BaseModel):
    """Where the rows of a run went: ``read = written + filtered + merged + failed``."""

    model_config = ConfigDict(frozen=True)

    read: int = Field(description="Rows read from the source.")
    written: int = Field(description="Rows in the result.")
    filtered: int = Field(description="Rows that filters dropped.")
    merged: int = Field(default=0, description="Rows merged into another as duplicates.")
    failed: int = Field(description="Rows in the errors table.")
    failures: dict[str, int] = Field(description="Rows in the errors table, by cause.")
    segments: list[SegmentAccount] = Field(description="The same for each segment.")


def prove_part(counts: Mapping[str, Any]) -> None:
    """Check the counts of one part.

    Raises:
        AccountError: they do not add up.
    """
    filtered = sum(counts["filtered"].values())
    out = counts["written"] + filtered + counts["failed"]
    if counts["read"] != out:
        raise AccountError(
            f"segment {counts['segment']!r}, partition {counts['partition']}: {counts['read']} rows came in and "
            f"{counts['written']} written + {filtered} filtered + {counts['failed']} failed make {out}. "
            "This is a defect of Penstock; please report it"
        )


def close_account(parts: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]) -> Account:
    """The account of a run from the counts of its parts, by segment in order.

    Raises:
        AccountError: the rows do not add up within a part, between segments, or over all.
    """
    segments: list[SegmentAccount] = []
    failures: dict[str, int] = {}
    for name, counts in parts:
        filtered: dict[str, int] = {}
        for part in counts:
            prove_part(part)
            for step, number in part["filtered"].items():
                filtered[step] = filtered.get(step, 0) + number
            for cause, number in part["failures"].items():
                failures[cause] = failures.get(cause, 0) + number
        segments.append(
            SegmentAccount(
                segment=name,
                read=sum(part["read"] for part in counts),
                written=sum(part["written"] for part in counts),
                filtered=filtered,
                failed=sum(part["failed"] for part in counts),
            )
        )
    for one, other in pairwise(segments):
        if one.written != other.read:
            raise AccountError(
                f"segment {one.segment!r} wrote {one.written} rows and {other.segment!r} read {other.read}"
            )
    account = Account(
        read=segments[0].read,
        written=segments[-1].written,
        filtered=sum(sum(segment.filtered.values()) for segment in segments),
        failed=sum(segment.failed for segment in segments),
        failures=dict(sorted(failures.items())),
        segments=segments,
    )
    out = account.written + account.filtered + account.merged + account.failed
    if account.read != out or sum(failures.values()) != account.failed:
        raise AccountError(f"{account.read} rows were read and {out} have a fate: {account.model_dump()}")
    return account
