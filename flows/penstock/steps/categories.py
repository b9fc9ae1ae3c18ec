"""Reading a moderations response into columns: one row per result, and nothing that the service said is dropped.

Source: API reference, "Create moderation"; the categories are those of the ``omni-moderation`` models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.errors import UnusableAnswer
from penstock.steps.answer_body import decoded

if TYPE_CHECKING:
    import pyarrow as pa

CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
"""Of the ``omni-moderation`` models, in alphabetical order."""
OMNI_ONLY = frozenset({"illicit", "illicit/violent"})
"""Categories that the ``text-moderation`` models do not have."""
_KNOWN = frozenset(CATEGORIES)


class Result(msgspec.Struct):
    """The verdict on one input, as it came."""

    flagged: bool
    categories: dict[str, bool | None]
    category_scores: dict[str, float | None]
    category_applied_input_types: dict[str, list[str] | None] | None = None


class _Response(msgspec.Struct):
    results: list[Result]
    model: str | None = None


_response = msgspec.json.Decoder(_Response)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The results of one response, in the order of the inputs, and the model as answered."""

    results: Sequence[Result]
    model: str | None


def read_verdicts(body: bytes | memoryview, count: int) -> Verdicts:
    """The `count` results of a response.

    Raises:
        UnusableAnswer: not JSON of that shape, too few or too many results, or a score outside 0 to 1.
    """
    response = decoded(_response, body, "not a moderations response")
    if len(response.results) != count:
        raise UnusableAnswer(f"{len(response.results)} results came for {count} inputs")
    for result in response.results:
        for category, score in result.category_scores.items():
            # NaN is in no range.
            if score is not None and not 0 <= score <= 1:
                raise UnusableAnswer(f"the score of {category!r} is {score:g}, which is not between 0 and 1")
    return Verdicts(response.results, response.model)


def check_scores(results: Sequence[Result], thresholds: Mapping[str, float]) -> None:
    """Make sure that each category with a threshold has a score.

    Raises:
        UnusableAnswer: one has none.
    """
    for result in results:
        for name in thresholds:
            if result.category_scores.get(name) is None:
                raise UnusableAnswer(f"no score came for {name!r}, for which `thresholds` names one")


def columns(results: Sequence[Result], schema: pa.Schema) -> list[pa.Array]:
    """The columns of `schema`, which is that of `schema_of`, of these results: what the service said."""
    import pyarrow as pa

    kinds = [field.type for field in schema]
    made = [
        pa.array([result.flagged for result in results], kinds[0]),
        pa.array([sorted(name for name, hit in result.categories.items() if hit) for result in results], kinds[1]),
        _struct([result.categories for result in results], kinds[2]),
        _struct([result.category_scores for result in results], kinds[3]),
        pa.array([_others(result) for result in results], kinds[4]),
    ]
    if len(kinds) > len(made):
        made.append(_struct([result.category_applied_input_types or {} for result in results], kinds[5]))
    return made


def with_thresholds(answers: pa.Table, thresholds: Mapping[str, float]) -> pa.Table:
    """Answers whose `flagged` and `flagged_categories` are by thresholds.

    A category with a threshold speaks by its score, every other one by the service's verdict.

    Args:
        answers: with the columns of `schema_of`; rows of nulls stay so.
    """
    import pyarrow as pa

    flagged: list[bool | None] = []
    names: list[list[str] | None] = []
    for said, categories, scores, others in zip(
        *(answers.column(place).to_pylist() for place in (0, 2, 3, 4)), strict=True
    ):
        if said is None:
            flagged.append(None)
            names.append(None)
            continue
        hits = {**(categories or {}), **{other["category"]: other["flagged"] for other in others or ()}}
        known = {**(scores or {}), **{other["category"]: other["score"] for other in others or ()}}
        found = [name for name, hit in hits.items() if _hits(name, hit, known, thresholds)]
        # A service that flags and names no category is believed.
        flagged.append(bool(found) or (said and not any(hits.values())))
        names.append(sorted(found))
    kinds = [field.type for field in answers.schema]
    made = [pa.array(flagged, kinds[0]), pa.array(names, kinds[1]), *answers.columns[2:]]
    return pa.table(made, schema=answers.schema)


def _hits(name: str, hit: bool | None, scores: Mapping[str, float | None], thresholds: Mapping[str, float]) -> bool:
    """Whether a category counts; by the service's verdict too where an answer of before has no score for it."""
    score = scores.get(name)
    return bool(hit) if name not in thresholds or score is None else score >= thresholds[name]


def schema_of(prefix: str, *, input_types: bool) -> pa.Schema:
    """The columns of an answer; see `Moderate`."""
    import pyarrow as pa

    def of_each(kind: pa.DataType) -> pa.DataType:
        return pa.struct([pa.field(name, kind) for name in CATEGORIES])

    other = pa.struct({"category": pa.string(), "flagged": pa.bool_(), "score": pa.float64()})
    kinds = [pa.bool_(), pa.list_(pa.string()), of_each(pa.bool_()), of_each(pa.float64()), pa.list_(other)]
    kinds += [of_each(pa.list_(pa.string()))] if input_types else []
    names = column_types(prefix, input_types=input_types)
    return pa.schema([pa.field(name, kind) for name, kind in zip(names, kinds, strict=True)])


def column_types(prefix: str, *, input_types: bool) -> dict[str, str]:
    """The names of the columns of `schema_of`, in order, each with the type it is known by before it is read."""
    kinds = {
        "flagged": "Boolean",
        "flagged_categories": "List(String)",
        "categories": "Struct",
        "category_scores": "Struct",
        "other_categories": "List(Struct)",
    }
    kinds |= {"category_applied_input_types": "Struct"} if input_types else {}
    return {f"{prefix}{name}": kind for name, kind in kinds.items()}


def _struct(given: Sequence[Mapping[str, Any]], kind: pa.StructType) -> pa.Array:
    import pyarrow as pa

    children = [pa.array([one.get(field.name) for one in given], field.type) for field in kind]
    return pa.StructArray.from_arrays(children, fields=list(kind))


def _others(result: Result) -> list[dict[str, Any]] | None:
    """Categories that have no place in the structs; None when there are none."""
    further = sorted((result.categories.keys() | result.category_scores.keys()) - _KNOWN)
    return [
        {"category": name, "flagged": result.categories.get(name), "score": result.category_scores.get(name)}
        for name in further
    ] or None
