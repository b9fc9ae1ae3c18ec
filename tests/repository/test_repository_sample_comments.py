"""The sample comments are what their README says."""

from __future__ import annotations

import csv
import datetime as dt
import io
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from penstock.sandbox.models.moderation import is_flagged, score_text


@pytest.fixture(scope="module")
def text(root: Path) -> str:
    return (root / "sample_data" / "comments.csv").read_bytes().decode("utf-8")


@pytest.fixture(scope="module")
def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


@pytest.fixture(scope="module")
def phrases(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "sample_data" / "comments.toml").read_text("utf-8"))


def flagged_for(text: str) -> set[str]:
    return {category for category, score in score_text(text).items() if is_flagged(category, score)}


def test_there_are_at_least_400_comments_each_named_once_in_the_order_of_time(rows: list[dict[str, str]]) -> None:
    assert len(rows) >= 400
    assert len({row["comment_id"] for row in rows}) == len(rows)
    times = [dt.datetime.fromisoformat(row["created_at"]) for row in rows]
    assert times == sorted(times)


def test_comments_are_varied_and_in_many_languages(rows: list[dict[str, str]]) -> None:
    languages = Counter(row["language"] for row in rows)
    assert all(languages[code] >= 20 for code in ("en", "de", "fr", "es", "it", "ja", "zh", "ar"))
    assert len({row["body"] for row in rows}) > 480
    assert len({row["thread"] for row in rows}) == 6


def test_some_comments_are_empty_and_some_come_twice(rows: list[dict[str, str]]) -> None:
    assert sum(not row["body"].strip() for row in rows) == 3
    twice = {body for body, count in Counter(row["body"] for row in rows).items() if count > 1}
    assert twice == {"First!", "You are such an idiot, go back to school."}


def test_each_abusive_comment_is_flagged_for_its_category_and_no_harmless_one_is(phrases: dict[str, Any]) -> None:
    for group in phrases["abusive"]:
        assert [text for text in group["texts"] if group["category"] not in flagged_for(text)] == []
    assert [text for group in phrases["harmless"] for text in group["texts"] if flagged_for(text)] == []


def test_nothing_else_is_flagged(rows: list[dict[str, str]], phrases: dict[str, Any]) -> None:
    abusive = {text.casefold() for group in phrases["abusive"] for text in group["texts"]}
    assert [row["body"] for row in rows if flagged_for(row["body"]) and row["body"].casefold() not in abusive] == []
    assert 0.05 < sum(bool(flagged_for(row["body"])) for row in rows) / len(rows) < 0.15
