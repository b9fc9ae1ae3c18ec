"""An API step on one partition: rows to items, items through the engine into the journal, answers back to rows.

What is asked is known by the digest of its payload: in the journal, between runs, and when rows have moved. So an
answer finds its rows again whatever became of the rows beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from penstock.execute.table_steps import isolating
from penstock.items import Cause, Failed, Fault, Item
from penstock.steps import ApiStep
from penstock.steps.base import ROW
from penstock.steps.derive import Derive
from penstock.tables.answer_lists import digest_of
from penstock.tables.failures import RowError

if TYPE_CHECKING:
    import polars as pl

    from penstock.tokens import TokenCounter

_HOLDS = "__holds"


@dataclass(slots=True)
class Asked:
    """What the rows of a frame ask.

    Attributes:
        rows: row number to the digests of its payloads: one, or several where the step asks in pieces.
        payloads: each distinct payload by its digest, in the order of the rows.
        owners: which row a payload's cost is counted at: the first that asks it.
        errors: rows that cannot be asked.
        passed: rows for which the step's `when` does not hold.
    """

    rows: dict[int, tuple[bytes, ...]] = field(default_factory=dict)
    payloads: dict[bytes, str] = field(default_factory=dict)
    owners: dict[bytes, int] = field(default_factory=dict)
    errors: list[RowError] = field(default_factory=list)
    passed: list[int] = field(default_factory=list)

    @property
    def in_pieces(self) -> bool:
        """Whether some row asks several things."""
        return any(len(digests) > 1 for digests in self.rows.values())

    def add(self, row: int, payloads: Sequence[str], identity: Callable[[str], str]) -> None:
        """Enter what one row asks; `identity` is that of the step."""
        digests = tuple(digest_of(identity(payload)) for payload in payloads)
        self.rows[row] = digests
        for digest, payload in zip(digests, payloads, strict=True):
            if self.owners.setdefault(digest, row) == row:
                self.payloads.setdefault(digest, payload)

    def drop(self, refused: set[bytes]) -> list[int]:
        """Ask nothing of the rows that ask one of these; returns those rows."""
        lost = [row for row, digests in self.rows.items() if not refused.isdisjoint(digests)]
        for row in lost:
            del self.rows[row]
        wanted = {digest for digests in self.rows.values() for digest in digests}
        self.payloads = {digest: payload for digest, payload in self.payloads.items() if digest in wanted}
        self.owners = {}
        for row, digests in self.rows.items():
            for digest in digests:
                self.owners.setdefault(digest, row)
        return lost


def asked_by(frame: pl.DataFrame, name: str, step: ApiStep, keys: Sequence[str]) -> Asked:
    """What each row asks; empty and failing rows become errors."""
    import polars as pl

    asked = Asked()
    if step.when is not None:
        told, failed = isolating(frame, Derive(uses="derive", id=name, columns={_HOLDS: step.when}))
        asked.errors += [_error(row, name, keys, Fault(Cause.EXPRESSION, message)) for row, message in failed]
        holds = pl.col(_HOLDS).fill_null(False)
        asked.passed = told.filter(~holds)[ROW].to_list()
        frame = told.filter(holds).drop(_HOLDS)
    for place, (row, payload) in enumerate(zip(frame[ROW].to_list(), step.payloads(frame).to_list(), strict=True)):
        pieces = [payload] if isinstance(payload, str) else payload
        if pieces is None:
            cells = frame.row(place, named=True)
            fault = step.payload_error({column: cell for column, cell in cells.items() if column != ROW})
            asked.errors.append(_error(cells, name, keys, fault))
        elif not pieces or any(step.is_empty(piece) for piece in pieces):
            fault = Fault(Cause.EMPTY_INPUT, "the text to send is empty")
            asked.errors.append(_error(frame.row(place, named=True), name, keys, fault, pieces[0] if pieces else ""))
        else:
            asked.add(row, pieces, step.identity)
    return asked


@dataclass(slots=True)
class Questions:
    """What to ask for a partition: items, each with the digest of its payload at its number."""

    asked: Asked
    items: list[Item] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    tokens: dict[bytes, int] = field(default_factory=dict)


def questions(frame: pl.DataFrame, name: str, step: ApiStep, counter: TokenCounter, keys: Sequence[str]) -> Questions:
    """Turn rows into items: one per distinct payload; empty, over-long and failing rows become errors."""
    asked = asked_by(frame, name, step, keys)
    counts = step.tokens(list(asked.payloads.values()), counter.count_many)
    tokens = dict(zip(asked.payloads, counts, strict=True))
    most = step.packing.max_item_tokens
    if most is not None and counter.exact:
        # An estimate does not refuse what may still fit.
        _refuse_long(asked, tokens, frame, name, most, keys)
    digests = list(asked.payloads)
    items = [Item(number, asked.payloads[digest], tokens[digest]) for number, digest in enumerate(digests)]
    return Questions(asked, items, digests, tokens)


def _refuse_long(  # noqa: PLR0917  # what names a row and its place
    asked: Asked, tokens: Mapping[bytes, int], frame: pl.DataFrame, name: str, most: int, keys: Sequence[str]
) -> None:
    """Payloads over the API's limit become errors of all their rows."""
    import polars as pl

    refused = {digest for digest, count in tokens.items() if count > most}
    if not refused:
        return
    before, payloads = dict(asked.rows), dict(asked.payloads)
    lost = asked.drop(refused)
    for row in frame.filter(pl.col(ROW).is_in(lost)).iter_rows(named=True):
        digest = next(digest for digest in before[row[ROW]] if digest in refused)
        fault = Fault(Cause.TOO_LONG, f"the text has {tokens[digest]:,} tokens and the API takes {most:,}")
        asked.errors.append(_error(row, name, keys, fault, payloads[digest]))


def _error(row: Mapping[str, Any], name: str, keys: Sequence[str], fault: Fault, text: str | None = None) -> RowError:
    named = {key: row.get(key) for key in keys}
    return RowError(number=row[ROW], step=name, cause=fault.cause, message=fault.message, keys=named, text=text)


def request_errors(  # noqa: PLR0917  # what names a row and its place
    failures: Sequence[Failed],
    asking: Questions,
    frame: pl.DataFrame,
    name: str,
    keys: Sequence[str],
    paid: Callable[[int, Mapping[bytes, Failed]], float | None],
) -> Iterator[RowError]:
    """An error per row of which something failed.

    Args:
        paid: what a row cost, given what failed.
    """
    import polars as pl

    asked = asking.asked
    failed = {asking.digests[failure.item.number]: failure for failure in failures}
    rows = {
        row: next(digest for digest in digests if digest in failed)
        for row, digests in asked.rows.items()
        if not failed.keys().isdisjoint(digests)
    }
    for row in frame.filter(pl.col(ROW).is_in(list(rows))).iter_rows(named=True):
        digest = rows[row[ROW]]
        failure = failed[digest]
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
            usd=paid(row[ROW], failed),
            text=asked.payloads[digest],
            asked=digest,
        )
