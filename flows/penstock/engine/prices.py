"""Dollars of tokens, of seconds heard, characters spoken and images drawn.

By the price table of the installed genai-prices, by the few prices per image below that it lacks, or by prices of the
user's own. An unknown price is None, never 0: whoever adds it up must say "unknown".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from penstock.items import Usage

_BATCH_DISCOUNT = 0.5
"""Of the Batch API on every model (API reference, "Batch"), where the table has no batch price of its own."""

_DALL_E = {
    "dall-e-3 standard 1024x1024": 0.04,
    "dall-e-3 standard 1792x1024": 0.08,
    "dall-e-3 standard 1024x1792": 0.08,
    "dall-e-3 hd 1024x1024": 0.08,
    "dall-e-3 hd 1792x1024": 0.12,
    "dall-e-3 hd 1024x1792": 0.12,
    "dall-e-2 standard 1024x1024": 0.02,
    "dall-e-2 standard 512x512": 0.018,
    "dall-e-2 standard 256x256": 0.016,
}
"""Dollars per image, as the service published them in November 2023 and has not changed since.

Their price goes by quality and size, which `penstock.steps.image` puts into the name of the model.
"""

Overrides = Mapping[str, Mapping[str, float]]
"""Prices by model: ``input``, ``output`` and ``cached``, each in dollars per million tokens.

Without ``output`` the price of answers is not known; ``cached`` is as ``input`` where it is left out. ``minute`` is
dollars per minute of sound, ``characters`` per million characters, ``image`` per image; where one of these is given,
tokens of such a response cost only what is given for them.
"""


@dataclass(frozen=True, slots=True)
class Rates:
    """Dollars per token."""

    prompt: float
    completion: float
    cached: float

    def usd(self, usage: Usage) -> float:
        """What these tokens cost; cached tokens are among the prompt tokens."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        return (
            (usage.prompt_tokens - cached) * self.prompt
            + cached * self.cached
            + usage.completion_tokens * self.completion
        )


def price(model: str, usage: Usage, *, batch: bool = False, overrides: Overrides | None = None) -> float | None:
    """Dollars of one response, None when the price of `model` is not known in what the response counts.

    Sound that is paid by tokens: all its prompt tokens count as sound, a written prompt too, for they are not told
    apart; that is some cents a thousand prompts too many, and never too few.

    Args:
        model: as asked for or as answered; dated names and fine-tuned ones resolve to their family.
        batch: by the Batch API.
        overrides: prices that go before the table; a Batch discount still comes off them.
    """
    if overrides and model in overrides:
        return _own_price(overrides[model], usage, batch)
    if usage.seconds or usage.characters or usage.images:
        return _measured(model, usage)
    rates = _rates(model, batch)
    if isinstance(rates, Rates):
        return rates.usd(usage)
    return _tiered(model, usage, batch) if rates else None


def usd_of(usage: Usage, asked: str, overrides: Overrides | None = None) -> float | None:
    """Dollars of a response by the model as answered, else by the one `asked` for; None when unknown.

    A response that counts nothing has a known price only where everything is free.
    """
    if not (usage.prompt_tokens or usage.completion_tokens or usage.seconds or usage.characters or usage.images):
        return 0.0 if price(asked, Usage(asked, 1_000_000, 1_000_000), overrides=overrides) == 0 else None
    answered = usage.model
    if answered and answered != asked and not (overrides and asked in overrides):
        usd = price(answered, usage, overrides=overrides)
        if usd is not None:
            return usd
    return price(asked, usage, overrides=overrides)


def is_priced(model: str, overrides: Overrides | None = None) -> bool:
    """Whether the price of `model` is known in anything that it may count."""
    counted = (Usage(model, 1), Usage(model, seconds=1), Usage(model, characters=1), Usage(model, images=1))
    return any(price(model, usage, overrides=overrides) is not None for usage in counted) or any(
        name.partition(" ")[0] == model for name in _DALL_E
    )


def table_version() -> str:
    """The name and version of the price table, for run records."""
    from importlib.metadata import version

    return f"genai-prices {version('genai-prices')}"


def _own_price(prices: Mapping[str, float], usage: Usage, batch: bool) -> float | None:
    share = _BATCH_DISCOUNT if batch else 1.0
    counted = {"minute": usage.seconds / 60, "characters": usage.characters / 1e6, "image": float(usage.images)}
    measured = [prices[unit] * amount for unit, amount in counted.items() if amount and unit in prices]
    if measured and "input" not in prices:
        return sum(measured) * share
    if "input" not in prices or (usage.completion_tokens and "output" not in prices):
        return None
    if not measured and not (usage.prompt_tokens or usage.completion_tokens) and any(counted.values()):
        return None
    return sum(measured) * share + _own_rates(prices, batch).usd(usage)


def _measured(model: str, usage: Usage) -> float | None:
    """Of a response about sound or images, which has no Batch API."""
    found = _table_prices(model, batch=False)
    if found and not found[0]:
        return 0.0
    table = found[0] if found else {}
    for amount, names in (
        (usage.seconds / 3600, ("audio_hours", "input_audio_hours")),
        (usage.characters / 1e6, ("input_mchars",)),
    ):
        rate = next((number for name in names if (number := _number(table, name)) is not None), None)
        if amount and rate is not None:
            return amount * rate
    if usage.images and model in _DALL_E:
        return usage.images * _DALL_E[model]
    if not (usage.prompt_tokens or usage.completion_tokens):
        return None
    prompt, completion = _number(table, "input_mtok"), _number(table, "output_mtok")
    if usage.seconds:
        prompt = _number(table, "input_audio_mtok", prompt)
    if usage.images:
        completion = _number(table, "output_image_mtok", completion)
    if prompt is None or completion is None:
        return None
    cached = _number(table, "cache_read_mtok", prompt)
    return Rates(prompt / 1e6, completion / 1e6, (prompt if cached is None else cached) / 1e6).usd(usage)


def _number(table: Mapping[str, object], name: str, default: float | None = None) -> float | None:
    """A price that is one number; `default` for none, and for one in tiers."""
    from decimal import Decimal

    number = table.get(name)
    return float(number) if isinstance(number, Decimal) else default


def _own_rates(prices: Mapping[str, float], batch: bool) -> Rates:
    share = _BATCH_DISCOUNT if batch else 1.0
    prompt = prices["input"] * share / 1e6
    completion = prices.get("output", 0.0) * share / 1e6
    cached = prices.get("cached", prices["input"]) * share / 1e6
    return Rates(prompt, completion, cached)


@lru_cache(maxsize=256)
def _rates(model: str, batch: bool) -> Rates | bool:
    """Rates where the price is linear in the tokens; True where it is tiered; False where it is unknown."""
    from decimal import Decimal

    found = _table_prices(model, batch)
    if found is None:
        return False
    priced, share = found
    if not priced:
        # The table knows the model and lists nothing to pay: moderation.
        return Rates(0.0, 0.0, 0.0)
    prompt, completion = priced.get("input_mtok"), priced.get("output_mtok")
    if prompt is None and completion is None:
        # Priced by the second or the character, so that tokens alone say nothing.
        return False
    cached = priced.get("cache_read_mtok", prompt)
    numbers = (prompt or Decimal(0), completion or Decimal(0), cached or Decimal(0))
    if not all(isinstance(number, Decimal) for number in numbers):
        return True
    return Rates(*(float(number) * share / 1e6 for number in numbers))  # type: ignore[arg-type]  # all Decimal


def _table_prices(model: str, batch: bool) -> tuple[dict[str, object], float] | None:
    from genai_prices import Usage as Tokens
    from genai_prices import calc_price

    context = {"processing": "batch"} if batch else None
    try:
        found = calc_price(
            Tokens(input_tokens=0, output_tokens=0),
            model,
            provider_id="openai",
            price_context=context,
        )
    except LookupError:
        return None
    priced = {name: value for name, value in vars(found.model_price).items() if value is not None}
    own = any(variant.when.get("processing") == "batch" for variant in found.model.price_variants or ())
    return priced, _BATCH_DISCOUNT if batch and not own else 1.0


def _tiered(model: str, usage: Usage, batch: bool) -> float:
    from genai_prices import Usage as Tokens
    from genai_prices import calc_price

    tokens = Tokens(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cache_read_tokens=min(usage.cached_tokens, usage.prompt_tokens),
    )
    context = {"processing": "batch"} if batch else None
    found = calc_price(tokens, model, provider_id="openai", price_context=context)
    priced = _table_prices(model, batch)
    return float(found.total_price) * (priced[1] if priced else 1.0)
