"""What a run has done so far, as plain numbers for the live progress and the run record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self


@dataclass(slots=True)
class Meter:
    """Counters of one run in one process. Written under the lock of its `RunControl`; read by `snapshot` there.

    Attributes:
        requests: sent, each attempt counted.
        results: by HTTP status, or by cause where none came: ``200``, ``429``, ``timeout``, ``unusable_answer``.
        retried: attempts that were not the first of their items, pauses included.
        prompt_tokens, completion_tokens, cached_tokens: as the server counted them, failed attempts included.
        seconds, characters, images: heard, spoken and drawn, failed attempts included.
        usd: what is known of the costs.
        usd_unknown: attempts with tokens whose price is not known.
        in_flight: requests under way.
        rows_done, rows_failed: rows with their fate, as `RunControl.note_rows` was told.
        failures: failed items by cause.
    """

    requests: int = 0
    results: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    seconds: float = 0.0
    characters: int = 0
    images: int = 0
    usd: float = 0.0
    usd_unknown: int = 0
    in_flight: int = 0
    rows_done: int = 0
    rows_failed: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON values; ``usd`` is None as soon as any part of it is unknown."""
        return {
            "requests": self.requests,
            "results": dict(self.results),
            "retried": self.retried,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cached_tokens": self.cached_tokens,
            "seconds": round(self.seconds, 3),
            "characters": self.characters,
            "images": self.images,
            "usd": None if self.usd_unknown else self.usd,
            "usd_known": self.usd,
            "in_flight": self.in_flight,
            "rows_done": self.rows_done,
            "rows_failed": self.rows_failed,
            "failures": dict(self.failures),
        }

    def as_fields(self) -> dict[str, Any]:
        """Every counter by its name, for another process to make it again by `of`."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items()}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The meter whose `as_fields` these are."""
        counted: dict[str, Any] = {
            name: Counter(value) if isinstance(value, dict) else value for name, value in values.items()
        }
        return cls(**counted)

    def add(self, other: Meter) -> None:
        """Count what another process did too."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))
