"""The fields of a chat request besides the model and the messages, as the API names them."""

from __future__ import annotations

import re
from typing import Any

from penstock.steps.chat_fields import ChatFields
from penstock.steps.chat_settings import SchemaFormat, Tool

CHOICES = ("auto", "none", "required")
"""What `tool_choice` may be besides a tool's name."""
_THINKING = re.compile(r"(?:ft:)?(?:o[1-9]\d?(?:-|$)|gpt-(?:[5-9]|\d\d))", re.IGNORECASE)
_AS_THEY_ARE = (
    "temperature", "top_p", "stop", "seed", "presence_penalty", "frequency_penalty", "logit_bias", "top_logprobs",
    "reasoning_effort",
)  # fmt: skip
_LONGEST_NAME = 64


def request_fields(step: ChatFields) -> dict[str, Any]:
    """What is set, under the API's names; what is not set is not sent."""
    fields = {name: value for name in _AS_THEY_ARE if (value := getattr(step, name)) is not None}
    if step.n > 1:
        fields["n"] = step.n
    if step.logprobs:
        fields["logprobs"] = True
    if step.max_tokens is not None:
        fields[tokens_field(step.model)] = step.max_tokens
    if step.tools:
        fields["tools"] = [_tool(tool) for tool in step.tools]
        if step.tool_choice is not None:
            fields["tool_choice"] = _choice(step.tool_choice)
        if step.parallel_tool_calls is not None:
            fields["parallel_tool_calls"] = step.parallel_tool_calls
    if isinstance(step.response_format, SchemaFormat):
        fields["response_format"] = {"type": "json_schema", "json_schema": _schema(step.response_format, step.output)}
    elif step.response_format != "text":
        fields["response_format"] = {"type": step.response_format}
    if step.stream:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    return fields


def tokens_field(model: str) -> str:
    """The field that bounds an answer: models that think before they answer refuse the older name."""
    return "max_completion_tokens" if _THINKING.match(model) else "max_tokens"


def _tool(tool: Tool) -> dict[str, Any]:
    optional = {"description": tool.description, "parameters": tool.parameters, "strict": tool.strict or None}
    function = {"name": tool.name, **{name: value for name, value in optional.items() if value is not None}}
    return {"type": "function", "function": function}


def _choice(choice: str) -> str | dict[str, Any]:
    return choice if choice in CHOICES else {"type": "function", "function": {"name": choice}}


def _schema(asked: SchemaFormat, output: str) -> dict[str, Any]:
    about = {"description": asked.description} if asked.description else {}
    name = asked.name or re.sub(r"[^a-zA-Z0-9_-]", "_", output)[:_LONGEST_NAME]
    return {"name": name, **about, "schema": asked.schema_itself, "strict": asked.strict}
