"""Rows divided exactly: amounts as they are written, rows in an order of which any cut is fair, and where to cut it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BeforeValidator, WithJsonSchema

from penstock.steps.shares import with_chances
from penstock.texts.stable_hash import hash_64, row_texts
from penstock.values import parse_count, parse_share

if TYPE_CHECKING:
    import polars as pl

REST: Final = "rest"
STRATUM, UNITS = "__stratum", "__units"
"""Hidden columns: a hash of what is divided alike, and how many rows a unit has."""
_ROUNDING = 1e-9
_ROWS_AT_ONCE = 50_000


def parse_amount(value: object) -> float | int | str:
    """A share (`80%`, `0.8`) as a float, a number of rows (`5000`, `20k`) as an int, or `rest`.

    Raises:
        ValueError: it is none of them, or nothing.
    """
    if value == REST:
        return REST
    text = str(value).strip()
    amount: float | int
    try:
        amount = parse_share(value) if text.endswith("%") or text.startswith("0.") else parse_count(value)
    except ValueError:
        raise ValueError(
            f"{text[:60]!r} is neither a share nor a number of rows; write it like 80%, 0.8, 5000 or {REST}"
        ) from None
    if not amount:
        raise ValueError("it is nothing, so that no row can be in it")
    return amount


Amount = Annotated[
    float | int | str,
    BeforeValidator(parse_amount),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^\s*[0-9][0-9_.]*\s*[%kKmMbB]?\s*$|^rest$"},
            ],
            "examples": ["80%", 5000, REST],
        }
    ),
]
"""A share, a number of rows, or the rest."""


def check_amounts(amounts: Mapping[str, float | int | str]) -> None:
    """Make sure that amounts are of one whole.

    Raises:
        ValueError: shares stand beside numbers, do not add up to 100% where there is no rest, or two sets are the rest.
    """
    shares = [amount for amount in amounts.values() if isinstance(amount, float)]
    numbers = [amount for amount in amounts.values() if isinstance(amount, int)]
    rests = len(amounts) - len(shares) - len(numbers)
    if shares and numbers:
        raise ValueError(
            "some amounts are shares and some are numbers of rows; write all alike, or one of them as rest"
        )
    if rests > 1:
        raise ValueError(f"{rests} sets are the {REST}, and only one can be")
    total = sum(shares)
    if shares and (total > 1 + _ROUNDING if rests else abs(total - 1) > _ROUNDING):
        hint = f"; write one of them as {REST}" if total < 1 else ""
        raise ValueError(f"the shares add up to {total * 100:.6g}%, and they must add up to 100%{hint}")


def whole_numbers(amounts: Mapping[str, float | int | str], rows: int) -> dict[str, int]:
    """How many of `rows` each set gets; shares are rounded so that they add up, the largest remainders upwards.

    Numbers may add up to more than there are rows.
    """
    exact = {name: amount * rows for name, amount in amounts.items() if isinstance(amount, float)}
    numbers = {name: int(number + _ROUNDING) for name, number in exact.items()}
    missing = round(sum(exact.values())) - sum(numbers.values())
    for name in sorted(exact, key=lambda name: numbers[name] - exact[name])[:missing]:
        numbers[name] += 1
    numbers |= {name: amount for name, amount in amounts.items() if isinstance(amount, int)}
    left = max(0, rows - sum(numbers.values()))
    return {name: numbers.get(name, left) for name in amounts}


def strata(frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """A number for each row, the same where the columns are, nulls included; 0 if there are no columns."""
    import polars as pl

    if not columns:
        return pl.Series(STRATUM, [0], dtype=pl.UInt64).new_from_index(0, len(frame))
    return hash_64(row_texts(frame, columns, nulls_equal=True)).alias(STRATUM)


def with_key_chances(looked: pl.DataFrame, purpose: str, seed: int, step: str) -> pl.DataFrame:
    """The rows of a look, each with the `chance` of its key; a piece at a time, for Python's numbers are large."""
    import polars as pl

    pieces = looked.iter_slices(_ROWS_AT_ONCE) if len(looked) else [looked]
    return pl.concat(
        with_chances(piece.lazy(), [], purpose=purpose, seed=seed, step=step).collect() for piece in pieces
    )


def in_fair_order(units: pl.DataFrame, order: Sequence[str]) -> pl.DataFrame:
    """The units in an order that begins, wherever it is cut, with nearly the same share of each stratum.

    Inside a stratum units stand by `order`. The middle of a unit says how far into its stratum it stands, from 0 to 1,
    and all units are ordered by that.

    Args:
        units: with `STRATUM`, `UNITS` and the columns of `order`.
        order: columns of which two units differ in one at least.
    """
    import polars as pl

    ordered = units.sort(STRATUM, *order)
    end = pl.col(UNITS).cum_sum().over(STRATUM)
    depth = (end - pl.col(UNITS) / 2) / pl.col(UNITS).sum().over(STRATUM)
    return ordered.with_columns(depth.alias("__depth")).sort("__depth", *order).drop("__depth")


def cuts(sizes: pl.Series, numbers: Sequence[int]) -> list[int]:
    """Where to cut a line of units so that the pieces have these numbers of rows, out by less than the largest unit.

    A piece that should have rows gets one unit at least where there are enough units, even if that is far too many.

    Args:
        sizes: how many rows each unit has, in the order of the line.
        numbers: how many rows each piece should have.

    Returns:
        Of each piece the place of the unit before which it ends.
    """
    twice_middle = 2 * sizes.cum_sum() - sizes
    ends: list[int] = []
    wanted = 0
    for number in numbers:
        wanted += number
        nearest = int((twice_middle < 2 * wanted).sum())
        ends.append(max(nearest, (ends[-1] if ends else 0) + (number > 0)))
    last = len(sizes)
    for place in reversed(range(len(ends))):
        ends[place] = max(0, min(ends[place], last))
        last = ends[place] - (numbers[place] > 0)
    return ends
