"""Requests without a usable answer, divided by what the caller can do about it.

::

    RequestFailed (penstock.errors)
    └── ApiError                    status, code, param, type, request_id, retry_after, attempts
        ├── NotMade                             never sent: a file that it was to hold was changed or is gone
        ├── ConnectionFailed        retryable   no connection, or it ended before the answer did
        ├── TimedOut                retryable   a deadline passed
        ├── UnusableBody            retryable   a success without a usable body
        │   └── InvalidBody                     a whole answer that stays other than it should be
        └── StatusFailed            any other status
            ├── Redirected          3xx         the address is wrong; a key is never sent on
            ├── BadRequest          400         the request's own fault
            ├── Unauthorized        401         the key
            ├── QuotaExceeded       402, or a code that says so: no money left
            ├── Forbidden           403         the key, for this
            ├── NotFound            404
            ├── RequestTimedOut     408         retryable
            ├── Conflict            409         retryable
            ├── PayloadTooLarge     413
            ├── Unprocessable       422
            ├── TooEarly            425         retryable
            ├── RateLimited         429         retryable, after a pause of all
            └── ServerFailed        5xx         retryable

Sources: API reference, "Error codes"; RFC 9110 section 15; RFC 9457 (problem+json).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from penstock.api.bodies import error_text, usage_in
from penstock.api.headers import RateLimits, Wait, parse_ratelimit, parse_retry_after, parse_should_retry, request_id_of
from penstock.errors import RequestFailed
from penstock.items import Cause, Usage
from penstock.secrets import redact

MODEL_CODES = frozenset({"model_not_found", "DeploymentNotFound"})
"""Codes that say that it is the model that is not there."""

KEY_TYPES = frozenset({"no_db_connection"})
"""Types by which a 400 says that the key is not known: LiteLLM's gateway, when it has no database of further keys."""

# Gateways answer 400 to a model without a route. Only at the beginning: further on a message may quote a row.
_WRONG_MODEL = re.compile(r"\binvalid model (?:name|id)\b", re.IGNORECASE)
_MESSAGE_BEGINS = 60

QUOTA_CODES = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "credit_balance_exhausted",
        "credits_exhausted",
        "insufficient_credits",
        "insufficient_balance",
        "account_deactivated",
    }
)
"""Codes and types of errors that only money or an account's owner can mend."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a failed request; every field may be missing."""

    status: int | None = None
    code: str | None = None
    param: str | None = None
    type: str | None = None
    request_id: str | None = None
    retry_after: Wait | None = None
    should_retry: bool | None = None
    limits: RateLimits | None = None
    usage: Usage | None = None
    html: bool = False


class ApiError(RequestFailed):
    """One request without a usable answer. The message holds no key.

    Class attributes:
        retryable: whether sending the same request again may help.
        cause: what an item is filed under when this was its last error.
        per_item: whether single items of a packed request may be at fault, so that halving it finds them.
    """

    retryable: ClassVar[bool] = False
    cause: ClassVar[Cause] = Cause.INVALID_REQUEST
    per_item: ClassVar[bool] = False

    def __init__(self, message: str, facts: Facts | None = None, attempts: int = 1) -> None:
        self.message = redact(message)
        self.facts = facts or Facts()
        self.attempts = attempts
        super().__init__(self.message)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return type(self), (self.message, self.facts, self.attempts)

    @property
    def status(self) -> int | None:
        """The HTTP status, None without a response."""
        return self.facts.status

    @property
    def code(self) -> str | None:
        """The service's error code, for example ``invalid_api_key``."""
        return self.facts.code

    @property
    def param(self) -> str | None:
        """The field of the request that is at fault."""
        return self.facts.param

    @property
    def type(self) -> str | None:
        """The service's error type, for example ``invalid_request_error``."""
        return self.facts.type

    @property
    def request_id(self) -> str | None:
        """The service's id of the request, for its support."""
        return self.facts.request_id

    @property
    def retry_after(self) -> float | None:
        """Seconds the server asks to wait, capped."""
        return self.facts.retry_after.seconds if self.facts.retry_after else None

    @property
    def worth_retrying(self) -> bool:
        """`retryable`, unless the server says otherwise by ``x-should-retry``."""
        return self.retryable if self.facts.should_retry is None else self.facts.should_retry


class NotMade(ApiError):
    """The request was never sent, because a file that it was to hold was changed or taken away."""

    cause = Cause.UNREADABLE_FILE
    per_item = True


class ConnectionFailed(ApiError):
    """No connection, or it ended before the answer did; `never_sent`: there was no connection at all."""

    retryable = True
    cause = Cause.CONNECTION

    def __init__(self, message: str, facts: Facts | None = None, attempts: int = 1, never_sent: bool = False) -> None:
        super().__init__(message, facts, attempts)
        self.never_sent = never_sent

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return type(self), (self.message, self.facts, self.attempts, self.never_sent)


class TimedOut(ApiError):
    """A deadline passed: connecting, in silence, or in all."""

    retryable = True
    cause = Cause.TIMEOUT


class UnusableBody(ApiError):
    """A success whose body is no answer: HTML, an error object, not what was asked for."""

    retryable = True
    cause = Cause.UNUSABLE_ANSWER
    per_item = True


class InvalidBody(UnusableBody):
    """A whole answer that is not as it should be, and that asking again does not mend."""

    retryable = False
    cause = Cause.INVALID_ANSWER


class StatusFailed(ApiError):
    """A status that is no success and has no class of its own."""


class Redirected(StatusFailed):
    """3xx: not followed, since that would carry the key to another address."""


class BadRequest(StatusFailed):
    """400."""

    per_item = True


class Unauthorized(StatusFailed):
    """401: the key is missing or wrong."""


class QuotaExceeded(StatusFailed):
    """No money or quota left; waiting does not help."""


class Forbidden(StatusFailed):
    """403: the key may not do this."""


class NotFound(StatusFailed):
    """404: no such model, endpoint or object; and a 400 that says that there is no such model."""

    cause = Cause.NOT_FOUND
    per_item = True

    @property
    def of_model(self) -> bool:
        """Whether it is the model that is not found: then no other item can succeed either."""
        if self.code in MODEL_CODES or self.param == "model" or self.status == 400:
            return True
        text = self.message.lower()
        return "model" in text and any(words in text for words in ("not found", "not exist", "no such"))

    @property
    def of_endpoint(self) -> bool:
        """Whether the server does not know the path: OpenAI says so, others answer with a body of another kind."""
        unknown = self.type is None or "invalid url (" in self.message.lower()
        return not self.of_model and self.code is None and unknown


class RequestTimedOut(StatusFailed):
    """408."""

    retryable = True
    cause = Cause.TIMEOUT


class Conflict(StatusFailed):
    """409: something else is happening to the same object."""

    retryable = True
    cause = Cause.SERVER_ERROR


class PayloadTooLarge(StatusFailed):
    """413, and a 429 that says that this one request is larger than a whole minute's limit."""

    per_item = True


class Unprocessable(StatusFailed):
    """422."""

    per_item = True


class TooEarly(StatusFailed):
    """425."""

    retryable = True
    cause = Cause.SERVER_ERROR


class RateLimited(StatusFailed):
    """429: all of the group wait; it is no failure of the item."""

    retryable = True
    cause = Cause.RATE_LIMITED


class ServerFailed(StatusFailed):
    """5xx, 529 included."""

    retryable = True
    cause = Cause.SERVER_ERROR


_CLASSES: dict[int, type[StatusFailed]] = {
    400: BadRequest,
    401: Unauthorized,
    402: QuotaExceeded,
    403: Forbidden,
    404: NotFound,
    408: RequestTimedOut,
    409: Conflict,
    413: PayloadTooLarge,
    422: Unprocessable,
    425: TooEarly,
    429: RateLimited,
}


def class_of(status: int, code: str | None = None, kind: str | None = None, text: str = "") -> type[StatusFailed]:
    """The class for a status with the service's code, type and text."""
    if status >= 500:
        return ServerFailed
    if status >= 400 and (code in QUOTA_CODES or kind in QUOTA_CODES):
        return QuotaExceeded
    if status == 429 and "request too large" in text.lower():
        return PayloadTooLarge
    if 300 <= status < 400:
        return Redirected
    if status == 400 and kind in KEY_TYPES:
        return Unauthorized
    if status == 400 and (code in MODEL_CODES or _WRONG_MODEL.search(text, 0, _MESSAGE_BEGINS)):
        return NotFound
    return _CLASSES.get(status, StatusFailed)


def from_response(status: int, headers: Mapping[str, str], body: bytes | memoryview, *, now: float) -> StatusFailed:
    """The error of a response that is no success.

    Args:
        now: seconds since the epoch, for ``Retry-After`` with a date.
    """
    told = error_text(body)
    kind = class_of(status, told.code, told.type, told.message)
    if kind is Redirected:
        told.message = f"it redirects to {headers.get('location', 'nowhere')}"
    # For people the code is what they can search for; without one the first words must do.
    name = f"{status} {told.code}" if told.code else str(status)
    facts = Facts(
        status=status,
        code=told.code,
        param=told.param,
        type=told.type,
        request_id=request_id_of(headers),
        retry_after=parse_retry_after(headers, now),
        should_retry=parse_should_retry(headers),
        limits=parse_ratelimit(headers) if status == 429 else None,
        usage=usage_in(body),
        html=told.html,
    )
    return kind(f"the server answered {name}: {told.message}", facts)
