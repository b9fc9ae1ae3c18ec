"""Faults that answer with an error status instead of doing the work."""

from __future__ import annotations

from penstock.sandbox import errors
from penstock.sandbox.contract import Answer
from penstock.sandbox.errors import ApiError
from penstock.sandbox.limits import ORGANIZATION, retry_headers

BARE = "429-bare"
_BAD_GATEWAY = b"""<html>
<head><title>502 Bad Gateway</title></head>
<body><center><h1>502 Bad Gateway</h1></center><hr><center>cloudflare</center></body>
</html>
"""
_WAIT = 0.25
_SERVER = "server_error"
_INVALID = "invalid_request_error"
# Status, message, type and code of the faults whose bodies are always the same.
_FIXED: dict[str, tuple[int, str, str, str | None]] = {
    "400": (400, "The request could not be processed as it is. (sandbox fault)", _INVALID, None),
    "403": (
        403,
        "Country, region, or territory not supported",
        "request_forbidden",
        "unsupported_country_region_territory",
    ),
    "408": (408, "The request took too long to arrive. (sandbox fault)", _INVALID, "request_timeout"),
    "409": (409, "The resource is being changed by another request. (sandbox fault)", _INVALID, "conflict"),
    "413": (413, "The request is too large. (sandbox fault)", _INVALID, "request_too_large"),
    "422": (422, "The request was well formed but could not be processed. (sandbox fault)", _INVALID, None),
    "quota": (
        429,
        "You exceeded your current quota, please check your plan and billing details. For more information on this "
        "error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
        "insufficient_quota",
        "insufficient_quota",
    ),
    "503": (503, "The engine is currently overloaded, please try again later", _SERVER, None),
    "529": (529, "Overloaded", "overloaded_error", None),
}


def refuse(name: str, *, model: str, key: str) -> Answer:
    """The answer of a fault of kind `refusal`."""
    if name == "502":
        return Answer(_BAD_GATEWAY, 502, "text/html")
    if name == "504":
        return Answer(b"upstream request timeout", 504, "text/plain")
    error = _error(name, model or "this model", key)
    return Answer(error.body(), error.status, headers=error.headers)


def _error(name: str, model: str, key: str) -> ApiError:
    if name in _FIXED:
        status, message, family, code = _FIXED[name]
        return ApiError(status, message, type=family, code=code)
    if name == "401":
        return errors.wrong_key(key)
    if name == "404":
        return errors.model_not_found(model)
    if name in {"429", BARE}:
        return ApiError(
            429,
            f"Rate limit reached for {model} in organization {ORGANIZATION} on requests per min (RPM): Limit 1, "
            "Used 1, Requested 1. Please try again in 250ms. "
            "Visit https://platform.openai.com/account/rate-limits to learn more.",
            type="requests",
            code="rate_limit_exceeded",
            headers=None if name == BARE else retry_headers(_WAIT),
        )
    return errors.server_error()
