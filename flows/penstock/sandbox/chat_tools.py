"""The tools of a chat request, which of them may or must be called, and how many tokens their declarations are."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from penstock.sandbox import errors
from penstock.sandbox.errors import ApiError
from penstock.sandbox.fields import quoted, read_array, read_choice, read_flag, read_object, read_text, required
from penstock.sandbox.json_schemas import BadSchema, check_schema
from penstock.sandbox.models.tools import Tool
from penstock.sandbox.tokens import count_tokens

MOST_TOOLS = 128
CHOICES = ("none", "auto", "required")
_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_LONGEST_NAME = 64
_PER_TOOL = 8


@dataclass(frozen=True, slots=True)
class ToolUse:
    """What the request says of tools.

    Attributes:
        tools: that may be called.
        mode: ``none``, ``auto``, ``required`` or ``named``; with the last there is one tool.
        parallel: whether several may be called at once.
        legacy: declared as ``functions``, so answered as ``function_call``.
        tokens: of all declarations.
    """

    tools: tuple[Tool, ...] = ()
    mode: str = "none"
    parallel: bool = True
    legacy: bool = False
    tokens: int = 0


def read_tools(body: dict[str, Any], vocabulary: str) -> ToolUse:
    """The tools and the choice among them, checked.

    Raises:
        ApiError: one of them is wrong.
    """
    if "functions" in body:
        return _read_functions(body, vocabulary)
    listed = read_array(body, "tools", most=MOST_TOOLS)
    parallel = read_flag(body, "parallel_tool_calls")
    if listed is None:
        for name in ("tool_choice", "parallel_tool_calls"):
            if body.get(name) is not None:
                raise ApiError(
                    400,
                    f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified.",
                    param=name,
                )
        return ToolUse()
    tools = tuple(_tool(item, f"tools[{index}]") for index, item in enumerate(listed))
    chosen, mode = _choice(body.get("tool_choice"), tools)
    return ToolUse(chosen, mode, parallel is not False, tokens=_count(listed, vocabulary))


def _read_functions(body: dict[str, Any], vocabulary: str) -> ToolUse:
    listed = read_array(body, "functions", most=MOST_TOOLS) or []
    if body.get("tools") is not None:
        raise ApiError(400, "'functions' and 'tools' cannot be given together.", param="tools")
    tools = tuple(_function(item, f"functions[{index}]") for index, item in enumerate(listed))
    choice = body.get("function_call")
    mode = "auto"
    if isinstance(choice, str) or choice is None:
        mode = read_choice(body, "function_call", ("none", "auto")) or "auto"
    else:
        named = read_object(body, "function_call") or {}
        required(named, "name", "function_call.")
        tools = (_find(tools, read_text(named, "name", "function_call.") or "", "function_call"),)
        mode = "named"
    return ToolUse(tools, mode if tools else "none", False, True, _count(listed, vocabulary))


def _tool(item: Any, at: str) -> Tool:
    if not isinstance(item, dict):
        raise errors.wrong_type(at, "an object", item)
    required(item, "type", f"{at}.")
    kind = read_choice(item, "type", ("function", "custom"), f"{at}.")
    if kind is None:
        raise errors.wrong_type(f"{at}.type", "a string", None)
    required(item, kind, f"{at}.")
    if kind == "function":
        return _function(item["function"], f"{at}.function")
    custom = read_object(item, "custom", f"{at}.")
    if custom is None:
        raise errors.wrong_type(f"{at}.custom", "an object", None)
    name = _name(custom, f"{at}.custom")
    return Tool(name, read_text(custom, "description", f"{at}.custom.") or "", {}, custom=True)


def _function(item: Any, at: str) -> Tool:
    if not isinstance(item, dict):
        raise errors.wrong_type(at, "an object", item)
    name = _name(item, at)
    description = read_text(item, "description", f"{at}.") or ""
    parameters = read_object(item, "parameters", f"{at}.") or {}
    strict = read_flag(item, "strict", f"{at}.") is True
    try:
        check_schema(parameters, strict=strict and bool(parameters))
    except BadSchema as bad:
        raise ApiError(
            400,
            f"Invalid schema for function '{name}': {bad}",
            param=f"{at}.parameters",
            code="invalid_function_parameters",
        ) from None
    return Tool(name, description, parameters)


def _name(item: dict[str, Any], at: str) -> str:
    required(item, "name", f"{at}.")
    name = read_text(item, "name", f"{at}.", most=_LONGEST_NAME)
    if name is None:
        raise errors.wrong_type(f"{at}.name", "a string", None)
    if not _NAME.fullmatch(name):
        raise ApiError(
            400,
            f"Invalid '{at}.name': string does not match pattern. Expected a string that matches the pattern "
            "'^[a-zA-Z0-9_-]+$'.",
            param=f"{at}.name",
            code="invalid_value",
        )
    return name


def _choice(value: Any, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], str]:
    if value is None:
        return tools, "auto"
    if isinstance(value, str):
        return tools, read_choice({"tool_choice": value}, "tool_choice", CHOICES) or "auto"
    if not isinstance(value, dict):
        raise errors.wrong_type("tool_choice", f"one of {quoted(CHOICES, 'or')} or an object", value)
    required(value, "type", "tool_choice.")
    kind = read_choice(value, "type", ("function", "custom", "allowed_tools"), "tool_choice.") or "function"
    required(value, kind, "tool_choice.")
    named = read_object(value, kind, "tool_choice.") or {}
    if kind != "allowed_tools":
        required(named, "name", f"tool_choice.{kind}.")
        return (_find(tools, read_text(named, "name", f"tool_choice.{kind}.") or "", "tool_choice"),), "named"
    mode = read_choice(named, "mode", ("auto", "required"), "tool_choice.allowed_tools.") or "auto"
    allowed = read_array(named, "tools", "tool_choice.allowed_tools.") or []
    names = {_named(item) for item in allowed}
    return tuple(tool for tool in tools if tool.name in names) or tools, mode


def _named(item: Any) -> str:
    inner = item.get(item.get("type")) if isinstance(item, dict) and isinstance(item.get("type"), str) else None
    name = inner.get("name") if isinstance(inner, dict) else None
    return name if isinstance(name, str) else ""


def _find(tools: tuple[Tool, ...], name: str, param: str) -> Tool:
    for tool in tools:
        if tool.name == name:
            return tool
    raise ApiError(400, f"Tool choice '{name}' not found in 'tools' parameter.", param=param)


def count_declaration(value: object, vocabulary: str) -> int:
    """Tokens of a schema or tool as compact JSON; the service does not say how it writes them into the prompt."""
    return count_tokens(json.dumps(value, ensure_ascii=False, separators=(",", ":")), vocabulary)


def _count(listed: list[Any], vocabulary: str) -> int:
    return sum(_PER_TOOL + count_declaration(item, vocabulary) for item in listed)
