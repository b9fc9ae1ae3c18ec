"""Fenced blocks of the project's Markdown files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_OPEN = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w-]*)(?: +(?P<name>.*\S))?\s*$")


@dataclass(frozen=True)
class Fence:
    """One fenced block.

    Attributes:
        file: relative to the repository.
        line: of the file, on which the text begins; from 1.
        language: the first word after the ticks.
        name: the rest after it; with the path of a file the fence is that file.
        text: with a line break at its end, without the indentation of the fence.
        indent: how many spaces the fence is indented by.
    """

    file: Path
    line: int
    language: str
    name: str
    text: str
    indent: int = 0

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def path(self) -> str | None:
        """The file whose text the fence shows, relative to the repository, if it is named by one."""
        return self.name if re.fullmatch(r"[\w/-]+\.(yaml|py)", self.name) else None


def pages() -> list[Path]:
    """README and all pages, relative to the repository."""
    found = [ROOT / "README.md", ROOT / ".github" / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path.relative_to(ROOT) for path in found]


def fences(page: Path) -> list[Fence]:
    """The fenced blocks of a page, in order."""
    found: list[Fence] = []
    opened: re.Match[str] | None = None
    lines: list[str] = []
    for number, line in enumerate((ROOT / page).read_text("utf-8").splitlines(), 1):
        if opened is None:
            if opened := _OPEN.match(line):
                lines, first = [], number + 1
        elif line.strip() == opened["ticks"]:
            text = "".join(f"{one[len(opened['indent']) :]}\n" for one in lines)
            found.append(Fence(page, first, opened["language"], opened["name"] or "", text, len(opened["indent"])))
            opened = None
        else:
            lines.append(line)
    assert opened is None, f"{page} has a fence that is not closed"
    return found


def commands(fence: Fence) -> list[str]:
    """The commands of a fence, without comments and empty lines, continued lines put together.

    In ``sh`` every line is one, in ``console`` those after a prompt.
    """
    if fence.language == "console":
        return [line[2:] for line in fence.text.splitlines() if line.startswith("$ ")]
    joined = re.sub(r"\\\n\s*", "", fence.text)
    lines = (re.sub(r"(^|\s+)#( .*)?$", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]
