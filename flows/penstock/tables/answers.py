"""The answer store: where the answer to a payload stands, in whichever part or journal of the pipeline that may be.

An answer is known by its wire (a fingerprint of everything but the payload that reaches the server) and by the digest
of its payload. The answers themselves stand where they were written, in finished parts and in journals, and are not
copied: beside each part of an API step stands a small list of which row answers which digest (`answer_lists`), and all
lists together are entered in one index (`answer_index`), so that memory does not grow with their number. What the index
names and is gone or was changed is not found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from penstock.tables.answer_index import AnswerIndex, Place
from penstock.tables.answer_lists import LIST_ENDING, rows_of_part
from penstock.tables.journal import journal_answers

if TYPE_CHECKING:
    import pyarrow as pa


class AnswerStore:
    """The answers of one pipeline's state folder. A context manager; of one thread.

    Args:
        folder: of the pipeline's state, see `penstock.tables.state.State.folder`.
    """

    def __init__(self, folder: Path) -> None:
        self._index = AnswerIndex(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._index.close()

    def refresh(self) -> None:
        """Enter what was answered since, and forget what is gone. An index that cannot be read is made again.

        Raises:
            StorageFailed: the index can be neither read nor made.
        """
        self._index.refresh()

    def known(self, wire: str, digests: Collection[bytes]) -> set[bytes]:
        """Those of `digests` that have an answer, as far as the index knows."""
        return {place.digest for place in self._index.places(wire, digests)}

    def answers(self, wire: str, digests: Sequence[bytes]) -> Iterator[pa.RecordBatch]:
        """The answers to those of `digests` that have one, each once, as batches that a journal takes.

        Where a file is gone or is not what it was, its answers are looked for elsewhere, and else left out.
        """
        found: dict[bytes, list[Place]] = {}
        for place in self._index.places(wire, digests):
            found.setdefault(place.digest, []).append(place)
        while found:
            groups: dict[tuple[int, int], list[Place]] = {}
            for places in found.values():
                groups.setdefault((places[0].file, places[0].at), []).append(places[0])
            for (file, at), places in groups.items():
                for batch in self._read(file, at, places):
                    for digest in batch.column(0).to_pylist():
                        del found[digest]
                    yield batch
                # What did not come is not there, or not as it was.
                for place in places:
                    if place.digest in found and not found[place.digest][1:]:
                        del found[place.digest]
                    elif place.digest in found:
                        found[place.digest].pop(0)

    def _read(self, file: int, at: int, places: Sequence[Place]) -> Iterator[pa.RecordBatch]:
        """The answers of one row group or one frame, some at a time; none, or not all, where the file is another."""
        import pyarrow as pa

        entry = self._index.entry(file)
        if entry is None:
            return
        wanted = sorted((place.row, place.digest) for place in places)
        try:
            if entry.path.suffix == LIST_ENDING:
                yield from rows_of_part(entry.path, entry.facts, at, wanted)
            elif (batch := journal_answers(entry.path, at, wanted)) is not None:
                yield batch
        except (OSError, pa.ArrowException, IndexError):
            # Arrow says with an OSError that a page's checksum or a footer is wrong.
            self._index.distrust(file)
