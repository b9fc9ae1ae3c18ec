"""`redact`: personal data and keys out of texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import pydantic_core
from pydantic import Field, field_validator
from pydantic_core import SchemaValidator, core_schema

from penstock.expressions import Column
from penstock.steps.base import Columns, TableStep
from penstock.steps.column_types import check_new, check_text, require_text
from penstock.texts.personal import DETECTORS, Detector, Kind

if TYPE_CHECKING:
    import polars as pl

_MARK = "{kind}"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Redact(TableStep):
    """What is found is replaced in the columns named; the rest of a text, and a null, stay as they are.

    It errs on the side of leaving: a card needs an issuer's number and a right check digit, an IBAN its country's
    length and check number, a telephone number a plus sign or groups. Not found are addresses that are spelled out
    ("name at example dot com"), numbers without groups or plus sign that have no check sum, names, and street
    addresses. Own `patterns` go first.
    """

    kind: ClassVar[str] = "redact"
    summary: ClassVar[str] = (
        "Replaces mail addresses, telephone, card and account numbers, keys and tokens, and what your own patterns "
        "find, in text columns."
    )
    # In one query with a step that drops rows it would be computed once more for the count of them.
    alone: ClassVar[bool] = True
    example: ClassVar[str] = (
        "uses: redact\n"
        "columns: [body]\n"
        "kinds: [mail, phone, card, iban, key]\n"
        "patterns: {customer: 'C-[0-9]{6}'}\n"
        "count: redacted\n"
    )

    uses: Literal["redact"] = Field(description="The kind of step.")
    columns: list[Column] = Field(min_length=1, description="The text columns that are changed.", examples=[["body"]])
    kinds: list[Kind] = Field(
        default=["mail", "phone", "card", "iban", "key"],
        description=(
            "What is looked for: `mail` addresses; `phone` numbers with a plus sign or in groups; `card` numbers with "
            "a right check digit; `iban` account numbers with a right check number; `key`: API keys and tokens by the "
            "shapes of the large services, JSON Web Tokens, private keys, bearer tokens; `ip` addresses."
        ),
        examples=[["mail", "phone"]],
    )
    patterns: dict[str, str] = Field(
        default_factory=dict,
        description=(
            "Further kinds by name, each a regular expression as polars (Rust) has them: no look-around, no "
            "references to groups. They are looked for first, in this order."
        ),
        examples=[{"customer": "C-[0-9]{6}"}],
    )
    replace: str = Field(
        default=f"[{_MARK}]",
        description="What stands in the place of what was found; {kind} is its kind.",
        examples=["[{kind}]", "***"],
    )
    count: str | None = Field(
        default=None,
        min_length=1,
        description="Name of a new column: how much was replaced in the row, in all columns together.",
        examples=["redacted"],
    )

    @field_validator("patterns")
    @classmethod
    def _polars_takes_them(cls, patterns: dict[str, str]) -> dict[str, str]:
        for name, pattern in patterns.items():
            if name in DETECTORS or not _NAME.fullmatch(name):
                why = "a kind of its own" if name in DETECTORS else "no name of a-z, 0-9 and _"
                raise ValueError(f"`{name}` is {why}; name the pattern otherwise")
            _check_pattern(name, pattern)
        return patterns

    @field_validator("replace")
    @classmethod
    def _has_one_mark(cls, replace: str) -> str:
        if unknown := [mark for mark in re.findall(r"\{[^{}]*\}", replace) if mark != _MARK]:
            raise ValueError(f"{unknown[0]} stands for nothing here; only {_MARK} is replaced")
        return replace

    @field_validator("columns", "kinds")
    @classmethod
    def _each_once(cls, names: list[str]) -> list[str]:
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]!r} is named twice")
        return names

    def columns_after(self, given: Mapping[str, str | None]) -> Columns:
        """The same columns, and the count where it is asked for."""
        if not self.kinds and not self.patterns:
            raise ValueError("nothing is looked for; name `kinds` or `patterns`")
        check_text(given, {("columns", place): name for place, name in enumerate(self.columns)}, "redact")
        if self.count is None:
            return dict(given)
        check_new(given, {"count": self.count})
        return {**given, self.count: "Int64"}

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """All rows, with the texts changed."""
        import polars as pl

        schema = dict(frame.collect_schema())
        require_text(schema, self.columns, self.name)
        counted = {self.count: pl.Int64()} if self.count else {}
        return frame.map_batches(self._redacted, schema={**schema, **counted})

    def _redacted(self, frame: pl.DataFrame) -> pl.DataFrame:
        import polars as pl

        total = pl.Series(self.count or "", [0], dtype=pl.Int64).new_from_index(0, len(frame))
        changed: list[pl.Series] = []
        for name in self.columns:
            texts = frame[name].cast(pl.String)
            for kind, pattern in self.patterns.items():
                total += texts.str.count_matches(pattern).fill_null(0).cast(pl.Int64)
                # A dollar sign would name a group.
                texts = texts.str.replace_all(pattern, self._shown(kind).replace("$", "$$"))
            for kind, detector in DETECTORS.items():
                if kind in self.kinds:
                    texts, found = _replaced(texts, detector, self._shown(kind))
                    total += found
            changed.append(texts.cast(frame.schema[name]))
        counted = [total] if self.count else []
        return frame.with_columns(*changed, *counted)

    def _shown(self, kind: str) -> str:
        return self.replace.replace(_MARK, kind)


def _replaced(texts: pl.Series, detector: Detector, shown: str) -> tuple[pl.Series, pl.Series]:
    """The texts with what is found replaced, and how often in each. Only those with a hint of it are looked at."""
    import polars as pl

    found = pl.Series([0], dtype=pl.Int64).new_from_index(0, len(texts))
    places = texts.str.contains(detector.hint).fill_null(value=False).arg_true()
    changed: list[tuple[int, str, int]] = []
    for place, text in zip(places.to_list(), texts.gather(places).to_list(), strict=True):
        spans = list(detector.find(text))
        if spans:
            ends = [0, *(end for _, end in spans)]
            kept = [text[end:start] for end, (start, _) in zip(ends, spans, strict=False)]
            changed.append((place, shown.join([*kept, text[ends[-1] :]]), len(spans)))
    if not changed:
        return texts, found
    where, new, counts = zip(*changed, strict=True)
    rows = pl.Series(where, dtype=pl.UInt32)
    return texts.clone().scatter(rows, pl.Series(new, dtype=pl.String)), found.scatter(rows, pl.Series(counts))


def _check_pattern(name: str, pattern: str) -> None:
    """Try a pattern with the engine that polars has, which pydantic has too, without importing polars.

    Raises:
        ValueError: it is none, or matches an empty text.
    """
    try:
        matcher = SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except pydantic_core.SchemaError as error:
        reason = str(error).rsplit("error: ", 1)[-1].strip().splitlines()[0]
        raise ValueError(f"the pattern `{name}` cannot be used: {reason}") from None
    try:
        matcher.validate_python("")
    except pydantic_core.ValidationError:
        return
    raise ValueError(f"the pattern `{name}` matches an empty text, so that it would be found everywhere")
