"""What the choices of a chat answer become: columns, or a question to the model to mend what it said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.errors import AskAgain, InvalidAnswer
from penstock.steps.chat_messages import payload, read_payload
from penstock.steps.json_answers import read_json
from penstock.steps.json_types import Shape, arrow_type, cell, shape_of, type_name

if TYPE_CHECKING:
    import pyarrow as pa

    from penstock.steps.chat_answers import Choice

_LONGEST_ECHO = 20_000
_SHOWN = 80
_TEXT = Shape("text")


@dataclass(frozen=True, slots=True)
class Results:
    """The columns of a chat step.

    Attributes:
        output: the answer's column, and what the names of the others begin with.
        schema: of a structured answer, as JSON text.
        as_json: whether the answer must be JSON.
        unpack: whether each property has a column of its own.
        count: answers per row; with more than one every column is a list.
        with_calls: whether there is a column of tool calls.
        with_logprobs: whether there is one of log probabilities.
        repair: how often an answer may be mended.
    """

    output: str
    schema: str | None = None
    as_json: bool = False
    unpack: bool = False
    count: int = 1
    with_calls: bool = False
    with_logprobs: bool = False
    repair: int = 0

    @property
    def shape(self) -> Shape:
        """Of one answer."""
        return _TEXT if self.schema is None else _shape(self.schema)

    def columns(self) -> dict[str, str | None]:
        """Names, and the polars types of those whose types are known.

        Raises:
            ValueError: two of them have one name.
        """
        names = [*self.answers(), *self._about()]
        if twice := [name for number, name in enumerate(names) if name in names[:number]]:
            raise ValueError(f"two columns of the answer would be called {twice[0]!r}; give `output` another name")
        kinds = {name: type_name(shape) for name, shape in self.answers().items()}
        kinds |= {name: "String" for name in self.texts() if name not in kinds}
        return {name: self._of_all(kinds.get(name)) for name in names}

    def _of_all(self, kind: str | None) -> str | None:
        """The type of a column that holds all choices."""
        return kind if kind is None or self.count == 1 else f"List({kind})"

    def arrow_schema(self) -> pa.Schema:
        """The columns and their types, in order."""
        return _arrow_schema(self)

    def row(self, choices: Sequence[Choice], asked: str) -> tuple[Any, ...]:
        """The choices as the cells of one row, in the order of `arrow_schema`.

        Raises:
            AskAgain: one of them is not of the form that was asked for, and may be mended.
            InvalidAnswer: it may not, or not any more.
        """
        rows = [self._row(choice, asked) for choice in choices]
        return rows[0] if self.count == 1 else tuple(list(cells) for cells in zip(*rows, strict=True))

    def answers(self) -> dict[str, Shape]:
        """The columns of the answer itself."""
        return dict(self.shape.fields) if self.unpack else {self.output: self.shape}

    def texts(self) -> list[str]:
        """The columns that say how it ended."""
        return [f"{self.output}_finish_reason", f"{self.output}_refusal"]

    def _about(self) -> list[str]:
        calls = [f"{self.output}_tool_calls"] if self.with_calls else []
        return [*self.texts(), *calls, *([f"{self.output}_logprobs"] if self.with_logprobs else [])]

    def _row(self, choice: Choice, asked: str) -> tuple[Any, ...]:
        value = self._value(choice, asked)
        cells = [value] if not self.unpack else [value.get(name) if value else None for name, _ in self.shape.fields]
        cells += [choice.finish_reason, choice.refusal]
        if self.with_calls:
            cells.append(choice.tool_calls or None)
        if self.with_logprobs:
            cells.append(_log_probabilities(choice.logprobs))
        return tuple(cells)

    def _value(self, choice: Choice, asked: str) -> Any:
        """The answer as its column holds it; null for a refusal, a filtered answer, and one that calls tools."""
        if not self.as_json:
            return choice.content
        if choice.refusal or choice.finish_reason == "content_filter" or (choice.tool_calls and not choice.content):
            return None
        text = choice.content or ""
        value, complaints = read_json(text, self.schema)
        if not complaints and self.schema is None:
            return text
        if not complaints:
            try:
                return cell(self.shape, value)
            except ValueError as error:
                complaints = [str(error)]
        if choice.finish_reason == "length":
            complaints = ["it was cut off at the largest number of tokens that it may have; be brief"]
        elif not text.strip():
            complaints = ["it is empty"]
        raise self._complaint(text, complaints, asked)

    def _complaint(self, text: str, complaints: Sequence[str], asked: str) -> AskAgain | InvalidAnswer:
        messages, repairs = read_payload(asked)
        told = "; ".join(complaints)
        if repairs >= self.repair:
            mended = f" after {repairs} {'repair' if repairs == 1 else 'repairs'}" if repairs else ""
            return InvalidAnswer(f"the answer is not as asked for{mended}: {told}; it begins {text[:_SHOWN]!r}")
        wanted = "a JSON object" if self.schema is None else "a JSON object that matches the schema"
        listed = "\n".join(f"- {complaint}" for complaint in complaints)
        correction = (
            f"Your answer cannot be used:\n{listed}\n"
            f"Answer the question before it again, with {wanted} and nothing else."
        )
        said = [{"role": "assistant", "content": text[:_LONGEST_ECHO]}] if text.strip() else []
        again = payload([*messages, *said, {"role": "user", "content": correction}], repairs + 1)
        return AskAgain(f"the answer is not as asked for: {told}", again)


@lru_cache(maxsize=64)
def _shape(schema: str) -> Shape:
    return shape_of(msgspec.json.decode(schema))


@lru_cache(maxsize=64)
def _arrow_schema(results: Results) -> pa.Schema:
    import pyarrow as pa

    kinds = {name: arrow_type(shape) for name, shape in results.answers().items()}
    kinds |= {name: pa.string() for name in results.texts()}
    if results.with_calls:
        call = {"id": pa.string(), "name": pa.string(), "arguments": pa.string()}
        kinds[f"{results.output}_tool_calls"] = pa.list_(pa.struct(call))
    if results.with_logprobs:
        token = {"token": pa.string(), "logprob": pa.float64()}
        alternatives = pa.list_(pa.struct(token))
        kinds[f"{results.output}_logprobs"] = pa.list_(pa.struct({**token, "top_logprobs": alternatives}))
    several = results.count > 1
    return pa.schema([pa.field(name, pa.list_(kind) if several else kind) for name, kind in kinds.items()])


def _log_probabilities(given: Any) -> list[dict[str, Any]] | None:
    """As the column has them; what is none is left out, for it is not the answer itself."""
    entries = given.get("content") if isinstance(given, dict) else None
    if not isinstance(entries, list):
        return None
    told: list[dict[str, Any]] = []
    for entry in entries:
        if (one := _token(entry)) is not None:
            others = entry.get("top_logprobs")
            listed = [_token(other) for other in others] if isinstance(others, list) else []
            told.append({**one, "top_logprobs": [other for other in listed if other is not None]})
    return told


def _token(entry: Any) -> dict[str, Any] | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("token"), str):
        return None
    chance = entry.get("logprob")
    is_number = isinstance(chance, int | float) and not isinstance(chance, bool)
    return {"token": entry["token"], "logprob": float(chance) if is_number and chance is not None else None}
