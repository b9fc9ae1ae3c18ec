"""Requests and tokens per minute for each key and model, with the headers that tell a client where it stands.

Two buckets refill continuously and hold one minute's worth; a request takes from both or from neither. Source: the
service's rate limit guide (headers ``x-ratelimit-*``) and the errors users quote.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from penstock.sandbox.errors import ApiError

UNLIMITED_REQUESTS = 10_000_000
UNLIMITED_TOKENS = 10_000_000_000
"""What the headers say when no limit is enforced: far above what one machine can send."""
ORGANIZATION = "org-sandbox"
_ROUNDING = 1e-6
"""Units that a bucket may lack: who waits exactly as long as told must not fail by the last bit of a float."""


@dataclass(slots=True)
class Bucket:
    """Holds at most `capacity` units and refills them all within a minute.

    Attributes:
        capacity: units per minute.
        level: units left at the time `seen`.
        seen: seconds on the limiter's clock.
    """

    capacity: int
    level: float
    seen: float

    def refill(self, now: float) -> None:
        """Let the time since the last look flow in."""
        self.level = min(float(self.capacity), self.level + (now - self.seen) * self.capacity / 60)
        self.seen = now

    def wait_for(self, amount: float) -> float:
        """Seconds until `amount` units are there."""
        missing = amount - self.level
        return missing * 60 / self.capacity if missing > _ROUNDING else 0.0

    @property
    def reset(self) -> float:
        """Seconds until the bucket is full."""
        return self.wait_for(self.capacity)


class Limits:
    """The buckets of one server, made when a model is first asked for.

    Args:
        rpm: requests per minute, None for no limit.
        tpm: tokens per minute, None for no limit.
        clock: seconds; tests give a virtual one.
    """

    def __init__(self, rpm: int | None, tpm: int | None, clock: Callable[[], float]) -> None:
        self._rpm = rpm
        self._tpm = tpm
        self._clock = clock
        self._buckets: dict[str, tuple[Bucket, Bucket]] = {}

    def admit(self, model: str, tokens: int) -> dict[str, str]:
        """Take one request and `tokens`; the headers that belong to the answer.

        Raises:
            ApiError: 429 with the wait in its headers; nothing was taken.
        """
        requests, budget = self._of(model)
        if self._tpm is not None and tokens > self._tpm:
            raise _too_large(model, self._tpm, tokens, _headers(requests, budget))
        wait_requests = requests.wait_for(1) if self._rpm is not None else 0.0
        wait_tokens = budget.wait_for(tokens) if self._tpm is not None else 0.0
        if wait_requests > 0 or wait_tokens > 0:
            kind, bucket, asked, wait = (
                ("requests", requests, 1, wait_requests)
                if wait_requests >= wait_tokens
                else ("tokens", budget, tokens, wait_tokens)
            )
            raise _refusal(model, kind, bucket, asked=asked, wait=wait, headers=_headers(requests, budget))
        requests.level = max(0.0, requests.level - 1)
        budget.level = max(0.0, budget.level - tokens)
        return _headers(requests, budget)

    def headers(self, model: str = "") -> dict[str, str]:
        """The headers of a request that takes nothing."""
        return _headers(*self._of(model))

    def clear(self) -> None:
        """Fill all buckets."""
        self._buckets.clear()

    def _of(self, model: str) -> tuple[Bucket, Bucket]:
        now = self._clock()
        if model not in self._buckets:
            rpm = self._rpm or UNLIMITED_REQUESTS
            tpm = self._tpm or UNLIMITED_TOKENS
            self._buckets[model] = (Bucket(rpm, float(rpm), now), Bucket(tpm, float(tpm), now))
        requests, tokens = self._buckets[model]
        requests.refill(now)
        tokens.refill(now)
        return requests, tokens


def format_reset(seconds: float) -> str:
    """A time span as the service writes it: ``6m0s``, ``1.5s``, ``12ms``, ``0s``.

    Rounded up to a whole millisecond, so that a client that waits so long finds what it was promised.
    """
    milliseconds = math.ceil(seconds * 1000 - 1e-6)
    if milliseconds <= 0:
        return "0s"
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _headers(requests: Bucket, tokens: Bucket) -> dict[str, str]:
    return {
        "x-ratelimit-limit-requests": str(requests.capacity),
        "x-ratelimit-limit-tokens": str(tokens.capacity),
        "x-ratelimit-remaining-requests": str(int(requests.level)),
        "x-ratelimit-remaining-tokens": str(int(tokens.level)),
        "x-ratelimit-reset-requests": format_reset(requests.reset),
        "x-ratelimit-reset-tokens": format_reset(tokens.reset),
    }


def retry_headers(seconds: float) -> dict[str, str]:
    """How long to wait, as the service says it: whole seconds, and exactly in milliseconds."""
    return {"retry-after": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1000))}


def _refusal(model: str, kind: str, bucket: Bucket, *, asked: int, wait: float, headers: dict[str, str]) -> ApiError:
    unit = "requests per min (RPM)" if kind == "requests" else "tokens per min (TPM)"
    used = bucket.capacity - int(bucket.level)
    return ApiError(
        429,
        f"Rate limit reached for {model} in organization {ORGANIZATION} on {unit}: Limit {bucket.capacity}, "
        f"Used {used}, Requested {asked}. Please try again in {format_reset(wait)}. "
        "Visit https://platform.openai.com/account/rate-limits to learn more.",
        type=kind,
        code="rate_limit_exceeded",
        headers=headers | retry_headers(wait),
    )


def _too_large(model: str, limit: int, asked: int, headers: dict[str, str]) -> ApiError:
    return ApiError(
        429,
        f"Request too large for {model} in organization {ORGANIZATION} on tokens per min (TPM): Limit {limit}, "
        f"Requested {asked}. The input or output tokens must be reduced in order to run successfully. "
        "Visit https://platform.openai.com/account/rate-limits to learn more.",
        type="tokens",
        code="rate_limit_exceeded",
        headers=headers,
    )
