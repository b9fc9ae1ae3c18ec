"""Checks of an example's tools, and of calls and answers against each other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from penstock.outputs.finetune.messages import Fault
from penstock.outputs.finetune.shapes import canonical

TOOL_NAME = r"[A-Za-z0-9_-]{1,64}"
_NAME = re.compile(TOOL_NAME)
_KEPT = 256


def check_tools(value: dict[str, Any]) -> Iterator[Fault]:
    """All that is wrong with ``tools``, ``functions`` and ``parallel_tool_calls`` of an example."""
    for key in ("tools", "functions"):
        if key in value:
            # Most files give the same tools on every line.
            yield from _checked(canonical(value[key]), key)
    if not isinstance(value.get("parallel_tool_calls", True), bool):
        yield "bad_parallel_tool_calls", "'parallel_tool_calls' must be true or false"


@lru_cache(maxsize=_KEPT)
def _checked(encoded: bytes, key: str) -> tuple[Fault, ...]:
    return tuple(_check(json.loads(encoded), key))


def _check(tools: Any, key: str) -> Iterator[Fault]:
    if not isinstance(tools, list) or not tools:
        yield "bad_tools", f"{key!r} must be a list with at least one function"
        return
    names: set[str] = set()
    for number, tool in enumerate(tools, 1):
        function = tool
        if key == "tools":
            function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict):
            yield "bad_tools", f"{key}, number {number}: not {{'type': 'function', 'function': {{'name': …}}}}"
            continue
        name = function.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            yield (
                "bad_tool_name",
                f"{key}, number {number}: the name {name!r} is not 1 to 64 of letters, digits, _ and -",
            )
        elif name in names:
            yield "duplicate_tool", f"{key}, number {number}: the name {name!r} stands twice"
        else:
            names.add(name)
        if "parameters" in function and (why := _bad_schema(function["parameters"])):
            yield "bad_tool_schema", f"{key}, number {number}: the parameters are no valid schema: {why}"


def _bad_schema(schema: Any) -> str:
    from jsonschema import Draft202012Validator, SchemaError

    if not isinstance(schema, dict):
        return "not an object"
    if schema and schema.get("type", "object") != "object":
        return f"the type is {schema['type']!r}, and must be 'object'"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = "/".join(map(str, error.absolute_path))
        return f"{place + ': ' if place else ''}{error.message[:200]}"
    return ""


def check_calls(messages: list[dict[str, Any]], tools: Any) -> Iterator[Fault]:
    """Calls without an answer, answers without a call, and calls of tools that the example does not have."""
    declared = {name for tool in tools if (name := _name(tool))} if isinstance(tools, list) else set()
    waiting: set[str] = set()
    for number, message in enumerate(messages, 1):
        if message.get("role") == "tool":
            call = message.get("tool_call_id")
            if isinstance(call, str) and call not in waiting:
                yield "tool_without_call", f"message {number}: no call before it has the id {call!r}"
            waiting.discard(str(call))
            continue
        if waiting:
            yield "call_without_answer", f"message {number}: the call {min(waiting)!r} before it has no answer yet"
            waiting = set()
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if name := _name(call):
                waiting.add(str(call.get("id")))
                if name not in declared:
                    yield "undeclared_tool", f"message {number}: {name!r} is not among the example's tools"


def _name(tool: Any) -> str | None:
    function = tool.get("function") if isinstance(tool, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None
