"""What a sandbox server is started with, and how its settings are written on a command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from penstock.errors import InputError
from penstock.faults import FaultRule, parse_faults
from penstock.values import parse_duration

DEFAULT_KEY = "sk-sandbox"
LARGEST_VECTOR = 16_384
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one server, checked.

    Attributes:
        key: the one key that is good.
        host: the address to listen on; None means loopback only, with requests for other host names refused.
        port: 0 takes a free one.
        faults: what goes wrong, see `penstock.faults`.
        latency: the least and the most seconds an answer is held back.
        rpm: requests per minute for each model; None enforces none.
        tpm: tokens per minute for each model; None enforces none.
        queue: tokens that may wait in batches, for each model; None enforces none.
        seed: decides which requests meet faults, and the latencies.
        poison: a request whose input holds one of these texts is refused with 400.
        models: further embedding models: name to vector size.
        state: the folder where files, jobs and batches outlive the server; None keeps them for its life.
        pace: seconds that jobs and batches stay in each of their states.
    """

    key: str = field(default=DEFAULT_KEY, repr=False)
    host: str | None = None
    port: int = 0
    faults: tuple[FaultRule, ...] = ()
    latency: tuple[float, float] = (0.0, 0.0)
    rpm: int | None = None
    tpm: int | None = None
    queue: int | None = None
    seed: int = 0
    poison: tuple[str, ...] = ()
    models: Mapping[str, int] = field(default_factory=dict)
    state: str | None = None
    pace: float = 1.0

    @classmethod
    def parse(
        cls,
        *,
        key: str = DEFAULT_KEY,
        host: str | None = None,
        port: int = 0,
        faults: Sequence[str] = (),
        latency: str | float | None = None,
        rpm: int | None = None,
        tpm: int | None = None,
        queue: int | None = None,
        seed: int = 0,
        poison: Sequence[str] = (),
        models: Sequence[str] = (),
        state: str | None = None,
        pace: str | float = 1.0,
    ) -> Settings:
        """Settings from texts such as ``429:5%``, ``150ms..250ms`` and ``my-model:768``.

        Raises:
            InputError: one of them is wrong; the message says what is allowed.
        """
        if not key or not key.isascii() or any(mark.isspace() or not mark.isprintable() for mark in key):
            raise InputError("the key must be printable ASCII without spaces, for example sk-sandbox")
        if not 0 <= port <= 65_535:
            raise InputError(f"{port} is not a port; it must be from 0 (any free one) to 65535")
        for name, value in (("rpm", rpm), ("tpm", tpm), ("queue", queue)):
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; it must be 1 or more, or left out for no limit")
        if "" in poison:
            raise InputError("a poison word is empty; every request would be refused")
        return cls(
            key=key,
            host=host,
            port=port,
            faults=parse_faults(faults),
            latency=parse_latency(latency),
            rpm=rpm,
            tpm=tpm,
            queue=queue,
            seed=seed,
            poison=tuple(poison),
            models=dict(_parse_model(text) for text in models),
            state=state,
            pace=parse_pace(pace),
        )

    def to_json(self) -> dict[str, object]:
        """Plain values, for another process; `from_json` reads them."""
        return asdict(self) | {"faults": [rule.text for rule in self.faults], "latency": list(self.latency)}

    @classmethod
    def from_json(cls, value: dict[str, object]) -> Settings:
        """What `to_json` wrote."""
        faults: list[str] = value["faults"]  # type: ignore[assignment]  # as to_json wrote them
        latency: list[float] = value["latency"]  # type: ignore[assignment]
        poison: list[str] = value["poison"]  # type: ignore[assignment]
        rest = value | {"faults": parse_faults(faults), "latency": tuple(latency), "poison": tuple(poison)}
        return cls(**rest)  # type: ignore[arg-type]


def parse_latency(value: str | float | None) -> tuple[float, float]:
    """Seconds, least and most: ``200ms`` or ``150ms..250ms``.

    Raises:
        InputError: it is neither a duration nor a range of two.
    """
    if value is None:
        return (0.0, 0.0)
    low, dots, high = str(value).partition("..")
    try:
        least = parse_duration(low)
        most = parse_duration(high) if dots else least
    except ValueError:
        raise InputError(f"{value!r} is not a latency; write it like 200ms or 150ms..250ms") from None
    if most < least:
        raise InputError(f"the latency {value!r} ends before it begins; write the smaller one first")
    return (least, most)


def parse_pace(value: str | float) -> float:
    """Seconds from ``1s`` or a number.

    Raises:
        InputError: it is no duration.
    """
    try:
        return parse_duration(str(value))
    except ValueError:
        raise InputError(f"{value!r} is not a pace; write it like 1s or 200ms") from None


def _parse_model(text: str) -> tuple[str, int]:
    name, colon, size = text.rpartition(":")
    if not colon or not _MODEL_NAME.fullmatch(name) or not size.isascii() or not size.isdigit():
        raise InputError(f"{text!r} is not a model; write it as NAME:SIZE, for example my-model:768")
    if not 1 <= int(size) <= LARGEST_VECTOR:
        raise InputError(f"the vectors of {name} cannot have {size} numbers; allowed are 1 to {LARGEST_VECTOR}")
    return name, int(size)
