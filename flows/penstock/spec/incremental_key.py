"""The `incremental:` key: every run pays for what is new or changed, and the output is whole each time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from penstock.sources import SourceSettings
from penstock.spec.branches import columns_at
from penstock.spec.columns import PlacedStep
from penstock.spec.positions import Document
from penstock.spec.positions import Path as Place
from penstock.steps import Columns

KEYLESS = (
    "the source has no `key`, so rows are known by their content: nothing that was answered is paid for again, also "
    "when rows move, but a changed row counts as one deleted and one new, and the names of moved rows change"
)


class Incremental(BaseModel):
    """Runs that pay only for rows that are new or whose input changed since the last complete run."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    on_delete: Literal["remove", "keep"] = Field(
        default="remove",
        description=(
            "What becomes of results whose row is no longer in the source: `remove` leaves them out, `keep` leaves "
            "them in as they were. `keep` needs a `key` of the source, which must reach every output."
        ),
    )
    keep_runs: int = Field(
        default=2,
        ge=1,
        description=(
            "Complete runs whose answers stay on the disk; those of older ones are removed. With 2, a night with half "
            "of the source missing does not make the next one pay for the other half."
        ),
        examples=[3],
    )


def check_incremental(  # noqa: PLR0917  # all that the key has to do with
    document: Document,
    given: Any,
    source: SourceSettings | None,
    steps: Sequence[PlacedStep],
    outputs: Sequence[tuple[Place, Any]],
    columns: Sequence[Columns] | None,
) -> list[str]:
    """Add a mistake for what does not go with incremental runs; returns what is no mistake but worth knowing.

    Args:
        given: the key's value as read; None or False where runs are not incremental.
        columns: of the source and after each step; None where they are not known.
    """
    if not given:
        return []
    for path, output in outputs:
        if getattr(output, "mode", "") == "append" and not getattr(output, "key", None):
            document.add(
                document.find((*path, "mode"))[1].span,
                "with `incremental` every run publishes all rows, and appending would have each of them many times",
                "write `mode: replace`, or `mode: upsert` with a key where the output has it",
            )
    keeps = isinstance(given, Incremental) and given.on_delete == "keep"
    keys = source.keys if source is not None else []
    if source is not None and not keys:
        if keeps:
            document.add(
                document.find(("incremental", "on_delete"))[1].span,
                "`on_delete: keep` needs a `key` in `source`: without one a deleted row is not told from a changed one",
            )
        return [KEYLESS]
    if keeps and columns is not None:
        for path, output in outputs:
            if output.kind == "finetune":
                document.add(
                    document.find((*path, "uses"))[1].span,
                    "training files are made of the rows that are there, and `on_delete: keep` would add others",
                    "write `on_delete: remove`, or make the files in a pipeline of their own",
                )
            rows = columns_at(columns, steps, output.reads)
            if lost := [key for key in keys if rows and key not in rows]:
                document.add(
                    document.find((*path, "uses"))[1].span,
                    f"the key `{lost[0]}` does not reach this output, and `on_delete: keep` goes by it",
                    "keep the column in `select`",
                )
    return []
