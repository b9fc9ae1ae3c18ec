"""`split_exact`: rows into named sets of exactly the size that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from penstock.errors import InputError
from penstock.expressions import Column
from penstock.steps.allotment import (
    STRATUM,
    UNITS,
    Amount,
    check_amounts,
    cuts,
    in_fair_order,
    strata,
    whole_numbers,
    with_key_chances,
)
from penstock.steps.base import FATE, FILTERED, KEY, PARTITION, ROW, BarrierStep, Columns
from penstock.steps.column_types import check_new
from penstock.steps.shares import SCALE, chance, with_chances
from penstock.values import names_in

if TYPE_CHECKING:
    import polars as pl


class SplitExact(BarrierStep):
    """The sets are as large as they say, out by less than one group; `split` meets shares only on average.

    A hash of its key, or of `by`, decides where a group goes, whatever the order of the rows. Rows that are added later
    can move others, which `split` never does. A set that should have rows gets a group at least. With `stratify` each
    set has nearly the same share of each value. Rows beyond the numbers asked for are filtered. Null counts as one
    group.
    """

    kind: ClassVar[str] = "split_exact"
    summary: ClassVar[str] = (
        "Puts each row into one of several named sets of exact sizes, without dividing a group between two of them."
    )
    example: ClassVar[str] = (
        "uses: split_exact\nsets: {train: 80%, validation: 20%}\nby: customer_id\nstratify: label\noutput: set\n"
    )

    uses: Literal["split_exact"] = Field(description="The kind of step.")
    sets: dict[str, Amount] = Field(
        min_length=1,
        description="The names of the sets, each with its share of the rows, or each with its number of rows; one may "
        "be the `rest`. Shares add up to 100%. Fewer rows than numbers ask for are an error.",
        examples=[{"train": "80%", "validation": "20%"}, {"validation": 500, "train": "rest"}],
    )
    by: Column | list[Column] | None = Field(
        default=None,
        description="The column, or columns, that name a group, which is never divided: for example the customer, so "
        "that none is in two sets. The key of the source if left out, which makes each row its own group.",
        examples=["customer_id", ["shop", "order_id"]],
    )
    stratify: Column | list[Column] | None = Field(
        default=None,
        description="The column, or columns, of whose values each set has the same share; of a group the value that "
        "most of its rows have.",
        examples=["label"],
    )
    output: str = Field(default="set", min_length=1, description="Name of the new column: the name of the row's set.")
    seed: int = Field(default=0, ge=0, lt=SCALE, description="Another number is another split.", examples=[7])

    @field_validator("sets")
    @classmethod
    def _of_one_whole(cls, sets: dict[str, float | int | str]) -> dict[str, float | int | str]:
        check_amounts(sets)
        return sets

    def columns_after(self, given: Mapping[str, str | None]) -> Columns:
        """The columns before, and the name of the set."""
        check_new(given, {"output": self.output})
        return {**given, self.output: "String"}

    def look(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Of each row the number of its stratum, and with `by` that of its group."""
        import polars as pl

        by, stratify = names_in(self.by), names_in(self.stratify)
        schema = {ROW: frame.collect_schema()[ROW], STRATUM: pl.UInt64()}
        looked = frame.select(ROW, *dict.fromkeys([*by, *stratify])).map_batches(
            lambda rows: rows.with_columns(strata(rows, stratify)).select(*schema, *by),
            schema={**schema, **{name: frame.collect_schema()[name] for name in by}},
        )
        if by:
            looked = with_chances(looked, by, purpose=self.kind, seed=self.seed, step=self.name)
            return looked.select(*schema, chance())
        return looked

    def decide(self, looked: pl.DataFrame) -> pl.DataFrame:
        """The groups in one line, which is cut where the sets end.

        Raises:
            InputError: there are fewer rows than the sets ask for, or fewer groups than sets.
        """
        import polars as pl

        group = [chance().meta.output_name()]
        if self.by:
            units = _groups(looked, group)
        else:
            # Keys whose hashes are equal are two groups, and so are rows whose keys are.
            group += [KEY, PARTITION, ROW]
            rows = with_key_chances(looked, self.kind, self.seed, self.name)
            units = rows.select(STRATUM, *group, pl.lit(1, dtype=pl.Int64).alias(UNITS))
        line = in_fair_order(units, group)
        numbers = whole_numbers(self.sets, len(looked))
        self._check(numbers, len(looked), len(line))
        sets = self._sets(numbers, cuts(line[UNITS], list(numbers.values())), len(line))
        decided = line.select(*group).with_columns(sets)
        if self.by:
            decided = looked.select(PARTITION, ROW, *group).join(decided, on=group)
        fate = pl.when(pl.col(self.output).is_null()).then(pl.lit(FILTERED)).alias(FATE)
        return decided.select(PARTITION, ROW, fate, self.output)

    def _sets(self, numbers: Mapping[str, int], ends: list[int], groups: int) -> pl.Series:
        """Of each group in the line the name of its set, null of those beyond the last one."""
        import polars as pl

        sizes = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
        named = [
            pl.Series([name], dtype=pl.String).new_from_index(0, size)
            for name, size in zip(numbers, sizes, strict=True)
        ]
        return pl.concat(named).extend_constant(None, groups - ends[-1]).alias(self.output)

    def _check(self, numbers: Mapping[str, int], rows: int, groups: int) -> None:
        asked = sum(numbers.values())
        if asked > rows and rows:
            raise InputError(f"the step {self.name!r} asks for {asked:,} rows, and there are {rows:,}")
        filled = sum(number > 0 for number in numbers.values())
        if groups < filled and rows:
            raise InputError(
                f"the step {self.name!r} cannot fill {filled} sets: `by` makes only {groups} groups of {rows:,} rows"
            )


def _groups(rows: pl.DataFrame, group: list[str]) -> pl.DataFrame:
    """Of each group its number of rows, and the stratum that most of them are in."""
    import polars as pl

    counted = rows.group_by(*group, STRATUM).agg(pl.len().alias("rows"))
    largest = counted.sort("rows", STRATUM, descending=[True, False])
    units = pl.col("rows").sum().cast(pl.Int64).alias(UNITS)
    return largest.group_by(*group, maintain_order=True).agg(pl.col(STRATUM).first(), units)
