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


def reasons(result: Result, thresholds: Mapping[str, float]) -> tuple[bool, list[str]]:
    """Whether an input is flagged, and the categories that say so.

    A category with a threshold speaks by its score, every other one by the service's verdict. Without thresholds
    `flagged` is what the service says.

    Raises:
        UnusableAnswer: a category with a threshold has no score.
    """
    found = [name for name, hit in result.categories.items() if hit and name not in thresholds]
    for name, threshold in thresholds.items():
        score = result.category_scores.get(name)
        if score is None:
            raise UnusableAnswer(f"no score came for {name!r}, for which `thresholds` names one")
        if score >= threshold:
            found.append(name)
    # A service that flags and names no category is believed.
    bare = result.flagged and not any(result.categories.values())
    flagged = bool(found) or bare if thresholds else result.flagged
    return flagged, sorted(found)


def columns(results: Sequence[Result], thresholds: Mapping[str, float], schema: pa.Schema) -> list[pa.Array]:
    """The columns of `schema`, which is that of `schema_of`, of these results.

    Raises:
        UnusableAnswer: see `reasons`.
    """
    import pyarrow as pa

    verdicts = [reasons(result, thresholds) for result in results]
    kinds = [field.type for field in schema]
    made = [
        pa.array([flagged for flagged, _ in verdicts], kinds[0]),
        pa.array([names for _, names in verdicts], kinds[1]),
        _struct([result.categories for result in results], kinds[2]),
        _struct([result.category_scores for result in results], kinds[3]),
        pa.array([_others(result) for result in results], kinds[4]),
    ]
    if len(kinds) > len(made):
        made.append(_struct([result.category_applied_input_types or {} for result in results], kinds[5]))
    return made


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
