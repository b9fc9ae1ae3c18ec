"""Writes reviews.csv and the table of its awkward rows in README.md; always the same bytes.

    python sample_data/make_reviews.py            writes both
    python sample_data/make_reviews.py --check    writes nothing; leaves with 1 when a file is not what would be written

The sentences stand in phrases/*.toml, one file per language, and were written for this project.
"""

from __future__ import annotations

import datetime as dt
import random
import tomllib
from collections.abc import Sequence
from typing import Any

from awkward_rows import AWKWARD, Awkward
from sample_files import FOLDER, README, Deck, cell, readme_with, write

CSV = FOLDER / "reviews.csv"
COLUMNS = ("review_id", "title", "body", "language", "stars", "created_at", "product")
FIRST_DAY = dt.date(2024, 1, 1)
DAYS = 1000
SEED = 20261101


class Language:
    """The reviews that one phrase file gives."""

    def __init__(self, phrases: dict[str, Any], chance: random.Random) -> None:
        self.name: str = phrases["language"]
        self.rows: int = phrases["rows"]
        self._joiner: str = phrases.get("joiner", " ")
        self._chance = chance
        self._general = {name: Deck(cards, chance) for name, cards in phrases["general"].items()}
        self._topics = [
            (topic["product"], Deck(topic["good"], chance), Deck(topic["bad"], chance), topic["titles"])
            for topic in phrases["topic"]
        ]

    def reviews(self) -> list[dict[str, str]]:
        """All reviews of the language, no two with the same text; the products take turns."""
        seen: set[str] = set()
        found: list[dict[str, str]] = []
        while len(found) < self.rows:
            row = self._review(len(found) % len(self._topics))
            if row["body"] not in seen:
                seen.add(row["body"])
                found.append(row)
        return found

    def _review(self, topic: int) -> dict[str, str]:
        product, good, bad, titles = self._topics[topic]
        stars = self._stars()
        mood = "good" if stars > 3 else "bad"
        if stars == 3:
            sentences = [good.draw(), bad.draw()]
        else:
            details = good if stars > 3 else bad
            sentences = [details.draw() for _ in range(2 if self._happens(0.45) else 1)]
            if self._happens(0.6):
                sentences.insert(0, self._general[f"open_{mood}"].draw())
            if self._happens(0.5):
                sentences.append(self._general[f"close_{mood}"].draw())
        if self._happens(0.4):
            sentences.insert(len(sentences) // 2, self._general["use"].draw())
        return {
            "title": self._title(stars, titles),
            "body": self._joiner.join(dict.fromkeys(sentences)),
            "language": self.name,
            "stars": str(stars),
            "product": product,
        }

    def _title(self, stars: int, of_topic: Sequence[str]) -> str:
        # A topic's first title praises and its second, where there is one, complains.
        fitting = of_topic[:1] if stars > 3 else of_topic[1:] if stars < 3 else ()
        if fitting and self._happens(0.3):
            return fitting[0]
        kind = "mixed" if stars == 3 else "good" if stars > 3 else "bad"
        return self._general[f"titles_{kind}"].draw()

    def _stars(self) -> int:
        number = self._chance.random()
        return 5 if number < 0.38 else 4 if number < 0.58 else 3 if number < 0.7 else 2 if number < 0.82 else 1

    def _happens(self, share: float) -> bool:
        return self._chance.random() < share


def all_rows() -> list[tuple[dict[str, str], Awkward | None]]:
    """Every row in the order of the file, with its entry in the list of awkward rows if it has one."""
    chance = random.Random(SEED)  # noqa: S311  # the same numbers each time are what is wanted
    files = sorted((FOLDER / "phrases").glob("*.toml"))
    plain = [row for file in files for row in Language(tomllib.loads(file.read_text("utf-8")), chance).reviews()]
    order = sorted(range(len(plain)), key=[chance.random() for _ in plain].__getitem__)
    rows: list[tuple[dict[str, str], Awkward | None]] = [(plain[place], None) for place in order]
    distance = len(rows) // len(AWKWARD)
    for count, awkward in enumerate(AWKWARD):
        row = {name: str(getattr(awkward, name)) for name in ("title", "body", "language", "stars", "product")}
        rows.insert(3 + count * (distance + 1), (row, awkward))
    for number, (row, _) in enumerate(rows, 1):
        day = FIRST_DAY + dt.timedelta(days=int(chance.random() * DAYS))
        row.update(review_id=f"r{number:04d}", created_at=day.isoformat())
    return rows


def csv_text() -> str:
    """The whole file, with LF between the records."""
    lines = [",".join(COLUMNS)]
    for row, awkward in all_rows():
        quoted = awkward is not None and awkward.quoted
        lines.append(",".join(cell(row[name], quoted=quoted and name == "body") for name in COLUMNS))
    return "\n".join(lines) + "\n"


def awkward_table() -> list[str]:
    """The table of the README, line by line."""
    table = ["| row | what is unusual | what becomes of it |", "|---|---|---|"]
    return table + [
        f"| {row['review_id']} | {awkward.why} | {awkward.fate} |" for row, awkward in all_rows() if awkward
    ]


if __name__ == "__main__":
    raise SystemExit(write({CSV: csv_text(), README: readme_with("awkward rows", awkward_table())}))
