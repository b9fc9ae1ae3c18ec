"""Filling a JSON Schema from a text: each property gets what the text says of it, or the plainest value allowed.

A property is looked up by its name and description: ``name: value`` in the text first, then what its name asks for
(mail address, date, amount, rating, names in capitals), then the sentence that fits best. Bounds, ``enum``, ``const``,
``pattern`` and lengths are kept; schemas must have passed `penstock.sandbox.json_schemas.check_schema`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

from penstock.sandbox.json_schemas import find_reference
from penstock.sandbox.models.labels import rank_labels
from penstock.sandbox.models.strings import find_string, fit_length, match_pattern
from penstock.sandbox.models.words import keywords, named, sentences, stem, stems, words

_DEEPEST = 12
_MOST_ITEMS = 5
_READ = 20_000
"""Characters of the text that are read."""
_NUMBER = re.compile(
    r"[-+]?(?<![\w.])\d{1,3}(?:[,\u202f']\d{3})+(?:\.\d+)?|(?<![\w.])[-+]?\d+(?:\.\d+)?(?:[eE]\d{1,2})?"
)
_NUMBER_WORDS = dict(
    zip(named("zero one two three four five six seven eight nine ten eleven twelve"), range(13), strict=True)
)
_NOT = frozenset(named("not no never without isn't wasn't don't doesn't didn't nobody none cannot can't"))
_YES = frozenset(named("true yes y 1 ja oui si"))
_FALSE = frozenset(named("false no n 0 nein non"))
_AFFIXES = frozenset(named("is has are was can should does contains include mention flag bool number count num of the"))
_LIKELY = ("confidence", "score", "probability", "certainty", "likelihood", "relevance")
_MONEY = frozenset(map(stem, named("price cost amount total fee payment budget salary revenue")))
_AMOUNT = re.compile(
    r"(?:[$€£¥]|\b(?:USD|EUR|GBP)) ?([\d,]{0,20}\d(?:\.\d{1,6})?)|(?<![\d,.])([\d,]{0,20}\d(?:\.\d{1,6})?) ?"
    r"(?:[$€£¥]|(?:USD|EUR|GBP|dollars|euros|pounds)\b)"
)
MISSING = object()
"""Nothing in the text; a plain value is made up."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the schema we are.

    Attributes:
        root: the whole schema, for references.
        text: what is read.
        name: of the property.
        about: the property's name and description as stems.
        variant: 0 takes the best candidate, others the next.
        depth: levels below the root.
    """

    root: dict[str, Any]
    text: str
    name: str
    about: frozenset[str]
    variant: int
    depth: int


def fill(schema: dict[str, Any], text: str, variant: int = 0) -> Any:
    """A value that the schema allows, made from `text`."""
    return _fill(schema, _Place(schema, text[:_READ], "", frozenset(), variant, 0))[0]


def _fill(schema: dict[str, Any], place: _Place) -> tuple[Any, bool]:
    """The value, and whether the text said it."""
    schema = _resolve(schema, place.root)
    if "const" in schema:
        return schema["const"], True
    if "enum" in schema:
        return _choose(schema["enum"], place)
    if branches := schema.get("anyOf") or schema.get("oneOf"):
        return _branch(branches, place)
    kinds = schema.get("type") or _guess_kind(schema, place)
    if isinstance(kinds, list):
        return _branch([{**schema, "type": kind} for kind in kinds], place)
    match kinds:
        case "object":
            return _object(schema, place)
        case "array":
            return _array(schema, place)
        case "integer" | "number":
            return _number(schema, place, whole=kinds == "integer")
        case "boolean":
            return _boolean(place)
        case "null":
            return None, False
        case _:
            return _string(schema, place)


def _resolve(schema: dict[str, Any], root: dict[str, Any], taken: set[str] | None = None) -> dict[str, Any]:
    """The schema without references and ``allOf``; of `taken`, references in it, each is taken up once only."""
    for _ in range(_DEEPEST):
        if "$ref" not in schema:
            break
        target = find_reference(root, schema["$ref"]) or {}
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    else:
        return {"type": "null"}
    taken = set() if taken is None else taken
    for given in schema.get("allOf", ()):
        reference = given.get("$ref")
        if reference in taken:
            continue
        if reference is not None:
            taken.add(reference)
        part = _resolve(given, root, taken)
        merged = {**schema.get("properties", {}), **part.get("properties", {})}
        schema = {**part, **schema} | ({"properties": merged} if merged else {})
    return schema


def _guess_kind(schema: dict[str, Any], place: _Place) -> str:
    if "properties" in schema or (not place.depth and not schema):
        return "object"
    return "array" if "items" in schema else "string"


def _branch(branches: list[dict[str, Any]], place: _Place) -> tuple[Any, bool]:
    """The first branch that the text says something of; else null where it is allowed; else the first."""
    if place.depth >= _DEEPEST:
        branches = sorted(branches, key=lambda branch: branch.get("type") not in ("null", "string", "integer"))
        return (
            _fill(branches[0], replace(place, depth=place.depth + 1)) if place.depth < 2 * _DEEPEST else (None, False)
        )
    tried = [_fill(branch, replace(place, depth=place.depth + 1)) for branch in branches]
    for value, said in tried:
        if said:
            return value, True
    if any(value is None for value, _ in tried):
        return None, False
    return tried[0]


def _choose(values: list[Any], place: _Place) -> tuple[Any, bool]:
    labels = [str(value) for value in values if value is not None]
    if not labels:
        return values[0], False
    hit = _labelled(place)
    ranked = rank_labels(labels, hit if hit is not None else place.text)
    chosen = ranked[1] if place.variant % 3 == 2 and len(ranked) > 1 else ranked[0]
    said = bool(stems(chosen) & stems(place.text))
    return next(value for value in values if value is not None and str(value) == chosen), said or None not in values


def _object(schema: dict[str, Any], place: _Place) -> tuple[Any, bool]:
    if place.depth >= 2 * _DEEPEST:
        return {}, False
    found: dict[str, Any] = {}
    any_said = False
    needed = schema.get("required", [])
    for name, part in schema.get("properties", {}).items():
        if place.depth >= _DEEPEST and name not in needed:
            continue
        value, said = _fill(part, _inner(place, name, part))
        if said or name in needed or not needed:
            found[name] = value
        any_said = any_said or said
    for name in needed:
        if name not in found:
            found[name] = _fill({"type": "string"}, _inner(place, name, {}))[0]
    return found, any_said


def _inner(place: _Place, name: str, part: dict[str, Any]) -> _Place:
    about = frozenset(stem(word) for word in words(name) if word not in _AFFIXES)
    about |= stems(str(part.get("description", ""))[:300])
    return replace(place, name=name, about=about, depth=place.depth + 1)


def _array(schema: dict[str, Any], place: _Place) -> tuple[Any, bool]:
    least, most = schema.get("minItems", 0), schema.get("maxItems", _MOST_ITEMS * 4)
    items = schema.get("items", {})
    if not isinstance(items, dict) or place.depth >= _DEEPEST:
        items = {"type": "string"}
        if place.depth >= _DEEPEST and not least:
            return [], False
    items = _resolve(items, place.root)
    values = [value for value in _items(items, place) if value is not MISSING][: max(0, most)]
    said = bool(values)
    filler = None
    while len(values) < min(least, 1_000):
        filler = filler if values and filler is not None else _fill(items, replace(place, depth=place.depth + 1))[0]
        values.append(filler)
    return values, said


def _items(items: dict[str, Any], place: _Place) -> list[Any]:
    if "enum" in items:
        spoken = [value for value in items["enum"] if stems(str(value)) and stems(str(value)) <= stems(place.text)]
        return spoken or [_choose(items["enum"], place)[0]]
    hit = _labelled(place)
    listed = [piece.strip(" .\"'[]") for piece in re.split(r",|;|\band\b", hit)] if hit else []
    kind = items.get("type") if not items.keys() & {"anyOf", "oneOf", "const"} else "mixed"
    match kind:
        case "number" | "integer":
            whole = items["type"] == "integer"
            values = [_within(items, _parse(found), whole=whole) for found in _NUMBER.findall(hit or place.text)]
            return values[:_MOST_ITEMS]
        case "string" | None if "properties" not in items:
            spoken = find_string(place.name, place.text, many=True) if not listed else []
            chosen = [one for one in listed if one] or spoken or keywords(place.text, _MOST_ITEMS)
            return [_shape(items, value) for value in chosen]
        case "boolean":
            return [_boolean(place)[0]]
        case _:
            pieces = [piece for piece in sentences(place.text) if len(piece) > 3][:_MOST_ITEMS] or [place.text]
            filled = [_fill(items, replace(place, text=piece, depth=place.depth + 1)) for piece in pieces]
            return [value for value, said in filled if said] or [filled[0][0]]


def _number(schema: dict[str, Any], place: _Place, *, whole: bool) -> tuple[float, bool]:
    hit = _labelled(place)
    if hit is not None and (found := _NUMBER.search(hit)):
        return _within(schema, _parse(found[0]), whole=whole), True
    candidates = _numbers_near(place)
    fitting = [value for value in candidates if _within(schema, value, whole=whole) == value]
    if fitting:
        return _within(schema, fitting[place.variant % len(fitting)], whole=whole), True
    if any(word in place.name.lower() for word in _LIKELY):
        return _within(schema, 1 if whole else 0.9, whole=whole), False
    return _within(schema, 0, whole=whole), False


def _numbers_near(place: _Place) -> list[float]:
    """The numbers in the text, those nearest to a word of the property first; for money those beside a sign."""
    if place.about & _MONEY and (amounts := _AMOUNT.findall(place.text)):
        return [_parse(before or after) for before, after in amounts]
    found = [(match.start(), _parse(match[0])) for match in _NUMBER.finditer(place.text)]
    found += [
        (match.start(), float(_NUMBER_WORDS[match[0].lower()]))
        for match in re.finditer(rf"\b(?:{'|'.join(_NUMBER_WORDS)})\b", place.text, re.IGNORECASE)
    ]
    marks = [
        match.start() for match in re.finditer(r"[^\W\d_]+", place.text) if stem(match[0].casefold()) in place.about
    ]
    if not marks:
        return [value for _, value in sorted(found)]
    return [value for at, value in sorted(found, key=lambda pair: min(abs(pair[0] - mark) for mark in marks))]


def _parse(text: str) -> float:
    value = float(re.sub(r"[,\u202f']", "", text))
    return value if math.isfinite(value) else 0.0


def _within(schema: dict[str, Any], value: float, *, whole: bool) -> float:
    low = schema.get("minimum", -math.inf)
    high = schema.get("maximum", math.inf)
    step = schema.get("multipleOf", 1 if whole else 0)
    gap = step or 1e-6 * max(1.0, abs(value))
    if "exclusiveMinimum" in schema:
        low = max(low, schema["exclusiveMinimum"] + gap)
    if "exclusiveMaximum" in schema:
        high = min(high, schema["exclusiveMaximum"] - gap)
    value = min(max(value, low), high)
    if step and math.isfinite(value / step):
        value = round(value / step) * step
        value += step if value < low else -step if value > high else 0
    return int(value) if whole or (value == int(value) and abs(value) < 1e15) else float(f"{value:.12g}")


def _boolean(place: _Place) -> tuple[bool, bool]:
    hit = _labelled(place)
    first = words(hit)[0] if hit and words(hit) else ""
    if first in _YES or first in _FALSE:
        return first in _YES, True
    spoken = words(place.text)
    own = {stem(word) for word in words(place.name) if word not in _AFFIXES}
    places = [at for at, word in enumerate(spoken) if stem(word) in own]
    if places:
        return not any(word in _NOT for at in places for word in spoken[max(0, at - 3) : at]), True
    ranked = rank_labels(["neutral", *words(place.name)], place.text)
    return ranked[0] != "neutral", False


def _string(schema: dict[str, Any], place: _Place) -> tuple[str, bool]:
    if "pattern" in schema:
        value, said = match_pattern(schema["pattern"], _labelled(place) or place.text)
        return (fit_length(schema, value), said) if value is not None else (fit_length(schema, ""), False)
    hit = _labelled(place)
    if hit is not None and "format" not in schema:
        inside = find_string(place.name, hit, many=True)
        return _shape(schema, inside[0] if inside else hit), True
    spoken = find_string(schema.get("format") or place.name, place.text, many=False, strict="format" in schema)
    if spoken:
        return _shape(schema, spoken[place.variant % len(spoken)]), True
    told = sentences(place.text)
    ranked = sorted(told, key=lambda sentence: -len(stems(sentence) & place.about))
    said = bool(ranked) and bool(stems(ranked[0]) & place.about)
    return _shape(schema, ranked[place.variant % len(ranked)] if ranked else place.text.strip()), said


def _shape(schema: dict[str, Any], value: str) -> str:
    if "pattern" in schema:
        return fit_length(schema, match_pattern(schema["pattern"], value)[0] or value)
    return fit_length(schema, value)


def _labelled(place: _Place) -> str | None:
    """What stands after ``name:`` or ``name is`` in the text, up to the end of the sentence or line."""
    parts = [re.escape(word) for word in words(place.name)]
    if not parts:
        return None
    name = r"[\s_-]*".join(parts)
    found = re.search(
        rf"(?<!\w){name}(?!\w)[\"'*]*\s*(?:[:=]|\bis\b|\bwas\b|\bare\b)\s*([^\n;]+)", place.text, re.IGNORECASE
    )
    if not found:
        return None
    value = re.split(r"(?<=[^\d.\s])[.!?](?:\s|$)|,\s*[\w ]{1,30}(?::|=|\bis\b)", found[1])[0]
    return value.strip(" \"'*`,") or None
