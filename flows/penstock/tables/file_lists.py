"""The files that belong to a part without being in it: those that its rows name, and those that its answers became.

Their lists stand beside the part, and name it by its mark.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from penstock.tables.parts import whole_or_absent


class FileLists(msgspec.Struct, array_like=True):
    """Files of one part.

    Attributes:
        made: the part's mark.
        named: those whose content was sent: full path, bytes, and when it was last changed, in nanoseconds.
        saved: those that answers became: full path and bytes.
    """

    made: str
    named: list[tuple[str, int, int]]
    saved: list[tuple[str, int]]

    def lost(self) -> list[str]:
        """Saved files that are not there, or not of their size, by path."""
        return [path for path, size in self.saved if _size(path) != size]


def write_file_lists(path: Path, lists: FileLists) -> None:
    """Write the lists of a part, before that part; or remove those of before where there are no files."""
    if not lists.named and not lists.saved:
        path.unlink(missing_ok=True)
        return
    with whole_or_absent(path) as temporary:
        temporary.write_bytes(msgspec.json.encode(lists))


def read_file_lists(path: Path, made: str) -> FileLists | None:
    """The lists of the part with the mark `made`; None where they are not there."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=FileLists)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return found if found.made == made else None


def _size(path: str) -> int | None:
    try:
        return Path(path).stat().st_size
    except OSError:
        return None
