"""The JSON Schema of a line of training data, for editors and for programs in other languages.

It says what can be said of one line without reading it further: what it refuses the check refuses, and the check
refuses more (the order of messages, calls without answers, tokens, schemas of tools).
"""

from __future__ import annotations

import json
from typing import Any

from penstock.outputs.finetune.checks import CHAT_KEYS, OUTPUTS, PREFERENCE_KEYS
from penstock.outputs.finetune.messages import DETAILS, IMAGE_TYPES, MESSAGE_KEYS, ROLES
from penstock.outputs.finetune.tools import TOOL_NAME

Schema = dict[str, Any]


def finetune_schema() -> str:
    """The text of ``finetune.schema.json``."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of fine-tuning data",
        "description": "A conversation to learn, with tools and images too, or a prompt with a better and a worse "
        "answer (preference). One JSON object on each line of the file.",
        "type": "object",
        "if": {"anyOf": [{"required": [key]} for key in sorted(PREFERENCE_KEYS)], "not": {"required": ["messages"]}},
        "then": _ref("preference"),
        "else": _ref("chat"),
        "$defs": {
            "chat": _chat("A conversation. The last message is the assistant's, and what is learned.", learned=True),
            "input": _chat("The prompt, which ends before the answers that are compared.", learned=False),
            "preference": _preference(),
            "message": _message(),
            "output": _list(
                {"allOf": [_ref("message"), {"properties": {"role": {"const": "assistant"}}}]},
                "An answer: messages of the assistant.",
            ),
            "call": _call(),
            "tool": {
                "type": "object",
                "required": ["type", "function"],
                "properties": {"type": {"const": "function"}, "function": _ref("function")},
            },
            "function": _function(),
            "text": _part("text", "text", {"type": "string"}),
            "refusal": _part("refusal", "refusal", {"type": "string"}),
            "image": _part("image_url", "image_url", _image()),
        },
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _list(items: Schema, description: str) -> Schema:
    return {"type": "array", "minItems": 1, "items": items, "description": description}


def _chat(description: str, *, learned: bool) -> Schema:
    messages = _list(_ref("message"), "The conversation, in its order.")
    if learned:
        messages["contains"] = {"properties": {"role": {"const": "assistant"}}, "required": ["role"]}
    known = {
        "messages": messages,
        "tools": _list(_ref("tool"), "Tools that the model may call."),
        "functions": _list(_ref("function"), "The older form of `tools`."),
        "parallel_tool_calls": {"type": "boolean", "description": "Whether one answer may hold several calls."},
    }
    return {
        "type": "object",
        "description": description,
        "required": ["messages"],
        "properties": {key: known[key] for key in sorted(CHAT_KEYS)},
        "additionalProperties": False,
    }


def _preference() -> Schema:
    return {
        "type": "object",
        "description": "A prompt, an answer that is liked better, and one that is liked less.",
        "required": sorted(PREFERENCE_KEYS),
        "properties": {"input": _ref("input"), **{key: _ref("output") for key in OUTPUTS}},
        "additionalProperties": False,
    }


def _message() -> Schema:
    known = {
        "role": {"enum": list(ROLES), "description": "Who speaks."},
        "content": {"type": ["string", "array", "null"], "description": "What is said: a text, or a list of parts."},
        "name": {"type": "string", "description": "Tells speakers of one role apart."},
        "weight": {"enum": [0, 1], "description": "0 for an answer that is not learned; the assistant's only."},
        "tool_calls": {
            "anyOf": [{"type": "null"}, _list(_ref("call"), "Calls of tools.")],
            "description": "The assistant's only.",
        },
        "tool_call_id": {"description": "Of a tool's message: the call that it answers."},
        "function_call": {"description": "The older form of `tool_calls`."},
        "refusal": {"description": "The text by which the assistant refuses."},
    }
    return {
        "type": "object",
        "required": ["role"],
        "properties": {key: known[key] for key in sorted(MESSAGE_KEYS)},
        "additionalProperties": False,
        "allOf": [
            _if_role("assistant", {"anyOf": [_said(), *_instead()], **_parts("text", "refusal")}, _not_the_assistant()),
            _if_role("user", _parts("text", "image")),
            _if_role("tool", {"required": ["tool_call_id"], "properties": {"tool_call_id": {"type": "string"}}}),
            *(_if_role(role, _parts("text")) for role in ROLES if role not in {"assistant", "user"}),
        ],
    }


def _if_role(role: str, then: Schema, otherwise: Schema | None = None) -> Schema:
    chosen: Schema = {"if": {"properties": {"role": {"const": role}}, "required": ["role"]}, "then": then}
    return chosen if otherwise is None else {**chosen, "else": otherwise}


def _said() -> Schema:
    return {"required": ["content"], "properties": {"content": {"type": ["string", "array"]}}}


def _instead() -> list[Schema]:
    return [{"required": [key]} for key in ("tool_calls", "function_call", "refusal")]


def _not_the_assistant() -> Schema:
    said = _said()
    said["properties"] |= {"weight": False, "tool_calls": {"type": "null"}}
    return said


def _parts(*kinds: str) -> Schema:
    items = {"anyOf": [_ref(kind) for kind in kinds]} if len(kinds) > 1 else _ref(kinds[0])
    return {"properties": {"content": {"minItems": 1, "items": items}}}


def _part(kind: str, key: str, value: Schema) -> Schema:
    return {"type": "object", "required": ["type", key], "properties": {"type": {"const": kind}, key: value}}


def _image() -> Schema:
    pattern = rf"^(https?://|data:image/({'|'.join(IMAGE_TYPES)});base64,[\s\S])"
    return {
        "type": "object",
        "required": ["url"],
        "properties": {
            "url": {"type": "string", "pattern": pattern, "description": "An address, or the picture as a data URL."},
            "detail": {"enum": list(DETAILS), "description": "How closely the picture is looked at."},
        },
    }


def _call() -> Schema:
    text = {"type": "string"}
    return {
        "type": "object",
        "required": ["id", "function"],
        "properties": {
            "id": text,
            "type": {"const": "function"},
            "function": {
                "type": "object",
                "required": ["name", "arguments"],
                "properties": {"name": text, "arguments": {**text, "description": "A JSON object, as text."}},
            },
        },
    }


def _function() -> Schema:
    return {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "pattern": f"^{TOOL_NAME}$"},
            "description": {"description": "What the model goes by."},
            "parameters": {
                "type": "object",
                "properties": {"type": {"const": "object"}},
                "description": "The JSON Schema of the arguments.",
            },
        },
    }
