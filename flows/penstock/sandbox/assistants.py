"""``/v1/assistants``: create, list, retrieve, change, delete. Source: API reference, "Assistants".

The service ended the Assistants API on 2026-08-26; the sandbox keeps these calls for programs that still make them.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from penstock.sandbox import checks, errors
from penstock.sandbox.archive import Collection
from penstock.sandbox.chat_models import CHAT_MODELS
from penstock.sandbox.contract import Answer, Call, Operation, Resource, Work
from penstock.sandbox.errors import ApiError
from penstock.sandbox.pages import page

LONGEST_NAME = 256
LONGEST_DESCRIPTION = 512
LONGEST_INSTRUCTIONS = 256_000
MOST_TOOLS = 128
_MOST_FILES = 20
_BETA = "assistants=v2"
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
    checks.known_only(body, _FIELDS)
    _known_model(call, body)
    fields = _settings(body)

    async def answer() -> Answer:
        assistant = {
            "id": f"asst_{secrets.token_urlsafe(18).replace('-', 'a').replace('_', 'b')}",
            "object": "assistant",
            "created_at": int(call.sandbox.agenda.now()),
            **fields,
        }
        _kept(call).put(str(assistant["id"]), assistant)
        return _json(assistant)

    return Work(answer)


def _list(call: Call) -> Work:
    _need_beta(call)
    shown = page(list(_kept(call)), call.query)
    return Work(_reply(shown))


def _retrieve(call: Call) -> Work:
    _need_beta(call)
    return Work(_reply(_find(call)))


def _change(call: Call) -> Work:
    _need_beta(call)
    found = _find(call)
    body = call.json()
    checks.known_only(body, _FIELDS)
    if "model" in body:
        _known_model(call, body)
    fields = _settings({**{name: found[name] for name in _FIELDS if name in found}, **body})

    async def answer() -> Answer:
        _kept(call).put(found["id"], found | fields)
        return _json(found | fields)

    return Work(answer)


def _delete(call: Call) -> Work:
    _need_beta(call)
    found = _find(call)

    async def answer() -> Answer:
        _kept(call).remove(found["id"])
        return _json({"id": found["id"], "object": "assistant.deleted", "deleted": True})

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
    model = checks.required_text(body, "model")
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
    fields = {
        "name": checks.text(body, "name", most=LONGEST_NAME),
        "description": checks.text(body, "description", most=LONGEST_DESCRIPTION),
        "model": body["model"],
        "instructions": checks.text(body, "instructions", most=LONGEST_INSTRUCTIONS),
        "tools": _tools(body),
        "tool_resources": _tool_resources(body),
        "metadata": checks.metadata(body),
        "top_p": checks.number(body, "top_p", least=0, most=1, default=1.0),
        "temperature": checks.number(body, "temperature", least=0, most=2, default=1.0),
        "response_format": _response_format(body),
    }
    if body.get("reasoning_effort") is not None:
        fields["reasoning_effort"] = checks.choice(body, "reasoning_effort", _EFFORTS, "medium")
    return fields


def _tools(body: dict[str, Any]) -> list[dict[str, Any]]:
    tools = checks.array(body, "tools", most=MOST_TOOLS)
    for index, tool in enumerate(tools):
        path = f"tools[{index}]"
        if not isinstance(tool, dict):
            raise errors.wrong_type(path, "an object", tool)
        kind = checks.required_text(tool, "type", path=f"{path}.type")
        if kind not in _TOOLS:
            raise checks.unsupported_value(f"{path}.type", kind, _TOOLS)
        if kind == "function":
            _function(tool, path)
    return tools


def _function(tool: dict[str, Any], path: str) -> None:
    path = f"{path}.function"
    if "function" not in tool:
        raise errors.missing_parameter(path)
    function = tool["function"]
    if not isinstance(function, dict):
        raise errors.wrong_type(path, "an object", function)
    name = checks.required_text(function, "name", most=_LONGEST_FUNCTION, path=f"{path}.name")
    if not _NAME_MARKS.issuperset(name):
        raise ApiError(
            400,
            f"Invalid '{path}.name': string does not match pattern. Expected a string that matches the pattern "
            "'^[a-zA-Z0-9_-]+$'.",
            param=f"{path}.name",
            code="invalid_value",
        )
    checks.text(function, "description", path=f"{path}.description")
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise errors.wrong_type(f"{path}.parameters", "an object", parameters)


def _tool_resources(body: dict[str, Any]) -> dict[str, Any]:
    resources = body.get("tool_resources")
    if resources is None:
        return {}
    if not isinstance(resources, dict):
        raise errors.wrong_type("tool_resources", "an object", resources)
    checks.known_only(resources, ("code_interpreter", "file_search"), "tool_resources")
    for name, field, most in (("code_interpreter", "file_ids", _MOST_FILES), ("file_search", "vector_store_ids", 1)):
        path = f"tool_resources.{name}"
        resource = resources.get(name)
        if resource is None:
            continue
        if not isinstance(resource, dict):
            raise errors.wrong_type(path, "an object", resource)
        ids = checks.array({f"{path}.{field}": resource.get(field)}, f"{path}.{field}", most=most)
        for index, value in enumerate(ids):
            if not isinstance(value, str):
                raise errors.wrong_type(f"{path}.{field}[{index}]", "a string", value)
    return resources


def _response_format(body: dict[str, Any]) -> Any:
    value = body.get("response_format")
    if value is None or value == "auto":
        return "auto"
    if not isinstance(value, dict):
        raise errors.wrong_type("response_format", "'auto' or an object", value)
    kind = checks.required_text(value, "type", path="response_format.type")
    if kind not in _FORMATS:
        raise checks.unsupported_value("response_format.type", kind, _FORMATS)
    if kind == "json_schema":
        schema = value.get("json_schema")
        if not isinstance(schema, dict):
            raise errors.missing_parameter("response_format.json_schema")
        checks.required_text(schema, "name", most=_LONGEST_FUNCTION, path="response_format.json_schema.name")
    return value


def _json(value: object) -> Answer:
    return Answer(msgspec.json.encode(value), headers={"openai-beta": _BETA})


def _reply(value: object) -> Callable[[], Awaitable[Answer]]:
    async def answer() -> Answer:
        return _json(value)

    return answer


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
