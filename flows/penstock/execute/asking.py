"""An API step on one partition: rows to items, items through the engine into the journal, answers back to rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from penstock.execute.table_steps import isolating
from penstock.items import Cause, Delivered, Failed, Item, Packing, usage_type
from penstock.steps import ApiStep, Derive
from penstock.steps.base import ROW
from penstock.tables.failures import RowError
from penstock.tables.journal import NUMBER, Journal

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from penstock.tokens import TokenCounter

_HOLDS = "__holds"


@dataclass(slots=True)
class Questions:
    """What to ask for a partition.

    Attributes:
        items: distinct payloads, numbered by the first row that has them.
        asked_by: row number to the number of the item that answers it.
        errors: rows that cannot be asked.
        passed: rows for which the step's `when` does not hold.
    """

    items: list[Item] = field(default_factory=list)
    asked_by: dict[int, int] = field(default_factory=dict)
    errors: list[RowError] = field(default_factory=list)
    passed: list[int] = field(default_factory=list)


def questions(frame: pl.DataFrame, name: str, step: ApiStep, counter: TokenCounter, keys: Sequence[str]) -> Questions:
    """Turn rows into items: one per distinct payload; empty, over-long and failing rows become errors."""
    import polars as pl

    asked = Questions()
    if step.when is not None:
        told, failed = isolating(frame, Derive(uses="derive", id=name, columns={_HOLDS: step.when}))
        asked.errors += [_error(row, name, keys, Cause.EXPRESSION, message) for row, message in failed]
        holds = pl.col(_HOLDS).fill_null(False)
        asked.passed = told.filter(~holds)[ROW].to_list()
        frame = told.filter(holds).drop(_HOLDS)
    payloads = step.payloads(frame).to_list()
    numbers = frame[ROW].to_list()
    first: dict[Any, int] = {}
    distinct: list[tuple[int, Any]] = []
    for place, (number, payload) in enumerate(zip(numbers, payloads, strict=True)):
        if payload is None:
            row = frame.row(place, named=True)
            fault = step.payload_error({column: cell for column, cell in row.items() if column != ROW})
            asked.errors.append(_error(row, name, keys, fault.cause, fault.message))
        elif not payload.strip():
            row = frame.row(place, named=True)
            asked.errors.append(_error(row, name, keys, Cause.EMPTY_INPUT, "the text to send is empty", payload))
        else:
            same = first.setdefault(payload, number)
            asked.asked_by[number] = same
            if same == number:
                distinct.append((number, payload))
    tokens = counter.count_many([payload for _, payload in distinct])
    asked.items = [Item(number, payload, count) for (number, payload), count in zip(distinct, tokens, strict=True)]
    _refuse_long(asked, frame, name, step.packing, keys, exact=counter.exact)
    return asked


def _refuse_long(
    asked: Questions, frame: pl.DataFrame, name: str, packing: Packing, keys: Sequence[str], *, exact: bool
) -> None:
    """Items over the API's limit become errors of all their rows; an estimate does not refuse what may still fit."""
    import polars as pl

    most = packing.max_item_tokens
    if most is None or not exact:
        return
    refused = {item.number: item for item in asked.items if item.tokens > most}
    if not refused:
        return
    asked.items = [item for item in asked.items if item.number not in refused]
    rows = [number for number, item in asked.asked_by.items() if item in refused]
    for row in frame.filter(pl.col(ROW).is_in(rows)).iter_rows(named=True):
        item = refused[asked.asked_by.pop(row[ROW])]
        message = f"the text has {item.tokens:,} tokens and the API takes {most:,}"
        asked.errors.append(_error(row, name, keys, Cause.TOO_LONG, message, item.payload))


def _error(  # noqa: PLR0917  # the columns of an error, in their order
    row: Mapping[str, Any], name: str, keys: Sequence[str], cause: Cause, message: str, text: str | None = None
) -> RowError:
    named = {key: row.get(key) for key in keys}
    return RowError(number=row[ROW], step=name, cause=cause, message=message, keys=named, text=text)


@dataclass(slots=True)
class JournalSink:
    """Keeps answers in the journal, with each item's share of the usage, and failures in memory."""

    journal: Journal
    failures: list[Failed] = field(default_factory=list)

    def delivered(self, outcome: Delivered) -> None:
        """Append the answers."""
        import pyarrow as pa

        numbers = pa.array([item.number for item in outcome.items], pa.uint32())
        columns = outcome.answer.columns
        self.journal.append(
            pa.RecordBatch.from_arrays(
                [numbers, *columns.columns, usage_column(outcome)], names=[NUMBER, *columns.schema.names, "usage"]
            )
        )

    def failed(self, outcome: Failed) -> None:
        """Remember the failure."""
        self.failures.append(outcome)


def usage_column(outcome: Delivered) -> pa.Array:
    """Each item's share of its request's usage; the shares add up to what the server counted."""
    import pyarrow as pa

    usage, count = outcome.answer.usage, len(outcome.items)
    weights = [item.tokens for item in outcome.items]
    total = sum(weights) or 1
    prompt = shares(usage.prompt_tokens, weights)
    usd = [None if outcome.usd is None else outcome.usd * weight / total for weight in weights]
    kinds = usage_type()
    arrays = [
        pa.repeat(pa.scalar(usage.model, pa.string()), count),
        pa.array(prompt, pa.int32()),
        pa.array(shares(usage.completion_tokens, weights), pa.int32()),
        pa.array(shares(usage.cached_tokens, weights), pa.int32()),
        pa.array(usd, pa.float64()),
        pa.repeat(pa.scalar(outcome.attempts, pa.int32()), count),
        pa.repeat(pa.scalar(outcome.request_id, pa.string()), count),
    ]
    return pa.StructArray.from_arrays(arrays, fields=[kinds.field(place) for place in range(kinds.num_fields)])


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to `weights` that add up to `total`."""
    whole = sum(weights)
    if total == 0 or not weights:
        return [0] * len(weights)
    if whole == total:
        return list(weights)
    if whole == 0:
        weights, whole = [1] * len(weights), len(weights)
    result: list[int] = []
    given = seen = 0
    for weight in weights:
        seen += weight
        upto = total * seen // whole
        result.append(upto - given)
        given = upto
    return result


def request_errors(
    failures: Sequence[Failed], asked: Questions, frame: pl.DataFrame, name: str, keys: Sequence[str]
) -> Iterator[RowError]:
    """An error per row for each failed item; what the attempts cost stands at the first."""
    import polars as pl

    failed = {failure.item.number: failure for failure in failures}
    rows = [number for number, item in asked.asked_by.items() if item in failed]
    for row in frame.filter(pl.col(ROW).is_in(rows)).iter_rows(named=True):
        number = asked.asked_by[row[ROW]]
        failure = failed[number]
        yield RowError(
            number=row[ROW],
            step=name,
            cause=failure.cause,
            message=failure.message,
            keys={key: row.get(key) for key in keys},
            status=failure.status,
            code=failure.code,
            attempts=failure.attempts,
            request_id=failure.request_id,
            usd=failure.usd if row[ROW] == number else 0.0,
            text=str(failure.item.payload),
        )
