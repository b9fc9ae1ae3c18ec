"""The sample calls and the catalogue are what their README says."""

from __future__ import annotations

import csv
from pathlib import Path

from penstock.steps.audio import length
from penstock.steps.recordings import FORMATS


def rows(root: Path, name: str) -> list[dict[str, str]]:
    with (root / "sample_data" / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def test_there_is_a_call_in_each_format_that_the_api_takes_and_they_are_small(root: Path) -> None:
    calls = rows(root, "calls.csv")
    files = [root / "sample_data" / call["file"] for call in calls]
    assert {file.suffix[1:] for file in files} == set(FORMATS)
    assert sorted(files) == sorted((root / "sample_data" / "calls").iterdir())
    assert sum(file.stat().st_size for file in files) < 3_000_000
    assert all(8 <= (length(str(file)) or 0) <= 25 for file in files)
    assert all(len(call["true_text"].split()) > 15 for call in calls)


def test_the_catalogue_has_twelve_products_that_can_be_spoken_and_drawn(root: Path) -> None:
    products = rows(root, "catalogue.csv")
    assert len({product["product_id"] for product in products}) == len(products) == 12
    assert all(60 < len(product["description"]) < 1000 and float(product["price_eur"]) for product in products)
