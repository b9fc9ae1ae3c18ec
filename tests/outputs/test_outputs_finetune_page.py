"""The report as a page: it holds what was found, asks nobody for anything, and no training text becomes part of it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.outputs.finetune.check import CheckReport, check_files
from penstock.outputs.finetune.limits import Rules, TrainingPrice
from penstock.outputs.finetune.origin import Origin
from penstock.outputs.finetune.page import as_page
from penstock.outputs.finetune.report import as_dict

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=y>',
    "</title><b>",
    "{{ 7 * 7 }}",
    "&lt;",
    "'",
    "\0\ud800",
]


class Tags(HTMLParser):
    """What a browser would build: tags with their attributes, and the text beside them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.addresses: list[str] = []
        self.said = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "action", "data"}]

    def handle_data(self, data: str) -> None:
        self.said += data


def example(asked: str, answered: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]}


def check(folder: Path, extra: list[dict[str, Any]], **more: Any) -> CheckReport:
    lines = [example(f"Question {at}?", f"{'very ' * at}long answer") for at in range(12)] + extra
    (folder / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    (folder / "v.jsonl").write_text(json.dumps(lines[2]) + "\n", "utf-8")
    return check_files(folder / "t.jsonl", folder / "v.jsonl", **more)


def hostile(text: str) -> dict[str, Any]:
    return {"messages": [{"role": text, "content": None, text: 1}], text: 2}


def test_the_page_holds_figures_problems_lines_and_the_date_of_the_price(tmp_path: Path) -> None:
    origin = Origin(row=lambda line: f"ticket-{line}")
    report = check(
        tmp_path, [{"messages": []}], price_of=lambda _: TrainingPrice(2.0, "2030-01-01"), training_origin=origin
    )
    page = Tags(as_page(report))
    said = " ".join(page.said.split())
    assert "Not fit for training: 1 error, 1 warning." in said
    assert "$2 per million tokens: 2030-01-01" in said
    assert "line 13 row ticket-13 'messages' is an empty list" in said
    assert "line 1 the same example is line 3 of the training file" in said
    tokens = as_dict(report)["cost"]["billed_tokens_per_epoch"]
    assert f"for {tokens:,} tokens" in said
    bars = [attributes for tag, attributes in page.tags if tag == "rect"]
    assert len(bars) > 12
    assert said.count("tokens per example") == 2


def test_an_unknown_price_is_said_to_be_unknown_and_without_tokens_there_is_no_cost(tmp_path: Path) -> None:
    unknown = Tags(as_page(check(tmp_path, [], rules=Rules.of("llama-9")))).said
    assert "unknown: no price of this model's training is known" in unknown
    assert "$" not in unknown
    assert "Cost" not in Tags(as_page(check(tmp_path, [], rules=Rules.of(tokens=False)))).said


def test_the_page_asks_no_other_host_and_runs_nothing(tmp_path: Path) -> None:
    text = as_page(check(tmp_path, [hostile("x")]))
    page = Tags(text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "base"})
    assert not page.addresses
    assert not re.search(r"url\(|@import|https?://|javascript:", text)
    assert "default-src 'none'" in text


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_stay_texts(tmp_path: Path, text: str) -> None:
    harmless = Tags(as_page(check(tmp_path, [hostile("x")])))
    page = as_page(check(tmp_path, [hostile(text)]))
    assert set(Tags(page).tags) <= set(harmless.tags)
    page.encode("utf-8")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=12) | st.lists(st.sampled_from(HOSTILE), max_size=3).map("".join))
def test_no_text_of_a_file_adds_a_tag_or_an_attribute(tmp_path: Path, text: str) -> None:
    name = f"{text.encode('utf-8', 'replace').decode()} x"
    bad = {"messages": [{"role": name, "content": 1}], "tools": [{"type": name}]}
    origin = Origin(row=lambda _: name, flagged=lambda line: [name] if line == 3 else None)
    rules = Rules.of(tokens=False, near=None)
    tags = Tags(as_page(check(tmp_path, [bad], rules=rules, training_origin=origin))).tags
    plain = {"messages": [{"role": "x", "content": 1}], "tools": [{"type": "x"}]}
    origin = Origin(row=lambda _: "x", flagged=lambda line: ["x"] if line == 3 else None)
    assert tags == Tags(as_page(check(tmp_path, [plain], rules=rules, training_origin=origin))).tags
