"""What was answered before: which questions, and what the answers say, for steps that ask something of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.plan.model import Segment
from penstock.steps import ApiStep
from penstock.tables.answer_lists import digest_of
from penstock.tables.answers import AnswerStore

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_ASKED = "__asked"
Parts = Mapping[tuple[str, int], Path]
"""By segment and partition the parts whose rows are those that a run will have."""


@dataclass(frozen=True, slots=True)
class Paid:
    """What was answered before.

    Attributes:
        store: the answers.
        wires: by step, what names its answers.
        parts: those that stand.
    """

    store: AnswerStore
    wires: Mapping[str, str]
    parts: Parts

    @classmethod
    def of_now(cls, store: AnswerStore, segments: Sequence[Segment], parts: Parts) -> Paid:
        """With all that was answered until now."""
        store.refresh()
        return cls(store, {segment.id: segment.wire for segment in segments}, parts)

    def of(self, step: ApiStep, payloads: Collection[str]) -> set[str]:
        """Those payloads of a step that have an answer."""
        identities = {payload: digest_of(step.identity(payload)) for payload in payloads}
        known = set(self.store.known(self.wires[step.name], identities.values()))
        return {payload for payload, digest in identities.items() if digest in known}

    def filled(self, step: ApiStep, frame: pl.DataFrame, new: Sequence[str], mark: str) -> pl.DataFrame:
        """Rows with the answers that they have; `mark` is false where that is so.

        Rows that ask several things, and answers that become files, are left as they are.

        Args:
            frame: rows of which it is known what they ask, with empty columns `new`, and `mark`.
        """
        import polars as pl

        if step.saved or step.when is not None or frame.is_empty():
            return frame
        asked = [_digest(step, payload) for payload in step.payloads(frame).to_list()]
        answers = self._answers(step, {digest for digest in asked if digest is not None})
        if answers is None or not set(new) <= set(answers.columns):
            return frame
        found = frame.with_columns(
            pl.Series(_ASKED, [None if digest is None else digest.hex() for digest in asked], dtype=pl.String)
        ).join(answers, on=_ASKED, how="left", suffix="__found", maintain_order="left")
        values = [pl.col(f"{name}__found").cast(frame.schema[name], strict=False).alias(name) for name in new]
        return found.with_columns(*values, pl.col("__known").is_null().alias(mark)).select(frame.columns)

    def _answers(self, step: ApiStep, digests: set[bytes]) -> pl.DataFrame | None:
        """By digest the columns of the step as its table has them; None where there is no answer."""
        import polars as pl
        import pyarrow as pa

        batches = list(self.store.answers(self.wires[step.name], sorted(digests)))
        if not batches:
            return None
        kept = step.answer_schema()
        try:
            tables = [_as(batch, kept) for batch in batches]
        except (pa.ArrowException, ValueError):
            # Of another kind than is known before the first answer, such as vectors of an unknown length.
            return None
        whole = pa.concat_tables(tables)
        frame = pl.from_arrow(step.finished(whole.select(list(kept.names))))
        assert isinstance(frame, pl.DataFrame)  # noqa: S101  # for mypy: of a table
        names = [digest.hex() for batch in batches for digest in batch.column(0).to_pylist()]
        return frame.with_columns(pl.Series(_ASKED, names, dtype=pl.String), pl.lit(value=True).alias("__known"))


def _digest(step: ApiStep, payload: str | Sequence[str] | None) -> bytes | None:
    pieces = [payload] if isinstance(payload, str) else list(payload or ())
    return digest_of(step.identity(pieces[0])) if len(pieces) == 1 and not step.is_empty(pieces[0]) else None


def _as(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    """The answers of a batch, without digests and usage, by the names and types that the step gives them."""
    import pyarrow as pa

    columns = batch.columns[1 : 1 + len(schema)]
    return pa.table([column.cast(field.type) for column, field in zip(columns, schema, strict=True)], schema=schema)
