"""One request's worth of items on its way through attempts, and what they have cost so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.engine.packing import halves
from penstock.items import Item, Usage

_LAST_ATTEMPTS = 2
NOTHING_YET = Usage()
"""Of packs that no attempt has cost anything."""


@dataclass(slots=True)
class Pack:
    """Items that are sent together.

    Attributes:
        tokens: their estimate.
        sent: requests made with them, those refused by 429 included.
        attempts: requests made with them that count against the retry policy.
        refused_at: when they were refused by 429 first, None if never.
        spent: what the attempts so far have counted.
        usd: dollars of the attempts so far, None when a part of it is unknown.
    """

    items: Sequence[Item]
    tokens: int
    sent: int = 0
    attempts: int = 0
    refused_at: float | None = None
    spent: Usage = NOTHING_YET
    usd: float | None = 0.0

    @staticmethod
    def of(items: Sequence[Item]) -> Pack:
        """A pack that was never sent."""
        return Pack(items, sum(item.tokens for item in items))

    def charge(self, usage: Usage | None, usd: float | None) -> None:
        """Remember what an attempt has cost."""
        if usage is not None and self.spent is NOTHING_YET:
            self.spent = usage
        elif usage is not None:
            self.spent = Usage(
                usage.model or self.spent.model,
                self.spent.prompt_tokens + usage.prompt_tokens,
                self.spent.completion_tokens + usage.completion_tokens,
                self.spent.cached_tokens + usage.cached_tokens,
                self.spent.seconds + usage.seconds,
                self.spent.characters + usage.characters,
                self.spent.images + usage.images,
            )
        self.usd = added(self.usd, usd)

    def halved(self, attempts_allowed: int, *, tried_out: bool) -> tuple[Pack, Pack]:
        """Two packs of half the items; costs so far are shared by number of items.

        Args:
            tried_out: whether all attempts were used up on the whole; then each half gets only a last few.
        """
        used = max(attempts_allowed - _LAST_ATTEMPTS, 0) if tried_out else 0
        left, right = (Pack.of(part) for part in halves(self.items))
        shares = self.shares()
        for part, own in ((left, shares[: len(left.items)]), (right, shares[len(left.items) :])):
            part.attempts = used
            part.sent = self.sent
            part.refused_at = self.refused_at
            for usage, usd in own:
                part.charge(usage, usd)
        return left, right

    def shares(self) -> list[tuple[Usage, float | None]]:
        """Each item's part of the costs so far; together they are exactly all tokens, and all dollars."""
        count = len(self.items)
        if self.spent == Usage() and not self.usd:
            return [(self.spent, self.usd)] * count
        prompt = _parts(self.spent.prompt_tokens, count)
        completion = _parts(self.spent.completion_tokens, count)
        cached = _parts(self.spent.cached_tokens, count)
        usd = None if self.usd is None else self.usd / count
        return [
            (self.spent._replace(prompt_tokens=p, completion_tokens=c, cached_tokens=k), usd)
            for p, c, k in zip(prompt, completion, cached, strict=True)
        ]


def added(one: float | None, other: float | None) -> float | None:
    """The sum, None as soon as a part is unknown."""
    return None if one is None or other is None else one + other


def _parts(total: int, count: int) -> list[int]:
    each, rest = divmod(total, count)
    return [each + 1] * rest + [each] * (count - rest)
