"""Answers as structs: the known fields typed, and all that came, known or not, in `raw`.

Servers add fields and leave fields out, or write null for them; none is an error. A known field of another type is one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from penstock.api.bodies import error_text, first_bytes, looks_like_html, usage_in
from penstock.api.errors import (
    ApiError,
    BadRequest,
    Facts,
    Forbidden,
    NotFound,
    QuotaExceeded,
    RateLimited,
    ServerFailed,
    TimedOut,
    Unauthorized,
    UnusableBody,
    class_of,
)
from penstock.api.headers import parse_retry_after, parse_should_retry, request_id_of
from penstock.api.wire import WireResponse
from penstock.values import without_nulls

_NAMED: dict[str, type[ApiError]] = {
    "invalid_request_error": BadRequest,
    "authentication_error": Unauthorized,
    "invalid_api_key": Unauthorized,
    "permission_error": Forbidden,
    "permission_denied": Forbidden,
    "not_found_error": NotFound,
    "model_not_found": NotFound,
    "rate_limit_error": RateLimited,
    "rate_limit_exceeded": RateLimited,
    "slow_down": RateLimited,
    "tokens": RateLimited,
    "requests": RateLimited,
    "server_error": ServerFailed,
    "api_error": ServerFailed,
    "internal_error": ServerFailed,
    "internal_server_error": ServerFailed,
    "overloaded_error": ServerFailed,
    "engine_overloaded": ServerFailed,
    "timeout": TimedOut,
    "timeout_error": TimedOut,
}
"""What the codes and types of errors mean where no status says it: inside a success."""


class ApiObject(msgspec.Struct, dict=True):
    """What a server answered."""

    @property
    def raw(self) -> dict[str, Any]:
        """All fields as they came, those without an attribute too."""
        raw: dict[str, Any] = self.__dict__.get("raw", {})
        return raw

    @property
    def request_id(self) -> str | None:
        """The service's id of the request, for its support."""
        found: str | None = self.__dict__.get("request_id")
        return found


T = TypeVar("T", bound=ApiObject)


class Deleted(ApiObject):
    """The answer to a deletion."""

    id: str
    deleted: bool = False
    object: str = ""


class Usage(ApiObject):
    """Tokens of one request; 0 where the server does not say."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


def built(kind: type[T], raw: object, headers: Mapping[str, str]) -> T:
    """`raw` as `kind`.

    Raises:
        UnusableBody: it is no object, a field is missing that `kind` cannot do without, or has another type.
    """
    request_id = request_id_of(headers)
    try:
        value = _converted(raw, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        facts = Facts(200, request_id=request_id)
        raise UnusableBody(f"the answer is not what was asked for: {error}", facts) from None
    value.__dict__["raw"] = raw
    value.__dict__["request_id"] = request_id
    return value


def _converted(raw: object, kind: type[T]) -> T:
    """`raw` as `kind`; a null where none belongs counts as left out, for servers write out what they do not know."""
    try:
        return msgspec.convert(raw, kind, strict=False)
    except msgspec.ValidationError as error:
        try:
            return msgspec.convert(without_nulls(raw), kind, strict=False)
        except msgspec.ValidationError:
            # What it says of the answer as it came is what a person can find there.
            raise error from None


def facts_of(response: WireResponse) -> Facts:
    """What is known for an error about `response`."""
    return Facts(response.status, request_id=request_id_of(response.headers))


def fields_of(response: WireResponse) -> dict[str, Any]:
    """The JSON object in the body of a success.

    Raises:
        UnusableBody: it is no JSON object.
        ApiError: it is an error object.
    """
    facts = facts_of(response)
    try:
        value = msgspec.json.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        html = looks_like_html(response.body)
        what = "a web page" if html else "no JSON"
        raise UnusableBody(f"{what} came instead of an answer: {first_bytes(response.body)}", facts) from None
    if not isinstance(value, dict):
        raise UnusableBody(f"no JSON object came instead of an answer: {first_bytes(response.body)}", facts)
    if value.get("error") and "id" not in value:
        raise error_inside(bytes(response.body), response.headers)
    return value


def parsed(kind: type[T], response: WireResponse) -> T:
    """The body of a success as `kind`; raises what `fields_of` and `built` raise."""
    return built(kind, fields_of(response), response.headers)


def error_inside(body: bytes, headers: Mapping[str, str]) -> ApiError:
    """The error that an error object inside a success stands for, in a body or as an event of a stream."""
    told = error_text(body)
    status = _status_in(body)
    facts = Facts(
        status=status,
        code=told.code,
        param=told.param,
        type=told.type,
        request_id=request_id_of(headers),
        retry_after=parse_retry_after(headers, time.time()),
        should_retry=parse_should_retry(headers),
        usage=usage_in(body),
    )
    name = f"an error ({told.code or told.type})" if told.code or told.type else "an error"
    return _class_inside(status, told.code, told.type, told.message)(
        f"the server answered {name} inside a success: {told.message}", facts
    )


def _class_inside(status: int | None, code: str | None, kind: str | None, text: str) -> type[ApiError]:
    if status is not None:
        return class_of(status, code, kind, text)
    if issubclass(quota := class_of(400, code, kind, text), QuotaExceeded):
        return quota
    return next((_NAMED[word] for word in (code, kind) if word in _NAMED), UnusableBody)


def _status_in(body: bytes) -> int | None:
    """A status that the error object names: several servers put it into ``code`` or ``status``."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    value = value.get("error") if isinstance(value, dict) else None
    if not isinstance(value, dict):
        return None
    for word in (value.get("status"), value.get("status_code"), value.get("code")):
        if isinstance(word, str | int) and not isinstance(word, bool) and str(word).isdecimal():
            number = int(str(word)[:4])
            if 400 <= number < 600:
                return number
    return None
