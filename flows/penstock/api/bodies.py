"""What bodies say that are no answers: errors in the many shapes servers give them, and the tokens they cost.

Sources: API reference, "Error codes" and "The usage object"; RFC 9457 (problem+json).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from penstock.items import Usage
from penstock.secrets import redact

_LONGEST_TEXT = 400
_FIRST_BYTES = 120
_BOM = b"\xef\xbb\xbf"


class ErrorText(msgspec.Struct):
    """What an error body says, whatever its shape."""

    message: str
    code: str | None = None
    param: str | None = None
    type: str | None = None
    html: bool = False


def error_text(body: bytes | memoryview) -> ErrorText:
    """The message of an error body.

    Understood are ``{"error": {...}}``, ``{"error": "text"}``, ``{"message": ...}``, ``{"detail": ...}``, problem+json;
    of anything else (HTML, plain text) the first bytes are quoted.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ErrorText(first_bytes(body), html=looks_like_html(body))
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return ErrorText(first_bytes(body))
    inner = value.get("error")
    if isinstance(inner, str) and inner:
        return ErrorText(_short(inner), _text(value.get("code")), _text(value.get("param")), _text(value.get("type")))
    fields: dict[str, Any] = inner if isinstance(inner, dict) else value
    message = next((fields[name] for name in ("message", "detail", "title") if fields.get(name)), None)
    if message is None:
        return ErrorText(first_bytes(body), _text(fields.get("code")), None, _text(fields.get("type")))
    text = message if isinstance(message, str) else msgspec.json.encode(message).decode()
    return ErrorText(_short(text), _code(fields.get("code")), _text(fields.get("param")), _text(fields.get("type")))


def first_bytes(body: bytes | memoryview) -> str:
    """How a body begins, as a person can read it."""
    if not len(body):
        return "an empty body"
    text = " ".join(bytes(body[:_FIRST_BYTES]).decode("utf-8", "replace").split())
    return f"it begins {text!r}"


def looks_like_html(body: bytes | memoryview) -> bool:
    """Whether a body is a web page."""
    return bytes(body[:64]).lstrip(_BOM + b" \t\r\n")[:1] == b"<"


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _UsageFields(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None


class _Used(msgspec.Struct):
    usage: _UsageFields | None = None
    model: str | None = None


_used = msgspec.json.Decoder(_Used)


def usage_in(body: bytes | memoryview) -> Usage | None:
    """The tokens that a failed or unusable response says it cost, None when it says nothing.

    Of an event stream, however it begins (byte order mark, comments, named events): what its last event that counts
    says, which comes before the mark of the end, or last where the stream was cut.
    """
    content = body[len(_BOM) :] if bytes(body[: len(_BOM)]) == _BOM else body
    if (usage := _usage(content)) is not None:
        return usage
    events = _last_events(bytes(content))
    return next((usage for event in events if b'"usage"' in event and (usage := _usage(event))), None)


def _last_events(body: bytes) -> Iterator[bytes]:
    """The data of a stream's events, the last one first."""
    lines: list[bytes] = []
    for line in (*reversed(body.splitlines()), b""):
        if line.startswith(b"data:"):
            lines.append(line[len(b"data:") :])
        elif not line and lines:
            yield b"\n".join(reversed(lines))
            lines = []


def _usage(body: bytes | memoryview) -> Usage | None:
    try:
        response = _used.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    fields = response.usage
    if fields is None:
        return None
    completion = fields.completion_tokens or fields.output_tokens or 0
    asked = fields.prompt_tokens if fields.prompt_tokens is not None else fields.input_tokens
    prompt = asked if asked is not None else (fields.total_tokens or 0) - completion
    details = fields.prompt_tokens_details
    return Usage(response.model, max(prompt, 0), completion, (details.cached_tokens or 0) if details else 0)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


def _text(value: object) -> str | None:
    is_text = isinstance(value, str | int) and not isinstance(value, bool) and value != ""
    return redact(str(value)) if is_text else None


def _code(value: object) -> str | None:
    # Several servers repeat the status as the code; that says nothing new.
    return redact(value) if isinstance(value, str) and value and not value.isdigit() else None
