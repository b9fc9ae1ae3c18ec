"""Which of the tools a text asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock.sandbox.models.words import stems

_ENOUGH = 2.0
_GENERIC = frozenset({"get", "set", "make", "creat", "find", "cal", "call", "fetch", "look", "give", "return", "curr",
                      "current", "us", "use", "valu", "tool", "function", "specifi", "given", "send"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as the request declares it.

    Attributes:
        name: of the function or custom tool.
        description: for choosing it.
        parameters: JSON Schema of its arguments; empty for none.
        custom: whether it takes free text instead.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    custom: bool = False


def rank_tools(tools: Sequence[Tool], text: str) -> list[tuple[Tool, float]]:
    """The tools with how well they fit, best first; 0 is not at all."""
    spoken = stems(text) - _GENERIC
    return sorted(((tool, _score(tool, spoken)) for tool in tools), key=lambda pair: -pair[1])


def asked_for(tools: Sequence[Tool], text: str) -> list[Tool]:
    """The tools that the text clearly asks for, best first."""
    return [tool for tool, score in rank_tools(tools, text) if score >= _ENOUGH]


def _score(tool: Tool, spoken: set[str]) -> float:
    properties = tool.parameters.get("properties", {})
    names = " ".join(properties) if isinstance(properties, dict) else ""
    return (
        2.0 * len(spoken & (stems(tool.name) - _GENERIC))
        + 1.0 * len(spoken & (stems(tool.description) - _GENERIC))
        + 0.5 * len(spoken & stems(names))
    )
