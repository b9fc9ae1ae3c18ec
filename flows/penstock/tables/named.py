"""The list of files that a part's answers depend on; it stands beside the part, and names it by its mark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from penstock.tables.parts import whole_or_absent

Named = tuple[str, int, int]
"""A file's full path, its bytes, and when it was last changed, in nanoseconds."""


class _List(msgspec.Struct, array_like=True):
    made: str
    files: list[Named]


def write_named(path: Path, made: str, files: Sequence[Named]) -> None:
    """Write the list of the part with the mark `made`, before that part; or remove it where there are no files."""
    if not files:
        path.unlink(missing_ok=True)
        return
    with whole_or_absent(path) as temporary:
        temporary.write_bytes(msgspec.json.encode(_List(made, list(files))))


def read_named(path: Path, made: str) -> list[Named] | None:
    """The files of the part with the mark `made`; None where its list is not there."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_List)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return found.files if found.made == made else None
