"""Carries out a barrier step on a table as a run does: a look of each partition, one decision, rows by their fates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import polars as pl

from penstock.steps.base import FATE, FILTERED, INTO, KEY, MERGED, PARTITION, ROW, SIMILARITY, BarrierStep

KEY_COLUMN = "id"


@dataclass(frozen=True)
class Carried:
    """A table after a barrier: in the order of the table, with the decision's columns."""

    rows: pl.DataFrame

    @property
    def kept(self) -> pl.DataFrame:
        return self.rows.filter(pl.col(FATE).is_null())

    @property
    def filtered(self) -> pl.DataFrame:
        return self.rows.filter(pl.col(FATE) == FILTERED)

    @property
    def merged(self) -> pl.DataFrame:
        return self.rows.filter(pl.col(FATE) == MERGED)

    @property
    def into(self) -> dict[str, str]:
        """Key of a merged row to the key of the row that stands for it."""
        return dict(zip(self.merged[KEY].to_list(), self.merged[INTO].to_list(), strict=True))

    @property
    def kept_keys(self) -> set[str]:
        return set(self.kept[KEY].to_list())

    def by_key(self, column: str) -> dict[str, object]:
        return dict(zip(self.rows[KEY].to_list(), self.rows[column].to_list(), strict=True))


def carry_out(
    step: BarrierStep, table: pl.DataFrame, cuts: Sequence[int] = (), order: Sequence[int] | None = None
) -> Carried:
    """Cut the table before the rows `cuts`, take the pieces in another order, and let the step decide.

    The column `id` names rows; numbers of rows begin anew in each partition, and leave one out as an error row does.
    """
    ends = [0, *sorted(min(cut, len(table)) for cut in cuts), len(table)]
    pieces = [table[begin:end] for begin, end in pairwise(ends)]
    pieces = [pieces[place] for place in (order if order is not None else range(len(pieces)))]
    looks: list[pl.DataFrame] = []
    numbered: list[pl.DataFrame] = []
    for partition, piece in enumerate(pieces):
        frame = piece.with_columns(pl.int_range(1, 1 + pl.len(), dtype=pl.Int64).alias(ROW))
        look = step.look(frame.lazy())
        looked = look.collect()
        assert look.collect_schema() == looked.schema
        assert looked[ROW].to_list() == frame[ROW].to_list()
        place = pl.lit(partition, dtype=pl.Int64).alias(PARTITION)
        key = frame[KEY_COLUMN].cast(pl.String).alias(KEY)
        looks.append(looked.with_columns(place, key))
        numbered.append(frame.with_columns(place, key))
    rows = pl.concat(numbered)
    decision = step.decide(pl.concat(looks, how="vertical_relaxed"))
    check(step, rows, decision)
    added = [name for name in (INTO, SIMILARITY) if name not in decision.columns]
    decision = decision.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in added)
    joined = rows.join(decision, on=[PARTITION, ROW], how="left", maintain_order="left")
    return Carried(joined.sort(KEY))


def check(step: BarrierStep, rows: pl.DataFrame, decision: pl.DataFrame) -> None:
    """What a run asks of any decision: each row has one fate, and what is merged is merged into a row that goes on."""
    places = decision.select(PARTITION, ROW).sort(PARTITION, ROW)
    assert places.rows() == rows.select(PARTITION, ROW).sort(PARTITION, ROW).rows()
    assert set(decision[FATE].unique().to_list()) <= {None, FILTERED, MERGED}
    expected = set(step.columns_after({})) | {PARTITION, ROW, FATE}
    assert expected <= set(decision.columns) <= expected | {INTO, SIMILARITY}
    if INTO not in decision.columns:
        assert (decision[FATE] == MERGED).sum() == 0
        return
    keyed = decision.join(rows.select(PARTITION, ROW, KEY), on=[PARTITION, ROW])
    merged = keyed.filter(pl.col(FATE) == MERGED)
    going_on = set(keyed.filter(pl.col(FATE).is_null())[KEY].to_list())
    assert set(merged[INTO].to_list()) <= going_on
    assert merged[SIMILARITY].is_between(0, 1).all()
    others = keyed.filter((pl.col(FATE) != MERGED).fill_null(value=True))
    assert others[INTO].null_count() == len(others)
