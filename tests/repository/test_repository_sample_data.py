"""The sample reviews are what their README says."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from collections import Counter
from pathlib import Path

import pytest

LANGUAGES = {"en", "de", "fr", "es", "pt", "ar", "he", "zh", "ja", "hi"}

LONGEST = "r0680"
"""The one review that no request can take."""


@pytest.fixture(scope="module")
def text(root: Path) -> str:
    return (root / "sample_data" / "reviews.csv").read_bytes().decode("utf-8")


@pytest.fixture(scope="module")
def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


@pytest.fixture(scope="module")
def fates(root: Path) -> dict[str, str]:
    """Row id to what becomes of it, from the table of the README."""
    table = (root / "sample_data" / "README.md").read_text("utf-8")
    return dict(re.findall(r"^\| (r\d{4}) \| .* \| (embedded|filtered) \|$", table, re.MULTILINE))


def test_records_end_with_lf_and_there_is_no_byte_order_mark(text: str) -> None:
    assert not text.startswith("\ufeff")
    assert text.endswith("\n")
    assert text.count("\r") == 1, "one cell holds a Windows line break, and nothing else does"


def test_there_are_at_least_600_rows_each_named_once(rows: list[dict[str, str]]) -> None:
    assert len(rows) >= 600
    assert len({row["review_id"] for row in rows}) == len(rows)


def test_texts_are_varied_and_in_ten_languages(rows: list[dict[str, str]]) -> None:
    assert {row["language"] for row in rows} - {""} == LANGUAGES
    assert len({row["body"] for row in rows}) > 690
    sentences = Counter(
        sentence for row in rows for sentence in re.split(r"(?<=[.!?。！।])\s*", row["body"]) if sentence
    )
    assert sum(1 for sentence in sentences if len(sentence) > 8) > 600


def test_stars_and_dates_are_well_formed(rows: list[dict[str, str]]) -> None:
    assert {row["stars"] for row in rows} == {"1", "2", "3", "4", "5"}
    days = [dt.date.fromisoformat(row["created_at"]) for row in rows]
    assert min(days) >= dt.date(2024, 1, 1)
    assert max(days) <= dt.date(2026, 9, 26)


def test_the_empty_bodies_and_the_longest_are_exactly_the_rows_said_to_be_filtered(
    rows: list[dict[str, str]], fates: dict[str, str]
) -> None:
    empty = {row["review_id"] for row in rows if not row["body"]}
    assert len(empty) == 5
    assert empty | {LONGEST} == {name for name, fate in fates.items() if fate == "filtered"}


def test_exactly_one_row_is_over_the_token_limit_of_an_input(rows: list[dict[str, str]]) -> None:
    from splintr import Tokenizer

    tokenizer = Tokenizer.from_pretrained("cl100k_base")
    counts = {row["review_id"]: len(tokenizer.encode_ordinary(f"{row['title']}. {row['body']}")) for row in rows}
    over = {name for name, count in counts.items() if count > 8192}
    assert over == {LONGEST}
    assert any(4000 < count <= 8192 for count in counts.values()), "and one is long and still allowed"


def test_duplicates_are_there_on_purpose(rows: list[dict[str, str]]) -> None:
    texts = Counter((row["title"], row["body"]) for row in rows if row["body"])
    assert [count for count in texts.values() if count > 1] == [3]
