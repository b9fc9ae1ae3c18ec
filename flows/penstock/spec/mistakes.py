"""What pydantic finds wrong, as plain sentences at their places in the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from penstock.spec.markers import keys_of
from penstock.spec.positions import Document, Path
from penstock.spec.positions import Mapping as MappingNode
from penstock.spec.references import did_you_mean, nearest

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

Settings = TypeVar("Settings", bound=BaseModel)
_WHOLE = "a whole number"
_TYPES: dict[str, str] = {
    "string_type": "text",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "int_parsing_size": "a smaller number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "empty",
}
_PATTERNS = {
    r"^[a-z0-9][a-z0-9_-]*$": "may hold only a-z, 0-9, - and _, and begins with a letter or digit",
    r"^[a-z][a-z0-9_]*$": "may hold only a-z, 0-9 and _, and begins with a letter",
    r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$": "must name a module and a function in it, as module:function",
    r"^_?[^_]": "must not begin with two underscores",
    r"^([0-9]+x[0-9]+|auto)$": "must be width and height in pixels, such as 1024x1024, or auto",
    r"^[a-z]{2,3}$": "must be a language's code of two or three small letters, such as en",
    r"^[\t !#-~]$": "must be one ASCII character, and no quotation mark",
    r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$": "may hold only letters, digits, _, - and dots, and begins with no - or dot",
}
_BOUNDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than_equal": lambda bound: f"must be {_number(bound['ge'])} or more",
    "greater_than": lambda bound: f"must be more than {_number(bound['gt'])}",
    "less_than_equal": lambda bound: f"must be {_number(bound['le'])} or less",
    "less_than": lambda bound: f"must be less than {_number(bound['lt'])}",
    "string_too_short": lambda bound: (
        "must not be empty" if bound["min_length"] == 1 else f"must have {bound['min_length']} characters or more"
    ),
    "string_too_long": lambda bound: f"must have {bound['max_length']} characters or fewer",
    "too_short": lambda bound: (
        "must not be empty" if bound["min_length"] == 1 else f"must have {bound['min_length']} entries or more"
    ),
    "too_long": lambda bound: f"must have {bound['max_length']} entries or fewer",
}


def validated(model: type[Settings], data: Any, document: Document, path: Path) -> Settings | None:
    """`data` as `model`, or None with every mistake added to the document.

    Args:
        model: the declaration.
        data: what stands at `path`, as plain values.
        document: where mistakes go.
        path: of the settings in the document.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        report(error.errors(include_url=False), model, data, document, path)
        return None


def report(found: list[ErrorDetails], model: type[BaseModel], data: Any, document: Document, path: Path) -> None:
    """Add every mistake that pydantic found to the document."""
    places: dict[Path, list[ErrorDetails]] = {}
    for detail in found:
        places.setdefault(_real_path(data, detail), []).append(detail)
    for path_of_unknown in [where for where, details in places.items() if details[0]["type"] == "extra_forbidden"]:
        # A misspelt key is one mistake: that the right one is missing goes without saying.
        meant = _meant(model, path_of_unknown)
        if meant in places and places[meant][0]["type"] == "missing":
            del places[meant]
    for inner, details in places.items():
        tagged = any(len(detail["loc"]) > len(inner) for detail in details)
        if tagged and any(other[: len(inner)] == inner and len(other) > len(inner) for other in places):
            # One branch of "a name or a list of names" failed deeper, which is the one that was meant.
            continue
        _report_one(inner, details, model, document, path)


def missing_keys_hint(allowed: Mapping[str, Any]) -> str:
    """The keys that may stand here, as a sentence."""
    return f"allowed here: {', '.join(sorted(allowed))}"


def field_at(model: type[BaseModel], path: Path) -> FieldInfo | None:
    """The declaration of the field at `path`, through nested models."""
    field: FieldInfo | None = None
    current: type[BaseModel] | None = model
    for part in path:
        if current is None or part not in keys_of(current):
            return field if isinstance(part, int) else None
        field = keys_of(current)[str(part)]
        current = _model_in(field.annotation)
    return field


def _meant(model: type[BaseModel], unknown: Path) -> Path:
    owner = _model_at(model, unknown[:-1])
    name = nearest(str(unknown[-1]), list(keys_of(owner))) if owner is not None else None
    return (*unknown[:-1], name) if name is not None else ()


def _report_one(
    inner: Path, details: list[ErrorDetails], model: type[BaseModel], document: Document, path: Path
) -> None:
    first = details[0]
    full = (*path, *inner)
    key, node = document.find(full)
    name = next((str(part) for part in reversed(full) if isinstance(part, str)), "")
    if not inner and full and isinstance(full[-1], int):
        # A mistake of a whole step is none of the list that it stands in.
        name = ""
    if first["type"] == "missing":
        _report_missing(name, inner, model, document, full)
    elif first["type"] == "extra_forbidden":
        owner = _model_at(model, inner[:-1])
        allowed = keys_of(owner) if owner else {}
        span = key.span if key is not None else node.span
        hint = did_you_mean(name, list(allowed)) or missing_keys_hint(allowed)
        document.add(span, f"unknown key `{name}`", hint)
    else:
        message = _sentence(name, details)
        document.add(node.span, message, _examples(field_at(model, inner), message))


def _report_missing(name: str, inner: Path, model: type[BaseModel], document: Document, full: Path) -> None:
    key, node = document.find(full[:-1])
    span = key.span if key is not None else node.span
    if isinstance(node, MappingNode) and node.keys and key is None:
        span = next(iter(node.keys.values())).span
    document.add(span, f"`{name}` is missing", _examples(field_at(model, inner), "", word=f"{name}: "))


def _sentence(name: str, details: list[ErrorDetails]) -> str:
    wanted = list(dict.fromkeys(_TYPES[detail["type"]] for detail in details if detail["type"] in _TYPES))
    others = [detail for detail in details if detail["type"] not in _TYPES]
    if others:
        detail = others[0]
        context = detail.get("ctx", {})
        kind = detail["type"]
        if kind == "value_error":
            text = str(context.get("error", detail["msg"]))
            return f"`{name}`: {text}" if name else text
        if kind == "literal_error":
            given = detail["input"]
            shown = f" ({given!r} is not)" if isinstance(given, str | int | float) and len(repr(given)) < 60 else ""
            return f"`{name}` must be one of {str(context['expected']).replace(' or ', ', ')}{shown}"
        if kind in _BOUNDS:
            return f"`{name}` {_BOUNDS[kind](context)}"
        if kind == "string_pattern_mismatch":
            return f"`{name}` {_PATTERNS.get(context['pattern'], 'does not have the form ' + context['pattern'])}"
        return f"`{name}`: {detail['msg'][:1].lower()}{detail['msg'][1:]}"
    given = details[0]["input"]
    hint = "; put it in quotes" if wanted == ["text"] and isinstance(given, int | float | bool) else ""
    found = " and not empty" if given is None else ""
    return f"`{name}` must be {' or '.join(wanted)}{found}{hint}"


def _real_path(data: Any, detail: ErrorDetails) -> Path:
    """The error's location without the names that pydantic puts in for the branches of a union."""
    path: list[str | int] = []
    here = data
    last = detail["type"] in {"missing", "extra_forbidden"}
    for place, part in enumerate(detail["loc"]):
        inside = part in here if isinstance(here, dict) else isinstance(here, list) and part in range(len(here))
        if inside:
            here = here[part]
            path.append(part)
        elif last and place == len(detail["loc"]) - 1:
            path.append(part)
    return tuple(path)


def _model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    if not path:
        return model
    field = field_at(model, path)
    return _model_in(field.annotation) if field is not None else None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _model_in(argument)) is not None:
            return found
    return None


def _examples(field: FieldInfo | None, message: str, word: str = "") -> str:
    if field is None or not field.examples or "write" in message:
        return ""
    return f"for example {word}{_yaml(field.examples[0])}"


def _yaml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_yaml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    if isinstance(value, str) and any(mark in value for mark in "{}[]:#'\""):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
