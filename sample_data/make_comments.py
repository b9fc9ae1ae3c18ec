"""Writes comments.csv; always the same bytes.

    python sample_data/make_comments.py            writes it
    python sample_data/make_comments.py --check    writes nothing; leaves with 1 when it is not what would be written

The sentences stand in comments.toml and were written for this project.
"""

from __future__ import annotations

import datetime as dt
import random
import tomllib
from typing import Any

from sample_files import FOLDER, Deck, cell, write

CSV = FOLDER / "comments.csv"
COLUMNS = ("comment_id", "thread", "author", "language", "created_at", "body")
AUTHORS = ("mira", "t_fischer", "Old Oak", "李明", "cyclist42", "ana.b", "M. P.", "kaffeekanne", "نور", "yuki")
THREADS = ("bike-lane", "leek-soup", "library-hours", "film-night", "football", "market-square")
FIRST_SECOND = dt.datetime(2026, 3, 1, 6, tzinfo=dt.UTC)
SECONDS = 200 * 86_400
SEED = 20261122

AWKWARD: tuple[tuple[str, str], ...] = (
    ("", ""),
    ("", "   "),
    ("", "\n\t\n"),
    ("en", "First!"),
    ("en", "First!"),
    ("en", "First!"),
    ("en", "You are such an idiot, go back to school."),
    ("en", "you are such an idiot, go back to school."),
    ("", "👍"),
    ("", "😂😂😂😂😂"),
    ("", "🏳️‍🌈🚲❤️"),
    ("", "…"),
    ("", "12345"),
    ("en", "Line one\nline two\r\nline three"),
    ("en", 'He said "nobody rides here", and then, well; everybody did.'),
    ("en", '{"input": "this is a comment about JSON, not JSON"}'),
    ("en", "{{ body }} is what my newsletter says where my name should be."),
    ("en", "=SUM(A1:A9) goals so far"),
    ("en", "NULL"),
    ("en", "See https://example.com/town/news?id=7&x=%20 for the minutes of the meeting."),
    ("en", "Y o u   a r e   a n   i d i o t"),
    ("en", "\u200b".join("you are an idiot")),
    ("en", "<b>Great</b> match &amp; great weather <3"),
    ("de", "Grüße aus K\u00f6ln, auch mit o und Punkten: Ko\u0308ln."),
    ("he", "המזרקה עובדת שוב, תודה!"),
    ("hi", "फव्वारा फिर से चल रहा है, धन्यवाद!"),
    ("ko", "분수가 다시 나와요! 감사합니다."),
    ("ru", "Фонтан снова работает, спасибо!"),
    ("el", "Το σιντριβάνι δουλεύει ξανά, ευχαριστώ!"),
    ("en", "A" + "a" * 400 + "h!"),
    ("en", "I said it before and I say it again: the kerb is too high. " * 150),
)


class Language:
    """The comments in one language."""

    def __init__(self, phrases: dict[str, Any], chance: random.Random) -> None:
        self.code: str = phrases["code"]
        self.rows: int = phrases["rows"]
        self._joiner: str = phrases.get("joiner", " ")
        self._chance = chance
        self._openers = Deck(phrases["openers"], chance)
        self._closers = Deck(phrases["closers"], chance)
        self._threads = [(name, Deck(points, chance)) for name, points in phrases["threads"].items()]

    def comments(self) -> list[dict[str, str]]:
        """All comments of the language, no two alike; the threads take turns."""
        seen: set[str] = set()
        found: list[dict[str, str]] = []
        while len(found) < self.rows:
            thread, points = self._threads[len(found) % len(self._threads)]
            sentences = [points.draw()]
            if self._chance.random() < 0.25:
                sentences.append(points.draw())
            if self._chance.random() < 0.5:
                sentences.insert(0, self._openers.draw())
            if self._chance.random() < 0.45:
                sentences.append(self._closers.draw())
            body = self._joiner.join(dict.fromkeys(sentences))
            if body not in seen:
                seen.add(body)
                found.append({"thread": thread, "language": self.code, "body": body})
        return found


def all_rows() -> list[dict[str, str]]:
    """Every row in the order of the file, which is that of time."""
    chance = random.Random(SEED)  # noqa: S311  # the same numbers each time are what is wanted
    phrases = tomllib.loads((FOLDER / "comments.toml").read_text("utf-8"))
    rows = [row for language in phrases["language"] for row in Language(language, chance).comments()]
    further = [("", text) for group in (*phrases["abusive"], *phrases["harmless"]) for text in group["texts"]]
    for language, body in (*further, *AWKWARD):
        rows.append({"thread": THREADS[len(rows) % len(THREADS)], "language": language, "body": body})
    order = sorted(range(len(rows)), key=[chance.random() for _ in rows].__getitem__)
    seconds = sorted(int(chance.random() * SECONDS) for _ in rows)
    for number, (place, second) in enumerate(zip(order, seconds, strict=True), 1):
        when = FIRST_SECOND + dt.timedelta(seconds=second)
        author = AUTHORS[int(chance.random() * len(AUTHORS))]
        rows[place] |= {"comment_id": f"c{number:04d}", "author": author, "created_at": f"{when:%Y-%m-%dT%H:%M:%SZ}"}
    return [rows[place] for place in order]


def csv_text() -> str:
    """The whole file, with LF between the records."""
    lines = [",".join(COLUMNS), *(",".join(cell(row[name]) for name in COLUMNS) for row in all_rows())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(write({CSV: csv_text()}))
