"""Types of SQL expressions, tried on a table of the source's columns without rows: what no row can ever make right.

`penstock check` knows the names of columns and, to stay fast, does not load polars, which alone knows what its SQL
makes of their types. So this is looked at when a plan is made: before the first request, and before the first run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from penstock.errors import SpecError
from penstock.expressions import SqlField, sql_columns
from penstock.plan.sampled import with_results
from penstock.spec import Loaded
from penstock.spec.markers import marked
from penstock.spec.positions import Document, Path, parse
from penstock.steps import ApiStep, BarrierStep, Step, TableStep, parents
from penstock.steps.base import ROW
from penstock.steps.decisions import applied, carried_out, decided, looked_at
from penstock.steps.embed import Embed

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_CONDITIONS = {("where",), ("when",)}
_REWORDED = (
    (re.compile(r"^cannot compare 'date/datetime/time' to a string value.*"), "a date cannot be compared with text"),
    (re.compile(r"^cannot compare string with numeric type.*"), "text cannot be compared with a number"),
    (
        re.compile(r"^invalid series dtype: expected `(\w+)`, got `(\w+)` for series with name `(.+)`.*"),
        r"a function of \1 is given `\3`, which is \2",
    ),
)


def check_types(loaded: Loaded, schema: dict[str, pl.DataType]) -> list[pl.DataFrame]:
    """Make sure that every SQL expression suits the types of the columns that reach it.

    Args:
        schema: of the source, as read.

    Returns:
        Tables without rows: of the source, and after each step.

    Raises:
        SpecError: one does not, or a condition is neither true nor false; all mistakes of the first such step.
    """
    import polars as pl

    frames = [pl.DataFrame(schema=schema)]
    keys = loaded.spec.source_keys
    for place, (step, parent) in enumerate(zip(loaded.spec.steps, parents(loaded.spec.steps), strict=True)):
        frame = frames[parent + 1]
        wrong = [(path, *told) for path, text in _expressions(step) if (told := _mistake(frame, path, text))]
        if wrong:
            document = Document(loaded.text, str(loaded.file))
            parse(document)
            for path, message, hint in wrong:
                _, node = document.find(("steps", place, *path))
                document.add(node.span, f"`{'.'.join(map(str, path))}`: {message}", hint)
            raise SpecError(document.problems)
        frames.append(_after(frame, step, keys))
    return frames


def output_schema(steps: Sequence[Step], frames: Sequence[pl.DataFrame], reads: str | None) -> pa.Schema | None:
    """The columns that reach an output; None where a step on the way will only tell with its first answer.

    Args:
        frames: as `check_types` returns them.
        reads: what the output says with `from`.
    """
    import polars as pl

    before = parents(steps)
    names = {step.name: place for place, step in enumerate(steps)}
    place = len(steps) - 1 if reads is None else names.get(reads, -1)
    frame = frames[place + 1]
    while place >= 0:
        if isinstance(step := steps[place], Embed) and step.size is None:
            return None
        place = before[place]
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest()).schema


def _expressions(step: Step) -> Iterator[tuple[Path, str]]:
    for path, _, text in marked(type(step), step.model_dump(), (SqlField,)):
        yield path, text


def _mistake(frame: pl.DataFrame, path: Path, text: str) -> tuple[str, str] | None:
    """What is wrong with an expression and what helps; None when nothing is."""
    import polars as pl

    expression = pl.sql_expr(text)
    try:
        result = frame.select(expression).to_series().dtype
    except pl.exceptions.PolarsError as error:
        try:
            frame.clear(1).select(expression)
        except pl.exceptions.PolarsError:
            return _worded(str(error)), _hint(frame, text)
        return None
    if path in _CONDITIONS and result not in {pl.Boolean(), pl.Null()}:
        return f"a condition is true or false, and this gives {_named(result)}", "compare it, for example `… > 0`"
    return None


def _worded(message: str) -> str:
    first = re.sub(r"Struct\(\{.*", "a struct", message.split("\n", 1)[0])[:200]
    for pattern, wording in _REWORDED:
        if pattern.match(first):
            return pattern.sub(wording, first)
    return first


def _hint(frame: pl.DataFrame, text: str) -> str:
    columns = ", ".join(f"`{name}` is {_named(frame.schema[name])}" for name in sql_columns(text))
    return f"{columns or 'no column is used'}; convert with CAST(… AS …), or set `types` of the source"


def _named(kind: Any) -> str:
    """The type by the word that `source.types` has for it, else by that of polars."""
    import polars as pl

    words = {pl.String: "string", pl.Boolean: "boolean", pl.Date: "date"}
    if isinstance(kind, pl.Struct):
        return f"a struct of {', '.join(field.name for field in kind.fields)}"
    if kind.is_integer():
        return "integer"
    if kind.is_float():
        return "number"
    return "datetime" if isinstance(kind, pl.Datetime) else words.get(type(kind), str(kind))


def _after(frame: pl.DataFrame, step: Step, keys: Sequence[str]) -> pl.DataFrame:
    import polars as pl

    if isinstance(step, ApiStep):
        return with_results(step, frame)
    rows = frame.with_columns(pl.lit(0, dtype=pl.Int64).alias(ROW))
    if isinstance(step, BarrierStep):
        decision = decided(step, [looked_at(rows.lazy(), step, [], 0)])
        return carried_out(rows, decision, step).frame.drop(ROW)
    if not isinstance(step, TableStep):
        return frame
    try:
        after = applied(step, rows.lazy(), keys).collect()
    except pl.exceptions.PolarsError:
        # No mistake was found above, so that a row of nulls passes where none does not.
        after = applied(step, rows.clear(1).lazy(), keys).collect().clear()
    return after.drop(ROW)
