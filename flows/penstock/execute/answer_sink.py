"""Where the answers of one partition go: into its journal, those that came home together as one batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import TYPE_CHECKING

from penstock.errors import PenstockError
from penstock.items import AnswerRows, Delivered, Failed, usage_type
from penstock.tables.journal import DIGEST, DIGEST_BYTES, Journal

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(slots=True)
class JournalSink:
    """Keeps answers in the journal, with each item's share of the usage, and failures in memory.

    Attributes:
        digests: of each item's payload, by its number.
        note_kept: told how many rows came home, once their answers are kept.
        note_failed: told of each failure, and of how many rows.
        copies: how many rows come home with an item: of those that ask several things, with the last of them.
    """

    journal: Journal
    digests: Sequence[bytes]
    note_kept: Callable[[int], None]
    note_failed: Callable[[Failed, int], None]
    copies: Counter[int] = field(default_factory=Counter)
    failures: list[Failed] = field(default_factory=list)
    _waiting: list[Delivered] = field(default_factory=list)

    def delivered(self, outcome: Delivered) -> None:
        """Take an answer; `flush` keeps it."""
        self._waiting.append(outcome)

    def flush(self) -> None:
        """Append what was delivered, then count its rows. One that cannot be kept takes no other with it.

        Raises:
            OSError: the disk is full or gone.
            InputError: an answer has other columns than those before.
            ArrowException, ArithmeticError, TypeError, ValueError: an answer's values are not of their columns' types.
        """
        waiting, self._waiting = self._waiting, []
        groups: list[list[Delivered]] = []
        for in_rows, outcomes in groupby(waiting, lambda one: isinstance(one.answer.columns, AnswerRows)):
            together = list(outcomes)
            # An Arrow batch of one row costs a hundred times what the row costs in a batch of many.
            groups += [together] if in_rows else [[one] for one in together]
        self._keep_each(groups)

    def _keep_each(self, groups: Sequence[Sequence[Delivered]]) -> None:
        """Keep all groups that can be kept, in their order, and then raise what one of the others raised."""
        with ExitStack() as each:
            for group in reversed(groups):
                each.callback(self._keep, group)

    def _keep(self, group: Sequence[Delivered]) -> None:
        import pyarrow as pa

        try:
            self.journal.append(self._batch(group))
        except (PenstockError, pa.ArrowException, ArithmeticError, TypeError, ValueError):
            if len(group) == 1:
                raise
            self._keep_each([[one] for one in group])
            return
        self.note_kept(sum(self.copies[item.number] for one in group for item in one.items))

    def failed(self, outcome: Failed) -> None:
        """Remember the failure and count its rows."""
        self.failures.append(outcome)
        self.note_failed(outcome, self.copies[outcome.item.number])

    def _batch(self, outcomes: Sequence[Delivered]) -> pa.RecordBatch:
        import pyarrow as pa

        digests = pa.array([self.digests[item.number] for one in outcomes for item in one.items], _digest_type())
        answers = _together([one.answer.columns for one in outcomes])
        columns = [digests, *answers.columns, usage_column(outcomes)]
        return pa.RecordBatch.from_arrays(columns, names=[DIGEST, *answers.schema.names, "usage"])


def _together(answers: Sequence[pa.RecordBatch | AnswerRows]) -> pa.RecordBatch:
    """The one batch, or the rows of all as one."""
    first = answers[0]
    if not isinstance(first, AnswerRows):
        return first
    rows = chain.from_iterable(answer.rows for answer in answers if isinstance(answer, AnswerRows))
    return AnswerRows(first.schema, list(rows)).batch()


def usage_column(outcomes: Sequence[Delivered]) -> pa.Array:
    """Each item's share of its request's usage; the shares add up to what the server counted."""
    import pyarrow as pa

    told = _of_single_items(outcomes) if all(len(one.items) == 1 for one in outcomes) else _of_packs(outcomes)
    kinds = usage_type()
    fields = [kinds.field(place) for place in range(kinds.num_fields)]
    arrays = [pa.array(column, kind.type) for column, kind in zip(told, fields, strict=True)]
    return pa.StructArray.from_arrays(arrays, fields=fields)


def _of_single_items(outcomes: Sequence[Delivered]) -> Sequence[Sequence[object]]:
    usages = [one.answer.usage for one in outcomes]
    return (
        [usage.model for usage in usages],
        [usage.prompt_tokens for usage in usages],
        [usage.completion_tokens for usage in usages],
        [usage.cached_tokens for usage in usages],
        [one.usd for one in outcomes],
        [one.attempts for one in outcomes],
        [one.request_id for one in outcomes],
    )


def _of_packs(outcomes: Sequence[Delivered]) -> Sequence[Sequence[object]]:
    told: tuple[list[object], ...] = ([], [], [], [], [], [], [])
    for one in outcomes:
        usage, count = one.answer.usage, len(one.items)
        weights = [item.tokens for item in one.items]
        values: tuple[Sequence[object], ...] = (
            [usage.model] * count,
            shares(usage.prompt_tokens, weights),
            shares(usage.completion_tokens, weights),
            shares(usage.cached_tokens, weights),
            _dollars(one.usd, weights),
            [one.attempts] * count,
            [one.request_id] * count,
        )
        for column, more in zip(told, values, strict=True):
            column.extend(more)
    return told


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to `weights` that add up to `total`."""
    if len(weights) == 1:
        return [total]
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


def _dollars(usd: float | None, weights: Sequence[int]) -> list[float | None]:
    if usd is None or len(weights) == 1:
        return [usd] * len(weights)
    whole, count = sum(weights), len(weights)
    return [usd * weight / whole if whole else usd / count for weight in weights]


def _digest_type() -> pa.DataType:
    import pyarrow as pa

    return pa.binary(DIGEST_BYTES)
