"""The sample documents are what their README says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from penstock.tokens import counter

Document = dict[str, str]


@pytest.fixture(scope="module")
def documents(root: Path) -> dict[str, Document]:
    lines = (root / "sample_data" / "documents.jsonl").read_text("utf-8").splitlines()
    return {row["doc_id"]: row for row in map(json.loads, lines)}


def test_documents_are_named_once_varied_and_long(documents: dict[str, Document]) -> None:
    assert len(documents) == 27
    assert len({row["title"] for row in documents.values()}) == 27
    assert Counter(row["language"] for row in documents.values()) == {"en": 21, "": 3, "de": 1, "es": 1, "ja": 1}
    assert len({row["kind"] for row in documents.values()}) >= 10
    assert sum(len(row["text"].split()) > 240 for row in documents.values()) >= 18


def test_the_unusual_ones_are_where_the_readme_says(documents: dict[str, Document]) -> None:
    texts = {name: row["text"] for name, row in documents.items()}
    assert texts["d22"].startswith("| room |")
    assert len(texts["d23"]) < 100
    assert texts["d24"] == ""
    assert texts["d25"]
    assert not texts["d25"].strip()
    assert counter("text-embedding-3-small").count(texts["d26"]) > 8_192
    assert len(texts["d27"]) == 1_500
    assert not texts["d27"].strip("0123456789abcdef")
