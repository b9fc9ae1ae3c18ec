"""What models take: tokens of an example, images, and how long a suffix may be.

Sources: the service's guides on supervised, vision and preference fine-tuning and its model table (token limits of
training examples), the API reference of 2024 ("suffix: up to 18 characters") and today's ("up to 64").
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from penstock.texts.personal import Kind

FEWEST_EXAMPLES = 10
LARGEST_FILE = 512 * 1024 * 1024
LARGEST_IMAGE = 10 * 1024 * 1024
MOST_IMAGES = 10
MOST_IMAGE_EXAMPLES = 50_000
SUFFIX_2024 = 18
SUFFIX_TODAY = 64
DEFAULT_MODEL = "gpt-4o-mini-2024-07-18"
NEAR = 0.8
"""How alike two examples are from which on they are told: the share of runs of three words that they have in common."""
Format = Literal["chat", "preference"]
"""Of a line: a conversation to learn by heart, or a prompt with a better and a worse answer."""
FORMATS: tuple[Format, ...] = ("chat", "preference")
KINDS: tuple[Kind, ...] = ("key", "mail", "iban", "card", "ip", "phone")
"""All kinds of personal data and keys that can be looked for."""


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """What one model takes; None where that is not known, and then it is not checked.

    Attributes:
        context: tokens of a training example.
        images: whether it is trained on images.
        formats: of lines that it is trained with.
    """

    context: int | None = None
    images: bool | None = None
    formats: tuple[Format, ...] | None = None


_BOTH: tuple[Format, ...] = ("chat", "preference")
# The first that matches counts: snapshots before their families.
_MODELS = (
    (re.compile(r"gpt-4o-mini(-2024-07-18)?$"), ModelLimits(65_536, images=False, formats=_BOTH)),
    (re.compile(r"gpt-4o(-2024-08-06)?$"), ModelLimits(65_536, images=True, formats=_BOTH)),
    (re.compile(r"gpt-4\.1(-mini|-nano)?(-2025-04-14)?$"), ModelLimits(65_536, formats=_BOTH)),
    (re.compile(r"gpt-4(-0613)?$"), ModelLimits(8_192, images=False, formats=("chat",))),
    (re.compile(r"gpt-3\.5-turbo-0613$"), ModelLimits(4_096, images=False, formats=("chat",))),
    (re.compile(r"gpt-3\.5-turbo(-0125|-1106)?$"), ModelLimits(16_385, images=False, formats=("chat",))),
)


def base_of(model: str) -> str:
    """The model below a fine-tuned one: ``ft:BASE:organisation:suffix:id`` and ``BASE`` give ``BASE``."""
    return model.split(":")[1] if model.startswith("ft:") and model.count(":") > 1 else model


def limits_of(model: str) -> ModelLimits:
    """What `model` takes; nothing known for models that are not in the table."""
    base = base_of(model)
    return next((limits for pattern, limits in _MODELS if pattern.match(base)), ModelLimits())


@dataclass(frozen=True, slots=True)
class TrainingPrice:
    """What training costs.

    Attributes:
        usd_per_million: dollars per million billed tokens.
        as_of: the date of the table it is from, or who says so; for reports.
    """

    usd_per_million: float
    as_of: str

    def usd(self, tokens: int) -> float:
        """Dollars of so many tokens."""
        return tokens * self.usd_per_million / 1_000_000


PriceOf = Callable[[str], TrainingPrice | None]
"""The price of a model's training; None when it is not known."""

_AS_OF = "typed in from memory on 2026-11-22, and not held against the price page; --price goes before it"
_TRAINING_PRICES = (
    (re.compile(r"gpt-4o-mini(-2024-07-18)?$"), 3.0),
    (re.compile(r"gpt-4o(-2024-08-06)?$"), 25.0),
    (re.compile(r"gpt-4\.1(-2025-04-14)?$"), 25.0),
    (re.compile(r"gpt-4\.1-mini(-2025-04-14)?$"), 5.0),
    (re.compile(r"gpt-4\.1-nano(-2025-04-14)?$"), 1.5),
    (re.compile(r"gpt-3\.5-turbo(-0125|-1106|-0613)?$"), 8.0),
)


def listed_price(model: str) -> TrainingPrice | None:
    """The price of supervised training by the table below, for genai-prices lists none of training."""
    base = base_of(model)
    return next((TrainingPrice(usd, _AS_OF) for pattern, usd in _TRAINING_PRICES if pattern.match(base)), None)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a file is held against.

    Attributes:
        model: the one to be trained; its vocabulary counts the tokens.
        context: tokens of an example; None for no limit.
        images: whether images are allowed; None when that is not known, and then they are.
        suffix_longest: characters of a suffix.
        tokens: whether tokens are counted, which takes most of the time.
        formats: of lines that are allowed; None when that is not known, and then all are.
        near: how alike examples are told, from 0.5 to 1; None looks for equal ones only.
        personal: kinds of personal data and keys that are looked for.
        group: a regular expression; what its first group (or all of it) matches in an example names the example's
            group, where no `Origin` does.
    """

    model: str = DEFAULT_MODEL
    context: int | None = None
    images: bool | None = None
    suffix_longest: int = SUFFIX_TODAY
    tokens: bool = True
    formats: tuple[Format, ...] | None = None
    near: float | None = NEAR
    personal: tuple[Kind, ...] = KINDS
    group: str | None = None

    @classmethod
    def of(
        cls,
        model: str = DEFAULT_MODEL,
        *,
        context: int | None = None,
        images: bool | None = None,
        suffix_longest: int = SUFFIX_TODAY,
        tokens: bool = True,
        formats: tuple[Format, ...] | None = None,
        near: float | None = NEAR,
        personal: tuple[Kind, ...] = KINDS,
        group: str | None = None,
    ) -> Rules:
        """The rules of a model; what is given goes before the table."""
        known = limits_of(model)
        return cls(
            model,
            known.context if context is None else context,
            known.images if images is None else images,
            suffix_longest,
            tokens,
            known.formats if formats is None else formats,
            near,
            personal,
            group,
        )


def default_epochs(examples: int) -> int:
    """How often the service goes through a file when it is left to choose.

    Source: the service's cookbook, "Data preparation and analysis for chat model fine-tuning": three times, but at
    least 100 examples in all (25 times at most) and at most 25,000.
    """
    if examples <= 0:
        return 0
    if examples * 3 < 100:
        return min(25, 100 // examples)
    return max(1, 25_000 // examples) if examples * 3 > 25_000 else 3
