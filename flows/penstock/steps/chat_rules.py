"""Which settings of a `chat` step go together: what the service would refuse for every row is told beforehand."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.steps.chat_fields import ChatFields
from penstock.steps.chat_request import CHOICES
from penstock.steps.json_schemas import Problem
from penstock.steps.json_types import shape_of

_SETTINGS = (
    "max_tokens", "temperature", "top_p", "stop", "seed", "presence_penalty", "frequency_penalty", "logit_bias",
    "logprobs", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort",
)  # fmt: skip
_NEVER = ("model", "messages", "n", "stream", "functions", "function_call")


def problems_of(step: ChatFields) -> list[Problem]:
    """What does not go together, with the places of the settings at fault."""
    return [*_asked(step), *_form(step), *_tools(step), *_further(step)]


def _asked(step: ChatFields) -> Iterator[Problem]:
    ways = [name for name in ("prompt", "messages", "messages_column") if getattr(step, name) is not None]
    if not ways:
        yield ("uses",), "a chat step needs `prompt`, `messages` or `messages_column`"
    elif len(ways) > 1:
        yield (ways[1],), f"`{ways[0]}` says already what is asked; leave one of them out"
    if step.system is not None and step.prompt is None:
        yield ("system",), "it goes with `prompt`; among `messages`, write a message with `role: system`"
    if step.prompt is not None and not step.prompt.strip():
        yield ("prompt",), "it must not be empty"


def _form(step: ChatFields) -> Iterator[Problem]:
    if step.response_format == "json_object" and step.messages_column is None:
        texts = [step.prompt or "", step.system or ""]
        texts += [part.text or "" for message in step.messages or () for part in message.parts]
        if not any("json" in text.lower() for text in texts):
            yield ("response_format",), "the service wants the word JSON in a message when it is to answer so"
    if step.unpack:
        if step.format is None:
            yield ("unpack",), "it needs `response_format` with a `json_schema`"
        elif shape_of(step.format.schema_itself).kind != "struct":
            yield ("unpack",), "the schema does not say which properties an answer has, and that it has no others"
    if step.top_logprobs is not None and not step.logprobs:
        yield ("top_logprobs",), "it goes with `logprobs: true`"


def _tools(step: ChatFields) -> Iterator[Problem]:
    names = [tool.name for tool in step.tools or ()]
    for number, name in enumerate(names):
        if name in names[:number]:
            yield ("tools", number, "name"), f"two tools are called {name!r}"
    for setting in ("tool_choice", "parallel_tool_calls"):
        if getattr(step, setting) is not None and not names:
            yield (setting,), "it goes with `tools`"
    if names and step.tool_choice is not None and step.tool_choice not in {*CHOICES, *names}:
        yield ("tool_choice",), f"there is no tool {step.tool_choice!r}; allowed: {', '.join([*CHOICES, *names])}"


def _further(step: ChatFields) -> Iterator[Problem]:
    given = step.model_fields_set
    for name in step.extra_body:
        if name in {"functions", "function_call"}:
            yield ("extra_body", name), "use `tools` and `tool_choice`, which took its place"
        elif name in _NEVER or (name in _SETTINGS and name in given):
            yield ("extra_body", name), "this is a setting of the step; write it there"
    if "max_completion_tokens" in step.extra_body and step.max_tokens is not None:
        yield ("extra_body", "max_completion_tokens"), "`max_tokens` is set too, and the service takes one of them"
