"""From rows to training lines: each row becomes a part of a line, or is refused with its cause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.items import Cause, Fault
from penstock.outputs.finetune.checks import check_example
from penstock.outputs.finetune.collect import NUMBER, PART
from penstock.outputs.finetune.example import example_of
from penstock.outputs.finetune.faults import ERRORS
from penstock.outputs.finetune.limits import Format, Rules
from penstock.outputs.finetune.settings import Conversation
from penstock.outputs.finetune.statistics import Statistics
from penstock.outputs.finetune.templates import LAST, BadExample, Speaker, json_value, text_of
from penstock.tables.failures import RowError
from penstock.tokens import counter

if TYPE_CHECKING:
    import polars as pl

STEP = "finetune"
"""What the errors table names as the step of a refused row."""
_SHOWN_FAULTS = 3

Row = dict[str, Any]
Turn = tuple[Row, Sequence[bool]]
"""A row, and of each message whether its `when` holds."""


@dataclass(frozen=True, slots=True)
class Line:
    """One example: the set it belongs to, its line without the line feed, and its rows."""

    set: str
    text: bytes
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a line is made of.

    Attributes:
        speaker: makes the messages of a row.
        conditions: the `when` of each message, None for those that are always there.
        conversation: how rows come together; None where each is an example.
        sets: by value of `set_column` the name of the set; empty where there is one.
        tools: of every line; `tools_column` names those of a row.
        preference: templates of the answer that is preferred and of the other; None for chat lines.
    """

    speaker: Speaker
    conditions: Sequence[str | None]
    conversation: Conversation | None
    sets: Mapping[str, str]
    set_column: str | None
    tools: Sequence[Mapping[str, Any]]
    tools_column: str | None
    parallel_tool_calls: bool | None
    preference: tuple[str, str] | None
    rules: Rules
    default_set: str = "train"


class Examples:
    """Makes lines; what cannot be made is in `refused`, each row with its keys."""

    def __init__(self, shape: Shape, keys: Sequence[str]) -> None:
        self._shape = shape
        self._keys = keys
        self._counter = Statistics(counter(shape.rules.model)) if shape.rules.context is not None else None
        self.refused: list[tuple[int, RowError]] = []

    def lines(self, frames: Iterator[pl.DataFrame]) -> Iterator[Line]:
        """All examples, of rows that come in the order of `penstock.outputs.finetune.collect`."""
        turns: list[Turn] = []
        for frame in frames:
            for row, holds in zip(frame.iter_rows(named=True), self._holds(frame), strict=True):
                turns.append((row, holds))
                if row[LAST]:
                    try:
                        yield self._line(turns)
                    except BadExample as bad:
                        self._refuse([row for row, _ in turns], bad.fault)
                    turns = []

    def keys_of(self, row: Mapping[str, Any]) -> list[Any]:
        """The values that name a row."""
        return [row[name] for name in self._keys]

    def _holds(self, frame: pl.DataFrame) -> Iterator[Sequence[bool]]:
        import polars as pl

        conditions = self._shape.conditions
        if not any(conditions):
            fixed = (True,) * len(conditions)
            return iter([fixed] * len(frame))
        columns = [
            pl.lit(value=True).alias(str(place))
            if condition is None
            else pl.sql_expr(condition).fill_null(value=False).alias(str(place))
            for place, condition in enumerate(conditions)
        ]
        return frame.select(pl.int_range(pl.len()).alias("__"), *columns).drop("__").iter_rows()

    def _line(self, turns: Sequence[Turn]) -> Line:
        shape = self._shape
        rows = [row for row, _ in turns]
        if shape.conversation is not None:
            for name in shape.conversation.columns:
                if rows[0][name] is None:
                    raise BadExample(f"the column {name!r}, which names a conversation, is null")
        name = self._set(rows)
        messages = self._messages(turns)
        if shape.conversation is not None and shape.conversation.trim and shape.preference is None:
            while messages and messages[-1].get("role") != "assistant":
                messages.pop()
        if not messages:
            raise BadExample("no message is left", Cause.EMPTY_INPUT)
        value = self._value(messages, rows[-1])
        self._check(value)
        text = msgspec.json.encode(value)
        self._check_length(value, text)
        return Line(name, text, rows)

    def _messages(self, turns: Sequence[Turn]) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        for number, (row, holds) in enumerate(turns, 1):
            try:
                messages += self._shape.speaker.said(row, holds)
            except BadExample as bad:
                if len(turns) == 1:
                    raise
                where = f"row {number} of {len(turns)} of the conversation"
                raise BadExample(f"{where}: {bad.fault.message}", bad.fault.cause) from None
        return messages

    def _set(self, rows: Sequence[Row]) -> str:
        column, sets = self._shape.set_column, self._shape.sets
        if column is None:
            return self._shape.default_set
        values = list(dict.fromkeys(row[column] for row in rows))
        if len(values) > 1:
            shown = ", ".join(map(repr, values[:3]))
            raise BadExample(f"rows of one conversation are in several sets ({shown}); split `by` what names it")
        name = sets.get(str(values[0])) if values[0] is not None else None
        if name is None:
            raise BadExample(f"the value {values[0]!r} of {column!r} is none of `sets`: {', '.join(sets)}")
        return name

    def _value(self, messages: list[dict[str, Any]], row: Row) -> dict[str, Any]:
        shape = self._shape
        given: dict[str, Any] = {"messages": messages}
        tools = list(shape.tools)
        if shape.tools_column is not None:
            own = json_value(row[shape.tools_column], f"the column {shape.tools_column!r}")
            if own is not None and not isinstance(own, list):
                raise BadExample(f"the column {shape.tools_column!r} is no list of tools")
            tools += [tool_as_sent(one) if isinstance(one, dict) else one for one in own or []]
        if tools:
            given["tools"] = tools
            if shape.parallel_tool_calls is not None:
                given["parallel_tool_calls"] = shape.parallel_tool_calls
        if shape.preference is None:
            return given
        better, other = (
            text_of(template, row, key)
            for template, key in zip(shape.preference, ("preferred_output", "non_preferred_output"), strict=True)
        )
        return {
            "input": given,
            "preferred_output": [{"role": "assistant", "content": better}],
            "non_preferred_output": [{"role": "assistant", "content": other}],
        }

    def _check(self, value: dict[str, Any]) -> None:
        form: Format = "chat" if self._shape.preference is None else "preference"
        faults = [text for code, text in check_example(value, form, self._shape.rules) if code in ERRORS]
        if faults:
            more = f" (and {len(faults) - _SHOWN_FAULTS} more)" if len(faults) > _SHOWN_FAULTS else ""
            raise BadExample("; ".join(faults[:_SHOWN_FAULTS]) + more)

    def _check_length(self, value: dict[str, Any], text: bytes) -> None:
        context = self._shape.rules.context
        # A token is a byte at least, so most lines need not be counted here.
        if context is None or self._counter is None or len(text) <= context:
            return
        example = example_of(value)
        tokens = self._counter.add(example) if example is not None else 0
        if tokens > context:
            raise BadExample(
                f"{tokens:,} tokens; {self._shape.rules.model} trains on {context:,} of an example", Cause.TOO_LONG
            )

    def _refuse(self, rows: Sequence[Row], fault: Fault) -> None:
        for row in rows:
            error = RowError(
                number=row[NUMBER],
                step=STEP,
                cause=fault.cause,
                message=fault.message,
                keys={name: row[name] for name in self._keys},
            )
            self.refused.append((row[PART], error))


def tool_as_sent(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool as the API has it; one that is only its function is put into it."""
    return dict(tool) if "function" in tool else {"type": "function", "function": dict(tool)}
