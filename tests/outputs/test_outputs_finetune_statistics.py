"""Figures agree with the counters of the service's cookbook, re-implemented here from its formulas."""

from __future__ import annotations

import base64
import json
import random
import statistics as exact
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growth import growth
from penstock.outputs.finetune.check import check_files
from penstock.outputs.finetune.estimates import picture_of, picture_tokens, tool_tokens
from penstock.outputs.finetune.limits import (
    Rules,
    TrainingPrice,
    base_of,
    default_epochs,
    limits_of,
    listed_price,
)
from penstock.outputs.finetune.report import as_dict, as_lines
from penstock.outputs.finetune.statistics import Distribution
from penstock.tokens import vocabulary_counter

WORDS = ["the", "parcel", "left", "our", "house —", "why?", "żółw", "東京", "{json}", '\n"so"', "\\back", "on Monday"]
CONTEXT = 16_385


def some_examples(number: int) -> list[list[dict[str, Any]]]:
    chance = random.Random(7)

    def words(most: int) -> str:
        return " ".join(chance.choices(WORDS, k=chance.randint(1, most)))

    found = []
    for place in range(number):
        messages: list[dict[str, Any]] = [{"role": "system", "content": words(12)}] if chance.random() < 0.8 else []
        for _ in range(chance.randint(1, 3)):
            if chance.random() < 0.9:
                messages.append({"role": "user", "content": words(40)})
            if chance.random() < 0.2:
                messages[-1:] = [{**messages[-1], "name": "ann"}] if messages else []
            messages.append({"role": "assistant", "content": words(9_000 if place % 25 == 0 else 60)})
        found.append(messages)
    return found


class Cookbook:
    """The notebook's counters: tokens_per_message 3, tokens_per_name 1, 3 for the whole, limit 16,385."""

    def __init__(self, dataset: list[list[dict[str, Any]]], encode: Callable[[str], int]) -> None:
        self.n_missing_system = sum(not any(m["role"] == "system" for m in one) for one in dataset)
        self.n_missing_user = sum(not any(m["role"] == "user" for m in one) for one in dataset)
        self.n_messages = [len(one) for one in dataset]
        self.convo_lens = []
        self.assistant_lens = []
        for one in dataset:
            tokens = 0
            for message in one:
                tokens += 3
                for key, value in message.items():
                    tokens += encode(value)
                    if key == "name":
                        tokens += 1
            self.convo_lens.append(tokens + 3)
            self.assistant_lens.append(sum(encode(m["content"]) for m in one if m["role"] == "assistant"))
        self.n_too_long = sum(length > CONTEXT for length in self.convo_lens)
        self.n_billing_tokens = sum(min(CONTEXT, length) for length in self.convo_lens)
        self.n_epochs = 3
        if len(dataset) * 3 < 100:
            self.n_epochs = min(25, 100 // len(dataset))
        elif len(dataset) * 3 > 25_000:
            self.n_epochs = max(1, 25_000 // len(dataset))


def write(path: Path, dataset: list[list[dict[str, Any]]]) -> Path:
    path.write_text("".join(json.dumps({"messages": one}, ensure_ascii=False) + "\n" for one in dataset), "utf-8")
    return path


@pytest.mark.parametrize("number", [12, 120])
@pytest.mark.parametrize("model", ["gpt-3.5-turbo-0125", "gpt-4o-mini-2024-07-18"])
def test_all_counters_agree_with_the_cookbook(tmp_path: Path, number: int, model: str) -> None:
    dataset = some_examples(number)
    vocabulary = vocabulary_counter("cl100k_base" if "3.5" in model else "o200k_base")
    wanted = Cookbook(dataset, vocabulary.count)
    report = check_files(write(tmp_path / "t.jsonl", dataset), rules=Rules.of(model, context=CONTEXT))
    told = as_dict(report)["training"]
    assert told["without_system"] == wanted.n_missing_system
    assert told["without_user"] == wanted.n_missing_user
    assert told["tokens_exact"] is True
    for name, values in (
        ("messages", wanted.n_messages),
        ("tokens", wanted.convo_lens),
        ("answer_tokens", wanted.assistant_lens),
    ):
        figures = told[name]
        assert (figures["min"], figures["max"]) == (min(values), max(values))
        assert figures["mean"] == round(sum(values) / len(values), 2)
        assert figures["median"] == exact.median_low(values)
    assert (wanted.n_too_long > 0) == (number > 100)
    assert told["truncated_examples"] == wanted.n_too_long == report.training.found.counts["over_context"]
    cost = as_dict(report)["cost"]
    assert cost["billed_tokens_per_epoch"] == wanted.n_billing_tokens
    assert cost["epochs"] == wanted.n_epochs
    assert cost["billed_tokens"] == wanted.n_epochs * wanted.n_billing_tokens


def test_epochs_follow_the_rule_of_the_service() -> None:
    assert [default_epochs(number) for number in (0, 1, 10, 33, 34, 8_333, 8_334, 30_000)] == [0, 25, 10, 3, 3, 3, 2, 1]


def test_cost_is_by_the_price_given_and_names_its_date(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", some_examples(12)[1:])
    report = check_files(path, price_of=lambda _: TrainingPrice(2.0, "2030-01-01"))
    cost = as_dict(report)["cost"]
    assert cost["usd_per_epoch"] == pytest.approx(cost["billed_tokens_per_epoch"] * 2 / 1e6)
    assert cost["price_as_of"] == "2030-01-01"
    assert any("2030-01-01" in line for line in as_lines(report))


def test_an_unknown_price_is_unknown_and_an_unknown_vocabulary_an_estimate(tmp_path: Path) -> None:
    report = check_files(write(tmp_path / "t.jsonl", some_examples(12)), rules=Rules.of("llama-9"))
    told = as_dict(report)
    assert (told["cost"]["usd"], told["cost"]["usd_per_epoch"], told["context"]) == (None, None, None)
    assert told["training"]["tokens_exact"] is False
    text = "\n".join(as_lines(report))
    assert "cost per epoch: unknown" in text
    assert "estimate" in text
    assert "not known: not checked" in text


def test_a_fine_tuned_model_has_the_limits_and_price_of_its_base() -> None:
    tuned = "ft:gpt-4o-mini-2024-07-18:acme:support:abc123"
    assert base_of(tuned) == "gpt-4o-mini-2024-07-18"
    assert limits_of(tuned) == limits_of("gpt-4o-mini")
    assert listed_price(tuned) == listed_price("gpt-4o-mini-2024-07-18")
    assert listed_price("gpt-4") is None


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (2048).to_bytes(4, "big") + (1024).to_bytes(4, "big")
JPEG = b"\xff\xd8\xff\xe0\0\4ab\xff\xc0\0\x11\x08" + (512).to_bytes(2, "big") + (600).to_bytes(2, "big") + b"\0" * 9


@pytest.mark.parametrize(
    ("url", "detail", "tokens"),
    [
        ("https://example.com/a.png", "auto", 765),  # taken to be 1024 by 1024: 4 tiles of 170 and 85
        ("https://example.com/a.png", "low", 85),
        (f"data:image/png;base64,{base64.b64encode(PNG).decode()}", "high", 1105),  # 1536 by 768: 6 tiles
        (f"data:image/jpeg;base64,{base64.b64encode(JPEG).decode()}", "high", 425),  # 600 by 512: 2 tiles
        ("data:image/png;base64,AAA", "high", 765),
    ],
)
def test_tokens_of_images_are_an_estimate_by_the_tiles_of_the_guide(url: str, detail: str, tokens: int) -> None:
    part = {"type": "image_url", "image_url": {"url": url, "detail": detail}}
    assert picture_tokens(picture_of(part, 1), "gpt-4o-2024-08-06") == tokens


def test_tokens_of_tools_are_an_estimate_by_the_formula_of_the_cookbook() -> None:
    vocabulary = vocabulary_counter("o200k_base")
    unit = {"type": "string", "description": "The unit.", "enum": ["celsius", "kelvin"]}
    place = {"type": "string", "description": "The city, e.g. Oslo."}
    function = {
        "name": "weather",
        "description": "Says the weather.",
        "parameters": {"type": "object", "properties": {"place": place, "unit": unit}},
    }
    lines = ["weather:Says the weather", "place:string:The city, e.g. Oslo", "unit:string:The unit"]
    wanted = 7 + 3 + 2 * 3 - 3 + 2 * 3 + 12 + sum(map(vocabulary.count, [*lines, "celsius", "kelvin"]))
    context = json.dumps([[{"type": "function", "function": function}]])
    assert tool_tokens(context, vocabulary) == wanted
    assert tool_tokens(context, vocabulary_counter("cl100k_base")) > 0


def test_estimated_tokens_are_said_to_be_and_never_an_error_by_themselves(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": f"f{n}", "description": "Does what it says."}} for n in range(9)]
    part = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    lines = [
        {"messages": [{"role": "user", "content": f"Ask {at}?"}, {"role": "assistant", "content": f"{WORDS[at]} it."}]}
        for at in range(12)
    ]
    lines[3]["tools"] = tools  # type: ignore[assignment]
    lines[5]["messages"][0]["content"] = [{"type": "text", "text": "See?"}, part]  # type: ignore[assignment]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    report = check_files(path, rules=Rules.of("gpt-4o-2024-08-06", context=100))
    told = as_dict(report)["training"]
    assert [(one.line, one.code) for one in report.training.found.problems()] == [
        (4, "over_context_estimated"), (6, "over_context_estimated")
    ]  # fmt: skip
    assert (report.errors, told["tokens_exact"], told["with_tools"]) == (0, False, 1)
    assert told["estimated_tokens"]["images"] == 765
    text = "\n".join(as_lines(report))
    assert "1 example with tools: about" in text
    assert "1 example with 1 image: about 765 of the tokens, an estimate" in text


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=60))
def test_distributions_are_exact_and_their_bars_hold_every_value_once(values: list[int]) -> None:
    one = Distribution()
    for value in values:
        one.add(value)
    ordered = sorted(values)
    assert one.figures()["median"] == exact.median_low(values)
    assert one.figures()["p95"] == ordered[-(-len(ordered) * 95 // 100) - 1]
    assert one.clipped(100) == sum(min(value, 100) for value in values)
    bars = one.bars()
    assert [count for _, _, count in bars] == [sum(low <= value <= high for value in values) for low, high, _ in bars]
    assert sum(count for _, _, count in bars) == len(values)


def test_structure_is_checked_in_a_time_that_grows_with_the_file(tmp_path: Path) -> None:
    """How many megabytes a second that is, `benchmarks/finetune_check.py` measures."""
    small, large = (write(tmp_path / f"{times}.jsonl", some_examples(24)[1:20] * times) for times in (40, 320))
    rules = Rules.of(tokens=False, near=None, personal=())
    assert check_files(large, rules=rules).training.statistics.examples == 6_080
    assert growth(lambda: check_files(small, rules=rules), lambda: check_files(large, rules=rules)) < 5 * 8
