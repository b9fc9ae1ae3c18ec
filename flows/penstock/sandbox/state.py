"""What one running server knows: settings, models, limits, faults and counters, handed to every operation."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from penstock.faults import FaultRule
from penstock.sandbox.agenda import Agenda
from penstock.sandbox.archive import Archive
from penstock.sandbox.contract import ModelCard, Resource
from penstock.sandbox.faults import FaultPlan
from penstock.sandbox.limits import Limits
from penstock.sandbox.settings import Settings
from penstock.sandbox.stats import Stats

_Store = TypeVar("_Store")


class Sandbox:
    """The state of one server.

    Attributes:
        settings: as it was started.
        operations: of all resources, by method and path.
        cards: its models by name; resources may add and remove some.
        archive: objects and files that clients made.
        agenda: what happens later, and the time of day.
        limits: requests and tokens per minute.
        faults: what goes wrong now.
        latency: least and most seconds an answer is held back.
        poison: texts that make a request be refused.
        stats: what was done so far.
    """

    def __init__(
        self,
        settings: Settings,
        resources: Sequence[Resource],
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.operations = {(one.method, one.path): one for resource in resources for one in resource.operations}
        self.archive = Archive(settings.state)
        self.agenda = Agenda(wall)
        self.cards: dict[str, ModelCard] = {}
        for resource in resources:
            self.cards.update((card.id, card) for card in resource.cards(settings))
        self.limits = Limits(settings.rpm, settings.tpm, clock)
        self.stats = Stats()
        self._stores: dict[type, object] = {}
        self.change(settings.faults, settings.latency, settings.poison, settings.seed)
        for resource in resources:
            resource.restore(self)

    def change(
        self, faults: Sequence[FaultRule], latency: tuple[float, float], poison: Sequence[str], seed: int
    ) -> None:
        """Other faults from now on; draws start afresh from `seed`."""
        self.faults = FaultPlan(faults, seed)
        self.latency = latency
        self.poison = tuple(poison)
        self._pauses = random.Random(f"latency {seed}")  # noqa: S311  # has to be repeatable

    def store(self, kind: type[_Store]) -> _Store:
        """What a resource keeps for as long as the server runs: the one `kind()`, made when first asked for."""
        store = self._stores.get(kind)
        if not isinstance(store, kind):
            store = self._stores[kind] = kind()
        return store

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
