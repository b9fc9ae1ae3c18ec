"""What the scripts here share: drawing from lists by chance, CSV, and files that are always the same bytes."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

FOLDER = Path(__file__).parent
README = FOLDER / "README.md"


class Deck:
    """Draws from a list without repeating one before all were drawn.

    Only `random.Random.random` is used: it is the one method whose numbers are promised to stay the same.
    """

    def __init__(self, cards: Sequence[str], chance: random.Random) -> None:
        self._cards = tuple(cards)
        self._chance = chance
        self._left: list[str] = []

    def draw(self) -> str:
        """One card."""
        if not self._left:
            self._left = list(self._cards)
        return self._left.pop(int(self._chance.random() * len(self._left)))


def cell(text: str, *, quoted: bool = False) -> str:
    """One cell after RFC 4180: quoted only where it must be, or where a space at its edge could get lost."""
    if quoted or text != text.strip() or any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def readme_with(mark: str, table: Sequence[str]) -> str:
    """README.md with another table between the comments ``<mark>: begin`` and ``<mark>: end``."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    head, rest = README.read_text("utf-8").split(begin)
    return head + begin + "\n" + "\n".join(table) + "\n" + end + rest.split(end)[1]


def write(wanted: Mapping[Path, str]) -> int:
    """Write the files that are not as wanted; with ``--check`` only name them. Returns the exit code."""
    check = "--check" in sys.argv[1:]
    stale = [file for file, text in wanted.items() if not file.exists() or file.read_bytes() != text.encode()]
    for file in stale:
        if check:
            script = Path(sys.argv[0]).name
            sys.stderr.write(f"{file.name} is not what {script} writes: run python sample_data/{script}\n")
        else:
            file.write_bytes(wanted[file].encode())
    return 1 if check and stale else 0
