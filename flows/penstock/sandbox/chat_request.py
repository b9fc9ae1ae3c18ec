"""A chat request, checked as the service checks it. Source: API reference, "Create chat completion"."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from penstock.sandbox import errors
from penstock.sandbox.chat_messages import Message, count_messages, read_messages
from penstock.sandbox.chat_models import ChatModel, find_chat_model
from penstock.sandbox.chat_tools import ToolUse, count_declaration, read_tools
from penstock.sandbox.errors import ApiError
from penstock.sandbox.fields import (
    empty_array,
    read_array,
    read_choice,
    read_flag,
    read_integer,
    read_metadata,
    read_number,
    read_object,
    read_text,
    refuse_unknown,
    refuse_unknown_arguments,
    required,
)
from penstock.sandbox.json_schemas import BadSchema, check_schema
from penstock.sandbox.models.words import named

FIELDS = frozenset(
    named(
        "messages model audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens "
        "max_tokens metadata modalities moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key "
        "prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed "
        "service_tier stop store stream stream_options temperature tool_choice tools top_logprobs top_p user verbosity "
        "web_search_options"
    )
)
MOST_CHOICES = 128
MOST_STOPS = 4
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
TIERS = ("auto", "default", "flex", "scale", "priority", "fast")
_SCHEMA_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_LONG = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A valid request.

    Attributes:
        model: as asked for.
        messages: the conversation.
        tools: what may be called.
        schema: of the answer; empty for JSON mode; None for plain text.
        choices: how many answers.
        most: tokens of each answer, thinking included; None for no limit but the model's.
        stops: texts that end an answer.
        logprobs: alternatives per token; None for no log probabilities at all.
        temperature: 0 makes all choices equal.
        effort: of thinking, for models that do.
        stream: whether the answer comes in pieces.
        with_usage: whether a stream ends with the usage.
        tier: the service tier asked for, or empty.
        metadata: to be given back, or None.
        prompt_tokens: of messages, tools and schema.
    """

    model: ChatModel
    messages: tuple[Message, ...]
    tools: ToolUse
    schema: dict[str, Any] | None
    choices: int
    most: int | None
    stops: tuple[str, ...]
    logprobs: int | None
    temperature: float
    effort: str
    stream: bool
    with_usage: bool
    tier: str
    metadata: dict[str, str] | None
    prompt_tokens: int


def read_request(body: dict[str, Any], known: Container[str]) -> ChatRequest:
    """The request in a JSON body; `known` are the server's models.

    Raises:
        ApiError: something is wrong with it.
    """
    refuse_unknown_arguments(body, FIELDS)
    name = read_text(body, "model")
    if not name:
        raise ApiError(400, "you must provide a model parameter")
    model = find_chat_model(name, known)
    messages = tuple(read_messages(body, model))
    _check_plain(body)
    temperature = read_number(body, "temperature", 0, 2)
    _check_reasoning(body, model)
    tools = read_tools(body, model.vocabulary)
    schema = _format(body, model, messages)
    stream = read_flag(body, "stream") is True
    most = _most(body, model)
    prompt = count_messages(messages, model) + tools.tokens + _schema_tokens(schema, model)
    _check_context(prompt, most, model)
    return ChatRequest(
        model=model,
        messages=messages,
        tools=tools,
        schema=schema,
        choices=read_integer(body, "n", 1, MOST_CHOICES) or 1,
        most=most,
        stops=_stops(body),
        logprobs=_logprobs(body),
        temperature=1.0 if temperature is None else temperature,
        effort=read_choice(body, "reasoning_effort", EFFORTS) or "medium",
        stream=stream,
        with_usage=_with_usage(body, stream=stream),
        tier=read_choice(body, "service_tier", TIERS) or "",
        metadata=None if body.get("metadata") is None else read_metadata(body),
        prompt_tokens=prompt,
    )


def _check_plain(body: dict[str, Any]) -> None:
    """Fields that are checked and then make no difference here."""
    read_number(body, "top_p", 0, 1)
    for name in ("frequency_penalty", "presence_penalty"):
        read_number(body, name, -2, 2)
    read_integer(body, "seed", -_LONG - 1, _LONG)
    for name, most in (("user", None), ("safety_identifier", 128), ("prompt_cache_key", None)):
        read_text(body, name, most=most)
    read_flag(body, "store")
    read_choice(body, "verbosity", ("low", "medium", "high"))
    read_choice(body, "prompt_cache_retention", ("in_memory", "24h"))
    for name in ("audio", "prediction", "web_search_options", "moderation", "prompt_cache_options"):
        read_object(body, name)
    for token, bias in (read_object(body, "logit_bias") or {}).items():
        if not token.isascii() or not token.isdigit():
            raise ApiError(
                400,
                f"Invalid key in 'logit_bias': {token[:40]}. You should only be submitting non-negative integers.",
                param="logit_bias",
                code="invalid_value",
            )
        read_number({token: bias}, token, -100, 100, "logit_bias.")
    for index, kind in enumerate(read_array(body, "modalities") or []):
        read_choice({"": kind}, "", ("text", "audio"), f"modalities[{index}]")
        if kind == "audio":
            raise ApiError(400, "This model does not support the 'audio' modality.", param="modalities")


def _check_reasoning(body: dict[str, Any], model: ChatModel) -> None:
    if not model.reasoning:
        if body.get("reasoning_effort") is not None:
            raise _unsupported("reasoning_effort", "Unrecognized request argument supplied: reasoning_effort")
        return
    if body.get("max_tokens") is not None:
        raise _unsupported(
            "max_tokens",
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
            "instead.",
        )
    for name, default in (("temperature", 1), ("top_p", 1), ("presence_penalty", 0), ("frequency_penalty", 0)):
        value = body.get(name)
        if value is not None and value != default:
            raise ApiError(
                400,
                f"Unsupported value: '{name}' does not support {value} with this model. Only the default ({default}) "
                "value is supported.",
                param=name,
                code="unsupported_value",
            )
    for name in ("logprobs", "top_logprobs", "logit_bias"):
        if body.get(name):
            raise _unsupported(name, f"Unsupported parameter: '{name}' is not supported with this model.")


def _unsupported(param: str, message: str) -> ApiError:
    return ApiError(400, message, param=param, code="unsupported_parameter")


def _most(body: dict[str, Any], model: ChatModel) -> int | None:
    old = read_integer(body, "max_tokens", 1, None)
    new = read_integer(body, "max_completion_tokens", 1, None)
    if old is not None and new is not None:
        raise ApiError(
            400,
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            param="max_tokens",
            code="invalid_parameter_combination",
        )
    name, most = ("max_tokens", old) if new is None else ("max_completion_tokens", new)
    if most is not None and most > model.most_output:
        shown = most if most < 10**18 else "that many"
        raise ApiError(
            400,
            f"{name} is too large: {shown}. This model supports at most {model.most_output} completion tokens, "
            f"whereas you provided {shown}.",
            param=name,
            code="invalid_value",
        )
    return most


def _check_context(prompt: int, most: int | None, model: ChatModel) -> None:
    if prompt + (most or 0) <= model.context:
        return
    if prompt > model.context or most is None:
        message = (
            f"This model's maximum context length is {model.context} tokens. However, your messages resulted in "
            f"{prompt} tokens. Please reduce the length of the messages."
        )
    else:
        message = (
            f"This model's maximum context length is {model.context} tokens. However, you requested {prompt + most} "
            f"tokens ({prompt} in the messages, {most} in the completion). Please reduce the length of the messages "
            "or completion."
        )
    raise ApiError(400, message, param="messages", code="context_length_exceeded")


def _stops(body: dict[str, Any]) -> tuple[str, ...]:
    value = body.get("stop")
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,) if value else ()
    if not isinstance(value, list):
        raise errors.wrong_type("stop", "one of a string or array of strings", value)
    if not value:
        raise empty_array("stop")
    read_array(body, "stop", most=MOST_STOPS)
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise errors.wrong_type(f"stop[{index}]", "a string", item)
    return tuple(item for item in value if item)


def _logprobs(body: dict[str, Any]) -> int | None:
    wanted = read_flag(body, "logprobs") is True
    most = read_integer(body, "top_logprobs", 0, 20)
    if most is not None and not wanted:
        raise ApiError(
            400,
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
            param="top_logprobs",
            code="invalid_parameter_combination",
        )
    return (most or 0) if wanted else None


def _with_usage(body: dict[str, Any], *, stream: bool) -> bool:
    options = read_object(body, "stream_options")
    if options is None:
        return False
    if not stream:
        raise ApiError(
            400,
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
    refuse_unknown(options, {"include_usage", "include_obfuscation"}, "stream_options.")
    read_flag(options, "include_obfuscation", "stream_options.")
    return read_flag(options, "include_usage", "stream_options.") is True


def _format(body: dict[str, Any], model: ChatModel, messages: tuple[Message, ...]) -> dict[str, Any] | None:
    wanted = read_object(body, "response_format")
    if wanted is None:
        return None
    required(wanted, "type", "response_format.")
    kind = read_choice(wanted, "type", ("json_object", "json_schema", "text"), "response_format.")
    if kind == "json_schema":
        return _schema(wanted, model)
    refuse_unknown(wanted, {"type"}, "response_format.")
    if kind != "json_object":
        return None
    if not any("json" in message.text.lower() for message in messages):
        raise ApiError(
            400,
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
            param="messages",
        )
    return {}


def _schema(wanted: dict[str, Any], model: ChatModel) -> dict[str, Any]:
    if not model.schemas:
        raise ApiError(
            400,
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model. Learn more "
            "about supported models at the Structured Outputs guide: "
            "https://platform.openai.com/docs/guides/structured-outputs",
            param="response_format",
        )
    at = "response_format.json_schema"
    required(wanted, "json_schema", "response_format.")
    declared = read_object(wanted, "json_schema", "response_format.")
    if declared is None:
        raise errors.wrong_type(at, "an object", None)
    refuse_unknown(declared, {"name", "description", "schema", "strict"}, f"{at}.")
    required(declared, "name", f"{at}.")
    name = read_text(declared, "name", f"{at}.", most=64) or ""
    if not _SCHEMA_NAME.fullmatch(name):
        raise ApiError(
            400,
            f"Invalid '{at}.name': string does not match pattern. Expected a string that matches the pattern "
            "'^[a-zA-Z0-9_-]+$'.",
            param=f"{at}.name",
            code="invalid_value",
        )
    read_text(declared, "description", f"{at}.")
    strict = read_flag(declared, "strict", f"{at}.") is True
    schema = read_object(declared, "schema", f"{at}.")
    if schema is None:
        if strict:
            raise errors.missing_parameter(f"{at}.schema")
        return {}
    try:
        check_schema(schema, strict=strict)
    except BadSchema as bad:
        raise ApiError(400, f"Invalid schema for response_format '{name}': {bad}", param="response_format") from None
    return schema


def _schema_tokens(schema: dict[str, Any] | None, model: ChatModel) -> int:
    return count_declaration(schema, model.vocabulary) if schema else 0
