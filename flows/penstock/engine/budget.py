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
        usd = self._expected(provider, model, tokens) if self.usd is not None else 0.0
        if self.usd is not None and expected:
            usd = sum(usd_of(usage, model, self._prices.get(provider)) or 0.0 for usage in expected)
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

    def _expected(self, provider: str, model: str, tokens: int) -> float:
        # The estimate counts at the price of prompts; answers teach what completions add to that.
        plain = price(model, Usage(model, tokens), overrides=self._prices.get(provider)) or 0.0
        usd, estimated = self._taught.get((provider, model), (0.0, 0))
        return max(plain, usd / estimated * tokens) if estimated else plain

    def _shortage(self, tokens: int, usd: float) -> str | None:
        if self.tokens is not None and self._spent_tokens + self._reserved_tokens + tokens > self.tokens:
            limit, spent, more = f"{self.tokens:,} tokens", f"{self._spent_tokens:,}", f"{tokens:,}"
        elif self.usd is not None and self._spent_usd + self._reserved_usd + usd > self.usd:
            limit, spent, more = format_usd(self.usd), format_usd(self._spent_usd), format_usd(usd)
        else:
            return None
        return (
            f"the budget of {limit} is used up: {spent} are spent, and the next request needs about {more}. "
            f"Raise `budget` and resume; what is answered is kept"
        )
