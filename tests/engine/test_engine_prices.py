"""Dollars: exact where known, None where not, never 0 for what is unknown."""

from __future__ import annotations

import subprocess
import sys

import pytest

from penstock.engine.prices import is_priced, price, table_version, usd_of
from penstock.items import Usage

MILLION = Usage(None, 1_000_000, 1_000_000)


@pytest.mark.parametrize(
    ("model", "usage", "usd"),
    [
        ("text-embedding-3-small", Usage(None, 1_000_000), 0.02),
        ("gpt-4o-mini", MILLION, 0.75),
        ("gpt-4o-mini-2024-07-18", MILLION, 0.75),
        ("ft:gpt-4o-mini-2024-07-18:org::abc", MILLION, 1.5),
        ("gpt-4o-mini", Usage(None, 1_000_000, 0, 500_000), 0.1125),
        ("omni-moderation-latest", MILLION, 0.0),
    ],
)
def test_known_prices(model, usage, usd):
    assert price(model, usage) == pytest.approx(usd)


@pytest.mark.parametrize("model", ["llama3", "", "dall-e-3", "whisper-1", "tts-1", "gpt-99"])
def test_what_is_unknown_or_not_paid_by_tokens_is_none(model):
    assert price(model, MILLION) is None


def test_the_batch_api_costs_half_where_the_table_has_no_price_for_it():
    assert price("gpt-4o-mini", MILLION, batch=True) == pytest.approx(0.375)
    assert price("text-embedding-3-small", Usage(None, 1_000_000), batch=True) == pytest.approx(0.01)


def test_own_prices_go_before_the_table():
    own = {"llama3": {"input": 1.0, "output": 2.0, "cached": 0.5}, "gpt-4o-mini": {"input": 9.0}}
    assert price("llama3", Usage(None, 1_000_000, 500_000, 200_000), overrides=own) == pytest.approx(0.8 + 0.1 + 1.0)
    assert price("gpt-4o-mini", Usage(None, 1_000_000), overrides=own) == pytest.approx(9.0)
    assert price("llama3", MILLION, overrides=own, batch=True) == pytest.approx(1.5)


def test_answers_have_no_known_price_where_ones_own_names_only_the_input():
    own = {"llama3": {"input": 1.0}}
    assert price("llama3", Usage(None, 1_000_000), overrides=own) == pytest.approx(1.0)
    assert price("llama3", Usage(None, 1_000_000, 1), overrides=own) is None
    assert price("gpt-4o-mini", Usage(None, 10, 10), overrides={"gpt-4o-mini": {"input": 1.0}}) is None


def test_a_response_is_priced_as_answered_else_as_asked():
    assert usd_of(Usage("gpt-4o-2024-08-06", 1_000_000), "gpt-4o-mini") == pytest.approx(2.5)
    assert usd_of(Usage("strange-name", 1_000_000), "gpt-4o-mini") == pytest.approx(0.15)
    assert usd_of(Usage("strange-name", 1_000_000), "also-strange") is None
    assert usd_of(Usage("gpt-4o-2024-08-06", 1_000_000), "mine", {"mine": {"input": 4.0}}) == pytest.approx(4.0)


def test_a_response_that_counts_no_tokens_is_unknown_unless_all_is_free():
    assert usd_of(Usage("text-embedding-3-small"), "text-embedding-3-small") is None
    assert usd_of(Usage("omni-moderation-latest"), "omni-moderation-latest") == 0.0


def test_the_table_is_named():
    assert table_version().startswith("genai-prices 0.")


def test_importing_costs_nothing_before_the_first_price():
    late = ("genai_prices", "splintr", "httpx", "httptools", "tenacity")
    code = f"import sys, penstock.engine; print([name for name in {late} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("model", "usage", "usd"),
    [
        ("whisper-1", Usage(None, seconds=600), 0.06),
        ("tts-1", Usage(None, characters=1_000_000), 15.0),
        ("tts-1-hd", Usage(None, characters=4_096), 0.12288),
        ("dall-e-3 standard 1024x1024", Usage(None, images=1), 0.04),
        ("dall-e-3 hd 1024x1792", Usage(None, images=2), 0.24),
        ("dall-e-2 standard 256x256", Usage(None, images=10), 0.16),
    ],
)
def test_what_is_paid_by_the_minute_the_character_or_the_image(model, usage, usd):
    assert price(model, usage) == pytest.approx(usd)


def test_tokens_of_sound_and_of_images_cost_what_sound_and_images_cost():
    heard = Usage(None, 1_000_000, 0, seconds=100_000.0)
    assert price("gpt-4o-transcribe", heard) == pytest.approx(6.0)
    assert price("gpt-4o-transcribe", Usage(None, 1_000_000)) == pytest.approx(2.5)
    drawn = Usage(None, 0, 1_000_000, images=100)
    assert price("gpt-image-1", drawn) == pytest.approx(40.0)
    assert price("gpt-image-1.5", drawn) == pytest.approx(32.0)
    assert price("gpt-image-1.5", Usage(None, 0, 1_000_000)) == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("model", "usage"),
    [
        ("dall-e-3", Usage(None, images=1)),
        ("dall-e-3 hd 512x512", Usage(None, images=1)),
        ("gpt-4o-mini-tts", Usage(None, characters=100)),
        ("gpt-4o-transcribe", Usage(None, seconds=100)),
        ("gpt-image-1", Usage(None, images=1)),
        ("whisper-large", Usage(None, seconds=100)),
        ("gpt-4o-mini", Usage(None, seconds=100)),
    ],
)
def test_a_count_that_the_table_has_no_price_for_is_unknown_and_never_free(model, usage):
    assert price(model, usage) is None
    assert usd_of(usage, model) is None


def test_a_response_without_tokens_is_priced_by_what_else_it_counts():
    assert usd_of(Usage(None, seconds=60), "whisper-1") == pytest.approx(0.006)
    assert usd_of(Usage("dall-e-3 hd 1024x1024", images=1), "dall-e-3") == pytest.approx(0.08)
    assert usd_of(Usage(None), "whisper-1") is None


def test_own_prices_by_the_minute_the_character_and_the_image():
    own = {"mine": {"minute": 0.01, "characters": 20.0, "image": 0.5}, "both": {"minute": 0.6, "input": 1.0}}
    assert price("mine", Usage(None, seconds=90), overrides=own) == pytest.approx(0.015)
    assert price("mine", Usage(None, characters=1_000), overrides=own) == pytest.approx(0.02)
    assert price("mine", Usage(None, images=3), overrides=own) == pytest.approx(1.5)
    assert price("mine", Usage(None, 100), overrides=own) is None
    assert price("both", Usage(None, 1_000_000, seconds=60), overrides=own) == pytest.approx(1.6)
    assert price("both", Usage(None, images=1), overrides=own) is None


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("whisper-1", True),
        ("tts-1", True),
        ("dall-e-3", True),
        ("gpt-4o", True),
        ("llama3", False),
        ("dall-e-9", False),
    ],
)
def test_whether_anything_is_known_of_a_models_price(model, known):
    assert is_priced(model) is known
    assert is_priced("llama3", {"llama3": {"minute": 0.1}})
