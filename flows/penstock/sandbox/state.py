"""What one running server knows: settings, models, limits, faults and counters, handed to every operation."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from penstock.sandbox.contract import ModelCard, Resource
from penstock.sandbox.faults import FaultPlan, FaultRule
from penstock.sandbox.limits import Limits
from penstock.sandbox.settings import Settings
from penstock.sandbox.stats import Stats


class Sandbox:
    """The state of one server.

    Attributes:
        settings: as it was started.
        cards: its models by name; resources may add and remove some.
        limits: requests and tokens per minute.
        faults: what goes wrong now.
        latency: least and most seconds an answer is held back.
        poison: texts that make a request be refused.
        stats: what was done so far.
    """

    def __init__(self, settings: Settings, resources: Sequence[Resource], clock: Callable[[], float]) -> None:
        self.settings = settings
        self.cards: dict[str, ModelCard] = {}
        for resource in resources:
            self.cards.update((card.id, card) for card in resource.cards(settings))
        self.limits = Limits(settings.rpm, settings.tpm, clock)
        self.stats = Stats()
        self.change(settings.faults, settings.latency, settings.poison, settings.seed)

    def change(
        self, faults: Sequence[FaultRule], latency: tuple[float, float], poison: Sequence[str], seed: int
    ) -> None:
        """Other faults from now on; draws start afresh from `seed`."""
        self.faults = FaultPlan(faults, seed)
        self.latency = latency
        self.poison = tuple(poison)
        self._pauses = random.Random(f"latency {seed}")  # noqa: S311  # has to be repeatable

    def pause(self) -> float:
        """Seconds to hold back the next answer."""
        low, high = self.latency
        return self._pauses.uniform(low, high) if high > low else low

    def reset(self) -> None:
        """Counters to zero, limits full, faults as the server was started with."""
        self.stats.clear()
        self.limits.clear()
        settings = self.settings
        self.change(settings.faults, settings.latency, settings.poison, settings.seed)
