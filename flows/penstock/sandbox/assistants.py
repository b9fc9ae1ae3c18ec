"""``/v1/assistants``: create, list, retrieve, change, delete. Source: API reference, "Assistants".

The service ended the Assistants API on 2026-08-26; the sandbox keeps these calls for programs that still make them.
"""

from __future__ import annotations

import secrets
from typing import Any

from penstock.sandbox import errors, fields
from penstock.sandbox.archive import Collection
from penstock.sandbox.chat_models import CHAT_MODELS
from penstock.sandbox.contract import Answer, Call, Operation, Resource, Work, json_answer, json_work
from penstock.sandbox.errors import ApiError
from penstock.sandbox.pages import page

LONGEST_NAME = 256
LONGEST_DESCRIPTION = 512
LONGEST_INSTRUCTIONS = 256_000
MOST_TOOLS = 128
_MOST_FILES = 20
_BETA = "assistants=v2"
_HEADERS = {"openai-beta": _BETA}
_TOOLS = ("code_interpreter", "file_search", "function")
_FORMATS = ("text", "json_object", "json_schema")
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_FIELDS = {
    "model",
    "name",
    "description",
    "instructions",
    "tools",
    "tool_resources",
    "metadata",
    "temperature",
    "top_p",
    "response_format",
    "reasoning_effort",
}
_LONGEST_FUNCTION = 64
_NAME_MARKS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def _kept(call: Call) -> Collection:
    return call.sandbox.archive.collection("assistant")


def _create(call: Call) -> Work:
    _need_beta(call)
    body = call.json()
    fields.refuse_unknown(body, _FIELDS)
    _known_model(call, body)
    chosen = _settings(body)

    async def answer() -> Answer:
        assistant = {
            "id": f"asst_{secrets.token_urlsafe(18).replace('-', 'a').replace('_', 'b')}",
            "object": "assistant",
            "created_at": int(call.sandbox.agenda.now()),
            **chosen,
        }
        _kept(call).put(str(assistant["id"]), assistant)
        return json_answer(assistant, _HEADERS)

    return Work(answer)


def _list(call: Call) -> Work:
    _need_beta(call)
    shown = page(list(_kept(call)), call.query)
    return json_work(shown, _HEADERS)


def _retrieve(call: Call) -> Work:
    _need_beta(call)
    return json_work(_find(call), _HEADERS)


def _change(call: Call) -> Work:
    _need_beta(call)
    found = _find(call)
    body = call.json()
    fields.refuse_unknown(body, _FIELDS)
    if "model" in body:
        _known_model(call, body)
    chosen = _settings({**{name: found[name] for name in _FIELDS if name in found}, **body})

    async def answer() -> Answer:
        _kept(call).put(found["id"], found | chosen)
        return json_answer(found | chosen, _HEADERS)

    return Work(answer)


def _delete(call: Call) -> Work:
    _need_beta(call)
    found = _find(call)

    async def answer() -> Answer:
        _kept(call).remove(found["id"])
        return json_answer({"id": found["id"], "object": "assistant.deleted", "deleted": True}, _HEADERS)

    return Work(answer)


def _need_beta(call: Call) -> None:
    beta = call.headers.get("openai-beta", "")
    words = {word.strip() for word in beta.split(",")}
    if _BETA in words:
        return
    if "assistants=v1" in words:
        raise ApiError(
            400,
            "The v1 Assistants API has been deprecated and is no longer available. Set the header "
            f"'OpenAI-Beta: {_BETA}'.",
            code="invalid_beta",
        )
    raise ApiError(
        400,
        f"You must provide the 'OpenAI-Beta' header to access the Assistants API. Please try again by setting the "
        f"header 'OpenAI-Beta: {_BETA}'.",
        code="invalid_beta",
    )


def _find(call: Call) -> dict[str, Any]:
    name = call.path["assistant"]
    found = _kept(call).get(name)
    if found is None:
        raise ApiError(404, f"No assistant found with id '{name}'.")
    return found


def _known_model(call: Call, body: dict[str, Any]) -> None:
    model = fields.require_text(body, "model")
    if model not in call.sandbox.cards:
        raise ApiError(400, f"The requested model '{model}' does not exist.", param="model", code="model_not_found")
    base = model.split(":")[1] if model.startswith("ft:") else model
    if base not in CHAT_MODELS:
        raise ApiError(
            400,
            f"The requested model '{model}' cannot be used with the Assistants API.",
            param="model",
            code="unsupported_model",
        )


def _settings(body: dict[str, Any]) -> dict[str, Any]:
    """All fields of an assistant that a request decides, with their defaults."""
    chosen = {
        "name": fields.read_text(body, "name", most=LONGEST_NAME),
        "description": fields.read_text(body, "description", most=LONGEST_DESCRIPTION),
        "model": body["model"],
        "instructions": fields.read_text(body, "instructions", most=LONGEST_INSTRUCTIONS),
        "tools": _tools(body),
        "tool_resources": _tool_resources(body),
        "metadata": fields.read_metadata(body),
        "top_p": fields.otherwise(fields.read_number(body, "top_p", 0, 1), 1.0),
        "temperature": fields.otherwise(fields.read_number(body, "temperature", 0, 2), 1.0),
        "response_format": _response_format(body),
    }
    if effort := fields.read_choice(body, "reasoning_effort", _EFFORTS):
        chosen["reasoning_effort"] = effort
    return chosen


def _tools(body: dict[str, Any]) -> list[dict[str, Any]]:
    tools = fields.read_objects(body, "tools", most=MOST_TOOLS)
    for index, tool in enumerate(tools):
        if fields.require_choice(tool, "type", _TOOLS, f"tools[{index}].") == "function":
            _function(tool, f"tools[{index}].")
    return tools


def _function(tool: dict[str, Any], at: str) -> None:
    function = fields.required(tool, "function", at)
    at = f"{at}function."
    if not isinstance(function, dict):
        raise errors.wrong_type(at.removesuffix("."), "an object", function)
    name = fields.require_text(function, "name", at, most=_LONGEST_FUNCTION)
    if not _NAME_MARKS.issuperset(name):
        raise ApiError(
            400,
            f"Invalid '{at}name': string does not match pattern. Expected a string that matches the pattern "
            "'^[a-zA-Z0-9_-]+$'.",
            param=f"{at}name",
            code="invalid_value",
        )
    fields.read_text(function, "description", at)
    fields.read_object(function, "parameters", at)


def _tool_resources(body: dict[str, Any]) -> dict[str, Any]:
    resources = fields.read_object(body, "tool_resources")
    if resources is None:
        return {}
    fields.refuse_unknown(resources, ("code_interpreter", "file_search"), "tool_resources")
    for name, field, most in (("code_interpreter", "file_ids", _MOST_FILES), ("file_search", "vector_store_ids", 1)):
        resource = fields.read_object(resources, name, "tool_resources.")
        ids = fields.read_array(resource or {}, field, f"tool_resources.{name}.", least=0, most=most)
        for index, value in enumerate(ids or []):
            if not isinstance(value, str):
                raise errors.wrong_type(f"tool_resources.{name}.{field}[{index}]", "a string", value)
    return resources


def _response_format(body: dict[str, Any]) -> Any:
    value = body.get("response_format")
    if value is None or value == "auto":
        return "auto"
    if not isinstance(value, dict):
        raise errors.wrong_type("response_format", "'auto' or an object", value)
    if fields.require_choice(value, "type", _FORMATS, "response_format.") == "json_schema":
        schema = value.get("json_schema")
        if not isinstance(schema, dict):
            raise errors.missing_parameter("response_format.json_schema")
        fields.require_text(schema, "name", "response_format.json_schema.", most=_LONGEST_FUNCTION)
    return value


_ONE = "/v1/assistants/{assistant}"
RESOURCE = Resource(
    operations=(
        Operation("POST", "/v1/assistants", _create),
        Operation("GET", "/v1/assistants", _list, metered=False),
        Operation("GET", _ONE, _retrieve, metered=False),
        Operation("POST", _ONE, _change, metered=False),
        Operation("DELETE", _ONE, _delete, metered=False),
    )
)
