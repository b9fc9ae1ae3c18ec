"""Pipelines inside Markdown: YAML fences that look like one, with the lines they stand in."""

from __future__ import annotations

import re
from dataclasses import dataclass

MARKDOWN = {".md", ".markdown"}
_OPEN = re.compile(r"( *)(`{3,}|~{3,}) *(?:ya?ml)\b.*", re.IGNORECASE)
_NAME = re.compile(r"^name\s*:", re.MULTILINE)
_BODY = re.compile(r"^(?:source|steps|outputs)\s*:", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Fence:
    """The text between two fence lines, moved to the left by `indent`; `first_line` is that of its first line."""

    text: str
    first_line: int
    indent: int


def pipelines_in(markdown: str) -> list[Fence]:
    """The YAML fences that have a `name` and a `source`, `steps` or `outputs` at their top level."""
    found: list[Fence] = []
    lines = markdown.split("\n")
    place = 0
    while place < len(lines):
        opened = _OPEN.fullmatch(lines[place].rstrip("\r"))
        place += 1
        if opened is None:
            continue
        first, indent, mark = place, len(opened[1]), opened[2]
        while place < len(lines) and not _closes(lines[place], mark):
            place += 1
        text = "\n".join(_moved(line, indent) for line in lines[first:place]) + "\n"
        if _NAME.search(text) and _BODY.search(text):
            found.append(Fence(text, first + 1, indent))
        place += 1
    return found


def _closes(line: str, mark: str) -> bool:
    bare = line.strip()
    return len(bare) >= len(mark) and set(bare) == {mark[0]}


def _moved(line: str, indent: int) -> str:
    return line[indent:] if not line[:indent].strip(" ") else line.lstrip(" ")
