"""What response headers say about waiting and limits.

Sources: API reference, "Rate limits" (headers and their durations); RFC 9110 section 10.2.3 (Retry-After); the
conventions ``x-should-retry`` and ``retry-after-ms`` as the official clients follow them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import lru_cache

from penstock.secrets import redact

LONGEST_WAIT = 120.0
"""Seconds waited at most because a server says so: one server asked for 114 hours."""

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|s|m|h|d)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait that a server asks for: `asked` as it said, `seconds` as it is obeyed."""

    seconds: float
    asked: float

    @property
    def capped(self) -> bool:
        """Whether less is waited than was asked."""
        return self.asked > self.seconds


@dataclass(frozen=True, slots=True)
class Allowance:
    """One limit as a response states it: how many per window, how many are left, seconds until all are back."""

    limit: int
    remaining: int | None
    reset: float | None


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Both limits of a response; None where it says nothing."""

    requests: Allowance | None = None
    tokens: Allowance | None = None


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """The service's id of a request, for its support; without a key, should a server ever put one there."""
    found = headers.get("x-request-id")
    return redact(found) if found else None


def parse_should_retry(headers: Mapping[str, str]) -> bool | None:
    """``x-should-retry``, None when it is absent or neither true nor false."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())


def parse_retry_after(headers: Mapping[str, str], now: float, *, cap: float = LONGEST_WAIT) -> Wait | None:
    """How long to wait: ``retry-after-ms``, else ``Retry-After`` as seconds or as an HTTP date.

    Args:
        headers: names in lower case.
        now: seconds since the epoch.
        cap: seconds at most.
    """
    asked = _number(headers.get("retry-after-ms"))
    if asked is not None:
        asked /= 1000
    else:
        text = headers.get("retry-after")
        asked = _number(text)
        if asked is None and text:
            asked = _until(text, now)
    if asked is None:
        return None
    asked = max(asked, 0.0)
    return Wait(min(asked, cap), asked)


def parse_ratelimit(headers: Mapping[str, str]) -> RateLimits | None:
    """The family ``x-ratelimit-*``, None when a response has none of it (most servers send none)."""
    requests = _allowance(headers, "requests")
    tokens = _allowance(headers, "tokens")
    return RateLimits(requests, tokens) if requests or tokens else None


@lru_cache(maxsize=4096)
def parse_reset(text: str) -> float | None:
    """Seconds of ``6m0s``, ``1s``, ``12ms`` or a plain number; None for anything else."""
    text = text.strip().lower()
    plain = _number(text)
    if plain is not None:
        return plain if plain >= 0 else None
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _allowance(headers: Mapping[str, str], name: str) -> Allowance | None:
    limit = _whole(headers.get(f"x-ratelimit-limit-{name}"))
    if limit is None or limit <= 0:
        return None
    remaining = _whole(headers.get(f"x-ratelimit-remaining-{name}"))
    reset = headers.get(f"x-ratelimit-reset-{name}")
    return Allowance(
        limit, remaining if remaining is not None and remaining >= 0 else None, parse_reset(reset) if reset else None
    )


def _whole(text: str | None) -> int | None:
    number = _number(text)
    return None if number is None else int(number)


def _number(text: str | None) -> float | None:
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _until(text: str, now: float) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() - now
    except (ValueError, TypeError, OverflowError):
        return None
