"""Holding an answer against its JSON Schema: the value, or what is wrong with it in words that a model can act on."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

MOST_COMPLAINTS = 8
_LONGEST_COMPLAINT = 300
_FENCE = "```"


def read_json(text: str, schema: str | None) -> tuple[Any, list[str]]:
    """The value that an answer's text holds, and what is wrong with it; the list is empty when nothing is.

    Args:
        text: of the answer; a Markdown fence around all of it is taken off.
        schema: as JSON text; None asks for any JSON object.
    """
    try:
        value = _decoded(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        return None, [f"it is not JSON: {error}"]
    except RecursionError:
        return None, ["it is nested too deeply"]
    if schema is None:
        return value, [] if isinstance(value, dict) else ["it is no JSON object"]
    try:
        found = sorted(_validator(schema).iter_errors(value), key=lambda error: list(map(str, error.absolute_path)))
    except RecursionError:
        return None, ["it is nested too deeply"]
    return value, [_shortened(f"{error.json_path}: {error.message}") for error in found[:MOST_COMPLAINTS]]


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        # Markdown around the whole is the commonest wrapping, and one that loses nothing when it is taken off.
        inner = text.strip().removeprefix(_FENCE).removesuffix(_FENCE)
        if len(inner) != len(text.strip()) - 2 * len(_FENCE):
            raise
        return msgspec.json.decode(inner.strip().removeprefix("json"))


@lru_cache(maxsize=64)
def _validator(schema: str) -> Validator:
    # Some 0.1 CPU-seconds, which checking a pipeline need not pay.
    from jsonschema import Draft202012Validator
    from referencing import Registry

    # An empty registry: a reference to another place is an error and never a request.
    validator: Validator = Draft202012Validator(msgspec.json.decode(schema), registry=Registry())
    return validator


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_COMPLAINT else f"{text[:_LONGEST_COMPLAINT]}…"
