"""What may still be spent. Arithmetic only; its `RunControl` holds the lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penstock.engine.prices import Overrides, price, usd_of
from penstock.items import Usage
from penstock.values import format_usd


@dataclass(frozen=True, slots=True)
class Reservation:
    """The part of a budget that a request under way may use."""

    tokens: int = 0
    usd: float = 0.0


NOTHING = Reservation()
"""What a request reserves where there is no budget."""


class Budget:
    """Dollars and tokens of one run; None is no limit.

    Checked before each request with its estimate, charged after it with the actual figures: so it is exceeded at most
    by what the requests under way cost more than was estimated for them.

    Args:
        prices: of the user's own, by provider: one model may have another price at each.
    """

    def __init__(self, usd: float | None, tokens: int | None, prices: Mapping[str, Overrides] | None = None) -> None:
        self.usd = usd
        self.tokens = tokens
        self._prices = prices or {}
        self._spent_usd = 0.0
        self._spent_tokens = 0
        self._reserved_usd = 0.0
        self._reserved_tokens = 0
        self._reservations = 0
        self._taught: dict[tuple[str, str], tuple[float, int]] = {}

    @property
    def limited(self) -> bool:
        """Whether there is anything to keep to."""
        return self.usd is not None or self.tokens is not None

    @property
    def under_way(self) -> int:
        """Requests that have a part of it set aside."""
        return self._reservations

    @property
    def spent(self) -> tuple[float, int]:
        """Dollars and tokens that count as spent."""
        return self._spent_usd, self._spent_tokens

    @property
    def free(self) -> tuple[float, int]:
        """Dollars and tokens that are neither spent nor set aside; 0 of what is not limited, and never less."""
        usd = 0.0 if self.usd is None else self.usd - self._spent_usd - self._reserved_usd
        tokens = 0 if self.tokens is None else self.tokens - self._spent_tokens - self._reserved_tokens
        return max(usd, 0.0), max(tokens, 0)

    def needed(
        self, model: str, tokens: int, expected: Sequence[Usage] = (), *, provider: str = ""
    ) -> tuple[float, int]:
        """Dollars and tokens that `reserve` would set aside for a request; 0 of what is not limited."""
        if self.usd is None:
            usd = 0.0
        elif expected:
            usd = sum(usd_of(usage, model, self._prices.get(provider)) or 0.0 for usage in expected)
        else:
            usd = self._expected(provider, model, tokens)
        return usd, 0 if self.tokens is None else tokens

    def reserve(
        self, model: str, tokens: int, expected: Sequence[Usage] = (), *, provider: str = ""
    ) -> Reservation | str | None:
        """Set aside what a request to `provider` may cost.

        Args:
            expected: what it will count in something else than tokens.

        Returns:
            The reservation; None when it may fit once a request under way has cost less than reserved; or, when
            nothing is under way and it does not fit, why not.
        """
        usd, _ = self.needed(model, tokens, expected, provider=provider)
        shortage = self._shortage(tokens, usd)
        if shortage is not None:
            return None if self._reservations else shortage
        self._reservations += 1
        self._reserved_tokens += tokens
        self._reserved_usd += usd
        return Reservation(tokens, usd)

    def release(self, reservation: Reservation) -> None:
        """The request has ended, or was never sent."""
        self._reservations -= 1
        self._reserved_tokens -= reservation.tokens
        self._reserved_usd -= reservation.usd

    def charge(
        self, model: str, estimate: int, tokens: int, usd: float | None, *, success: bool, provider: str = ""
    ) -> None:
        """What an attempt has really cost; a success of which that is not known counts as what was expected of it."""
        self._spent_tokens += tokens
        if usd is None and success and self.usd is not None:
            usd = self._expected(provider, model, estimate)
        self._spent_usd += usd or 0.0
        if success and usd is not None:
            known, estimated = self._taught.get((provider, model), (0.0, 0))
            self._taught[provider, model] = (known + usd, estimated + estimate)

    def spend(self, usd: float, tokens: int = 0) -> None:
        """What was spent without a reservation."""
        self._spent_usd += usd
        self._spent_tokens += tokens

    def _expected(self, provider: str, model: str, tokens: int) -> float:
        # The estimate counts at the price of prompts; answers teach what completions add to that.
        plain = price(model, Usage(model, tokens), overrides=self._prices.get(provider)) or 0.0
        usd, estimated = self._taught.get((provider, model), (0.0, 0))
        return max(plain, usd / estimated * tokens) if estimated else plain

    def _shortage(self, tokens: int, usd: float) -> str | None:
        if self.tokens is not None and self._spent_tokens + self._reserved_tokens + tokens > self.tokens:
            return shortage(f"{self.tokens:,} tokens", f"{self._spent_tokens:,}", f"{tokens:,}")
        if self.usd is not None and self._spent_usd + self._reserved_usd + usd > self.usd:
            return shortage(format_usd(self.usd), format_usd(self._spent_usd), format_usd(usd))
        return None


def shortage(limit: str, spent: str, more: str) -> str:
    """Why a budget ends a run, and what then."""
    return (
        f"the budget of {limit} is used up: {spent} are spent, and the next request needs about {more}. "
        f"Raise `budget` and resume; what is answered is kept"
    )
