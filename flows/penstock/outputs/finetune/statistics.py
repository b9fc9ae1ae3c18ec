"""What a training file holds, in figures: messages and tokens as distributions, epochs, billed tokens and their price.

Tokens are counted as in the service's cookbook ("Data preparation and analysis for chat model fine-tuning"): each
message has 3 beside its role, name and content, and each example 3 more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from penstock.outputs.finetune.estimates import picture_tokens, tool_tokens
from penstock.outputs.finetune.example import Example
from penstock.outputs.finetune.limits import PriceOf, TrainingPrice, default_epochs
from penstock.tokens import TokenCounter

TOKENS_PER_MESSAGE = 3
TOKENS_PER_NAME = 1
TOKENS_PER_EXAMPLE = 3
_BARS = 8
_KEPT = 256


class Counted(NamedTuple):
    """Tokens of one example: those that were counted, and those of tools and images, which are an estimate."""

    exact: int
    estimated: int


@dataclass(slots=True)
class Distribution:
    """Whole numbers, each with how often it was seen: exact, and as large as there are different ones."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, value: int) -> None:
        """Count one value."""
        self.counts[value] += 1

    @property
    def number(self) -> int:
        """How many values."""
        return self.counts.total()

    @property
    def total(self) -> int:
        """Their sum."""
        return sum(value * count for value, count in self.counts.items())

    def clipped(self, most: int | None) -> int:
        """Their sum when each counts `most` at the most."""
        return self.total if most is None else sum(min(value, most) * count for value, count in self.counts.items())

    def above(self, most: int | None) -> int:
        """How many are larger than `most`."""
        return 0 if most is None else sum(count for value, count in self.counts.items() if value > most)

    def quantile(self, share: float) -> int:
        """The smallest value that so large a share of all is not larger than."""
        wanted, seen = share * self.number, 0
        for value in sorted(self.counts):
            seen += self.counts[value]
            if seen >= wanted:
                return value
        return 0

    def figures(self) -> dict[str, float | int]:
        """``min``, ``median``, ``p95``, ``max``, ``mean``; empty without values."""
        if not self.counts:
            return {}
        return {
            "min": min(self.counts),
            "median": self.quantile(0.5),
            "p95": self.quantile(0.95),
            "max": max(self.counts),
            "mean": round(self.total / self.number, 2),
        }

    def bars(self, most: int = _BARS) -> list[tuple[int, int, int]]:
        """Ranges of equal width, `most` of them, each with its ends and how many values are in it."""
        if not self.counts:
            return []
        low, high = min(self.counts), max(self.counts)
        width = max(1, -(-(high - low + 1) // most))
        found: Counter[int] = Counter()
        for value, count in self.counts.items():
            found[(value - low) // width] += count
        return [(low + at * width, min(high, low + at * width + width - 1), found[at]) for at in range(max(found) + 1)]


@dataclass(frozen=True, slots=True)
class Training:
    """What training on a file comes to.

    Attributes:
        epochs: by the service's rule when it is left to choose.
        tokens_per_epoch: billed tokens: of each example those that the model trains on.
        price: None when unknown.
    """

    epochs: int
    tokens_per_epoch: int
    price: TrainingPrice | None

    @property
    def tokens(self) -> int:
        """Billed tokens of all epochs."""
        return self.epochs * self.tokens_per_epoch

    @property
    def usd_per_epoch(self) -> float | None:
        """Dollars of one epoch; None when unknown."""
        return None if self.price is None else self.price.usd(self.tokens_per_epoch)


@dataclass(slots=True)
class Statistics:
    """Figures of one file, grown by one example after the other.

    Attributes:
        counter: counts tokens; None leaves them out.
        messages: per example.
        tokens: per example, with what is estimated; of both outputs in a preference example.
        answer_tokens: of the assistant's messages, per example.
        answer_characters: of the last message.
        tool_tokens: an estimate, in all examples together.
        image_tokens: likewise.
    """

    counter: TokenCounter | None = None
    model: str = ""
    examples: int = 0
    without_system: int = 0
    without_user: int = 0
    with_images: int = 0
    images: int = 0
    messages: Distribution = field(default_factory=Distribution)
    tokens: Distribution = field(default_factory=Distribution)
    answer_tokens: Distribution = field(default_factory=Distribution)
    answer_characters: Distribution = field(default_factory=Distribution)
    with_tools: int = 0
    tool_tokens: int = 0
    image_tokens: int = 0
    _roles: dict[str, int] = field(default_factory=dict)
    _tools: dict[str, int] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether every token was counted and none estimated."""
        counted = self.counter is not None and self.counter.exact
        return counted and not self.images and not self.with_tools

    def add(self, example: Example) -> int:
        """Count one example; its tokens but those that are estimated, 0 when they are not counted."""
        return self.counted(example).exact

    def counted(self, example: Example) -> Counted:
        """Count one example; its tokens."""
        roles = example.roles
        self.examples += 1
        # Reasoning models call the system's message the developer's.
        self.without_system += "system" not in roles and "developer" not in roles
        self.without_user += "user" not in roles
        self.messages.counts[len(roles)] += 1
        self.answer_characters.counts[len(example.texts[-1])] += 1
        if example.images:
            self.with_images += 1
            self.images += len(example.images)
        self.with_tools += bool(example.context)
        return Counted(0, 0) if self.counter is None else self._count(example, self.counter)

    def _count(self, example: Example, counter: TokenCounter) -> Counted:
        counts = counter.count_many(example.texts)
        tokens = TOKENS_PER_EXAMPLE + TOKENS_PER_MESSAGE * len(counts) + sum(counts)
        tokens += sum(self._role(role, counter) for role in example.roles)
        tokens += sum(TOKENS_PER_NAME + count for count in counter.count_many(example.names))
        tokens += counter.count(example.other_output) if example.other_output else 0
        tools = self._tool(example.context, counter) if example.context else 0
        images = sum(picture_tokens(one, self.model) for one in example.images)
        self.tool_tokens += tools
        self.image_tokens += images
        self.tokens.add(tokens + tools + images)
        answers = zip(counts, example.roles, strict=True)
        self.answer_tokens.add(sum(count for count, role in answers if role == "assistant"))
        return Counted(tokens, tools + images)

    def _tool(self, context: str, counter: TokenCounter) -> int:
        # Most files give the same tools on every line.
        if context not in self._tools:
            if len(self._tools) == _KEPT:
                self._tools.clear()
            self._tools[context] = tool_tokens(context, counter)
        return self._tools[context]

    def _role(self, role: str, counter: TokenCounter) -> int:
        if role not in self._roles:
            self._roles[role] = counter.count(role)
        return self._roles[role]

    def training(self, model: str, context: int | None, price_of: PriceOf) -> Training | None:
        """Epochs, billed tokens and price; None when tokens were not counted."""
        if self.counter is None:
            return None
        return Training(default_epochs(self.examples), self.tokens.clipped(context), price_of(model))

    def distributions(self) -> Iterable[tuple[str, Distribution]]:
        """Those that have values, by their names."""
        named = (
            ("messages per example", self.messages),
            ("tokens per example", self.tokens),
            ("tokens of answers per example", self.answer_tokens),
            ("characters of the last answer", self.answer_characters),
        )
        return [(name, one) for name, one in named if one.counts]
