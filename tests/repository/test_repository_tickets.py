"""The sample tickets are what their README says."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def rows(root: Path) -> list[dict[str, str]]:
    with (root / "sample_data" / "tickets.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def test_there_are_360_tickets_each_named_once(rows: list[dict[str, str]]) -> None:
    assert len(rows) == len({row["ticket_id"] for row in rows}) == 360


def test_all_topics_urgencies_and_channels_are_there_in_numbers(rows: list[dict[str, str]]) -> None:
    for column, kinds in (("meant_category", 6), ("meant_urgency", 3), ("channel", 3)):
        counts = Counter(row[column] for row in rows)
        assert len(counts) == kinds
        assert min(counts.values()) > 40


def test_texts_are_varied_and_no_slot_is_left_open(rows: list[dict[str, str]]) -> None:
    assert len({row["body"] for row in rows}) >= 355
    assert [
        row["ticket_id"] for row in rows if re.search(r"\{(?:order|amount|date|product|code|town)\}", str(row))
    ] == []
