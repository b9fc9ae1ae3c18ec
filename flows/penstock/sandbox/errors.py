"""What the sandbox says when it refuses: status, body and headers as the real service sends them.

The body is ``{"error": {"message", "type", "param", "code"}}`` (API reference, "Error codes"). The wording of the
common refusals is that of the service, because clients and people match on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

KEYS_PAGE = "https://platform.openai.com/account/api-keys"
_SHOWN_HEAD = 8
_SHOWN_TAIL = 4


class ApiError(Exception):
    """A refusal, ready to be sent.

    Attributes:
        status: the HTTP status.
        message: for people.
        type: the service's family of errors, for example ``invalid_request_error``.
        param: the field of the request that is at fault, or None.
        code: for programs, or None.
        headers: sent beside the usual ones.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",  # noqa: A002  # the field's name in the API
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """The JSON body, indented as the service does it."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return json.dumps({"error": error}, indent=2).encode()


def mask_key(key: str) -> str:
    """A key as the service quotes it: the first eight characters, stars, the last four; very short ones whole."""
    if len(key) <= _SHOWN_HEAD:
        return key
    tail = min(_SHOWN_TAIL, len(key) - _SHOWN_HEAD - 1)
    return key[:_SHOWN_HEAD] + "*" * (len(key) - _SHOWN_HEAD - tail) + (key[-tail:] if tail else "")


def missing_key() -> ApiError:
    """401: no ``Authorization: Bearer`` header."""
    return ApiError(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
        "(i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing "
        "the API from your browser and are prompted for a username and password. You can obtain an API key from "
        f"{KEYS_PAGE}.",
    )


def wrong_key(key: str) -> ApiError:
    """401: a key that is not the sandbox's."""
    return ApiError(
        401,
        f"Incorrect API key provided: {mask_key(key)}. You can find your API key at {KEYS_PAGE}.",
        code="invalid_api_key",
    )


def unparsable_json() -> ApiError:
    """400: the body is not JSON, or not an object."""
    return ApiError(
        400,
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
        "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble "
        "figuring out how to fix this, please contact us through our help center at help.openai.com.)",
    )


def unsupported_content_type(content_type: str, accepted: str = "application/json") -> ApiError:
    """400 (not 415): the service answers so to any body but the method's own kind."""
    return ApiError(
        400,
        f"Unsupported content type: '{content_type}'. This API method only accepts '{accepted}' requests, but "
        f"you specified the header 'Content-Type: {content_type}'. Please try again with a supported content type.",
        code="unsupported_content_type",
    )


def unknown_url(method: str, path: str) -> ApiError:
    """404: no such path."""
    return ApiError(404, f"Invalid URL ({method} {path})")


def wrong_method(method: str, path: str) -> ApiError:
    """405: the path exists, for another method."""
    return ApiError(
        405, f"Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)"
    )


def body_too_large(limit: int) -> ApiError:
    """413: more bytes than the sandbox reads."""
    return ApiError(413, f"The request body is larger than the {limit} bytes that are allowed.")


def model_not_found(model: str) -> ApiError:
    """404: a request for work by a model that is not in the list."""
    return ApiError(404, f"The model `{model}` does not exist or you do not have access to it.", code="model_not_found")


def wrong_type(param: str, expected: str, value: object) -> ApiError:
    """400: a field of the request has another JSON type than it must have."""
    return ApiError(
        400,
        f"Invalid type for '{param}': expected {expected}, but got {_json_type(value)} instead.",
        param=param,
        code="invalid_type",
    )


def missing_parameter(param: str) -> ApiError:
    """400: a required field is not in the request."""
    return ApiError(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def unknown_arguments(names: list[str]) -> ApiError:
    """400: fields that the endpoint does not have."""
    plural = "s" if len(names) > 1 else ""
    return ApiError(400, f"Unrecognized request argument{plural} supplied: {', '.join(names)}")


def server_error() -> ApiError:
    """500, as the service words it."""
    return ApiError(
        500,
        "The server had an error while processing your request. Sorry about that!",
        type="server_error",
    )


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "an integer", float: "a decimal", str: "a string", list: "an array"}
    return names.get(type(value), "an object")
