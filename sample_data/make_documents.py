"""Writes documents.jsonl; always the same bytes.

    python sample_data/make_documents.py            writes it
    python sample_data/make_documents.py --check    writes nothing; leaves with 1 when it is not what would be written

The texts stand in documents.toml and were written for this project; the harbour master's log, the longest document, is
put together here from what its days have in common.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import tomllib
from typing import Any

from sample_files import FOLDER, Deck, write

FILE = FOLDER / "documents.jsonl"
COLUMNS = ("doc_id", "title", "kind", "language", "text")
SEED = 20261123
FIRST_DAY = dt.date(2025, 1, 6)
DAYS_OF_LOG = 180
WINDS = ("calm", "north-west 4", "south-west 5", "west 7, gusts", "east 3", "south 2", "north 6")
SHIPS = ("Good Intent", "Marta", "Albatross II", "Sofie Lund", "Little Auk", "Perseverance", "Havørn", "Blue Peter")
CARGOES = ("gravel", "barley", "timber from Riga", "empty fish boxes", "two boilers", "slate", "nothing, for repairs")
EVENTS = (
    "The swing bridge jammed for {number} minutes; hosed the bearing with cold water.",
    "Lent the dinghy to the school. It came back with {number} crabs.",
    "Dredger working off the east pier; depth there now {number} decimetres over chart datum.",
    "Lamp of the outer beacon out at four in the morning, replaced by six.",
    "Collected {number} crowns in berth fees, and one promise.",
    "Fog. Sounded the horn every two minutes for {number} minutes.",
    "A seal on the slipway again; coned it off until the tide took it.",
    "Found {number} metres of rope in the propeller of the pilot boat.",
    "Quiet. Painted bollards {number} to 40.",
)


def log_book() -> dict[str, str]:
    """The document that is longer than any model takes at once: a log of 120 days."""
    chance = random.Random(SEED)  # noqa: S311  # the same numbers each time are what is wanted
    winds, ships, cargoes, events = (Deck(cards, chance) for cards in (WINDS, SHIPS, CARGOES, EVENTS))
    days: list[str] = []
    for place in range(DAYS_OF_LOG):
        day = FIRST_DAY + dt.timedelta(days=place)
        tide = f"{int(chance.random() * 12):02d}.{int(chance.random() * 60):02d}"
        arrived = f"{ships.draw()} in with {cargoes.draw()}, {ships.draw()} out."
        event = events.draw().format(number=2 + int(chance.random() * 37))
        days.append(f"{day:%A}, {day.day} {day:%B %Y}. Wind {winds.draw()}. High water {tide}. {arrived} {event}")
    text = "\n\n".join(days)
    return {"title": "Log of the harbour master", "kind": "log", "language": "en", "text": text}


def one_long_word() -> dict[str, str]:
    """A text without any place to cut it at: part of a file that was pasted as a line of hexadecimal digits."""
    chance = random.Random(SEED + 1)  # noqa: S311
    text = "".join("0123456789abcdef"[int(chance.random() * 16)] for _ in range(1_500))
    return {"title": "Firmware of the tide gauge, pasted", "kind": "scan", "language": "", "text": text}


def all_rows() -> list[dict[str, Any]]:
    """Every document in the order of the file."""
    written = tomllib.loads((FOLDER / "documents.toml").read_text("utf-8"))["document"]
    found = [*written, log_book(), one_long_word()]
    # A text of white space only is what its document is about.
    texts = [one["text"].strip() or one["text"] for one in found]
    return [
        {"doc_id": f"d{number:02d}", **{name: one[name] for name in COLUMNS[1:-1]}, "text": text}
        for number, (one, text) in enumerate(zip(found, texts, strict=True), 1)
    ]


def jsonl_text() -> str:
    """The whole file."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in all_rows())


if __name__ == "__main__":
    raise SystemExit(write({FILE: jsonl_text()}))
