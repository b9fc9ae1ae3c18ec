"""The account of rows: every row that came in went somewhere, per part, per segment and over all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from penstock.errors import AccountError


class SegmentAccount(BaseModel):
    """Where the rows of one segment went."""

    model_config = ConfigDict(frozen=True)

    segment: str = Field(description="The segment's id.")
    reads: str | None = Field(default=None, description="The segment whose rows came in; null for the source.")
    read: int = Field(description="Rows that came in.")
    added: int = Field(default=0, description="Rows made besides those that came in, where one became several.")
    written: int = Field(description="Rows that went on.")
    filtered: dict[str, int] = Field(description="Rows that steps dropped, by step.")
    merged: int = Field(default=0, description="Rows merged into another as duplicates.")
    failed: int = Field(description="Rows in the errors table.")


class Account(BaseModel):
    """Where the rows of a run went: ``read + added + branched = written + filtered + merged + failed``."""

    model_config = ConfigDict(frozen=True)

    read: int = Field(description="Rows read from the source.")
    added: int = Field(default=0, description="Rows made besides those read, where one became several.")
    branched: int = Field(default=0, description="Rows that went on in a further branch, or into a further output.")
    written: int = Field(description="Rows in the results, of all outputs together.")
    filtered: int = Field(description="Rows that steps dropped.")
    merged: int = Field(default=0, description="Rows merged into another as duplicates.")
    failed: int = Field(description="Rows in the errors table.")
    failures: dict[str, int] = Field(description="Rows in the errors table, by cause.")
    segments: list[SegmentAccount] = Field(description="The same for each segment.")
    outputs: list[int] = Field(default_factory=list, description="Rows of each output.")


@dataclass(frozen=True, slots=True)
class SegmentParts:
    """What the parts of one segment say of themselves, and the segment that they were made of."""

    segment: str
    reads: str | None
    counts: Sequence[Mapping[str, Any]]


def prove_part(counts: Mapping[str, Any]) -> None:
    """Check the counts of one part.

    Raises:
        AccountError: they do not add up.
    """
    filtered, merged, added = (sum(counts[name].values()) for name in ("filtered", "merged", "added"))
    out = counts["written"] + filtered + merged + counts["failed"]
    if counts["read"] + added != out:
        raise AccountError(
            f"segment {counts['segment']!r}, partition {counts['partition']}: {counts['read']} rows came in, {added} "
            f"were added, and {counts['written']} written + {filtered} filtered + {merged} merged + "
            f"{counts['failed']} failed make {out}. This is a defect of Penstock; please report it"
        )


def close_account(
    parts: Sequence[SegmentParts], ends: Sequence[str], refused: Sequence[Mapping[str, int]] = ()
) -> Account:
    """The account of a run from the counts of its parts.

    Args:
        parts: of each segment, each after the one it reads.
        ends: the segment that each output publishes.
        refused: of each output the rows that it could not take, by cause; of none if left out.

    Raises:
        AccountError: the rows do not add up within a part, between segments, or over all.
    """
    failures: dict[str, int] = {}
    segments: dict[str, SegmentAccount] = {}
    for one in parts:
        segments[one.segment] = _segment(one)
        for part in one.counts:
            for cause, number in part["failures"].items():
                failures[cause] = failures.get(cause, 0) + number
    for one_refused in refused:
        for cause, number in one_refused.items():
            failures[cause] = failures.get(cause, 0) + number
    outputs = [segments[end].written for end in ends]
    for place, one_refused in enumerate(refused):
        outputs[place] -= sum(one_refused.values())
    for segment in segments.values():
        before = segments[segment.reads].written if segment.reads else segment.read
        if before != segment.read:
            raise AccountError(
                f"segment {segment.reads!r} wrote {before} rows and {segment.segment!r} read {segment.read}"
            )
    takers = [*(segment.reads for segment in segments.values() if segment.reads), *ends]
    account = Account(
        read=next(segment.read for segment in segments.values() if segment.reads is None),
        added=sum(segment.added for segment in segments.values()),
        branched=sum((takers.count(name) - 1) * segment.written for name, segment in segments.items()),
        written=sum(outputs),
        filtered=sum(sum(segment.filtered.values()) for segment in segments.values()),
        merged=sum(segment.merged for segment in segments.values()),
        failed=sum(segment.failed for segment in segments.values()) + sum(sum(one.values()) for one in refused),
        failures=dict(sorted(failures.items())),
        segments=list(segments.values()),
        outputs=outputs,
    )
    came = account.read + account.added + account.branched
    out = account.written + account.filtered + account.merged + account.failed
    if came != out or sum(failures.values()) != account.failed:
        raise AccountError(f"{came} rows came and {out} have a fate: {account.model_dump()}")
    return account


def _segment(one: SegmentParts) -> SegmentAccount:
    filtered: dict[str, int] = {}
    for part in one.counts:
        prove_part(part)
        for step, number in part["filtered"].items():
            filtered[step] = filtered.get(step, 0) + number
    return SegmentAccount(
        segment=one.segment,
        reads=one.reads,
        read=sum(part["read"] for part in one.counts),
        added=sum(sum(part["added"].values()) for part in one.counts),
        written=sum(part["written"] for part in one.counts),
        filtered=filtered,
        merged=sum(sum(part["merged"].values()) for part in one.counts),
        failed=sum(part["failed"] for part in one.counts),
    )
