"""The answer store: where the answer to a payload stands, in whichever part or journal of the pipeline that may be.

An answer is known by its wire (a fingerprint of everything but the payload that reaches the server) and by the digest
of its payload. The answers themselves stand where they were written, in finished parts and in journals, and are not
copied: beside each part of an API step stands a small list of which row answers which digest, and all lists together
are entered in one index, an SQLite table, so that memory does not grow with their number.

The index is a cache. What it names and is gone or was changed is not found, and an index that cannot be read is made
again from the lists.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from penstock.errors import StorageFailed
from penstock.items import usage_type
from penstock.tables.journal import DIGEST, DIGEST_BYTES, Scanned, journal_answers, scan_journal
from penstock.tables.parts import read_counts, whole_or_absent

if TYPE_CHECKING:
    import pyarrow as pa

LIST_ENDING = ".answers"
_INDEX = "answers.sqlite"
_FORMAT = 1
_SORTED_AT_ONCE = 1_000_000
_ROWS_AT_ONCE = 256
_WAIT_SECONDS = 60.0
_READING_KB, _MAKING_KB = 2_000, 32_000
"""Memory for pages of the index. Who only reads leaves the rest to the system's cache, which is nearly as fast."""
_TABLES = """
CREATE TABLE IF NOT EXISTS files (
  id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT UNIQUE, size INTEGER, modified INTEGER, wire TEXT, facts TEXT,
  answers INTEGER
);
CREATE TABLE IF NOT EXISTS answers (
  digest BLOB, file INTEGER, at INTEGER, row INTEGER, PRIMARY KEY (digest, file)
) WITHOUT ROWID;
"""


def digest_of(payload: str) -> bytes:
    """What stands for a payload; of lone surrogates too, which are no UTF-8."""
    return hashlib.blake2b(payload.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()


def write_list(
    part: Path, *, wire: str, made: str, columns: Sequence[str], usage: str | None, group_rows: int,
    digests: Mapping[int, bytes],
) -> None:  # fmt: skip
    """Write down which rows of a part answer what; to be called before the part gets its name.

    Args:
        part: where the part will stand.
        wire: what names its answers.
        made: the part's random mark, so that the list is of no other part of this name.
        columns: those of an answer, in order.
        usage: the column with the usage; None where the part has none.
        group_rows: rows of each row group but the last.
        digests: by the row's place in the part.
    """
    import pyarrow as pa

    facts = {"wire": wire, "made": made, "columns": list(columns), "usage": usage, "format": _FORMAT}
    schema = pa.schema(
        {DIGEST: pa.binary(DIGEST_BYTES), "at": pa.int64(), "row": pa.int32()},
        metadata={b"penstock": json.dumps(facts).encode()},
    )
    rows = list(digests)
    arrays = [
        pa.array(list(digests.values()), schema.field(0).type),
        pa.array([row // group_rows for row in rows], pa.int64()),
        pa.array([row % group_rows for row in rows], pa.int32()),
    ]
    with whole_or_absent(list_of(part)) as temporary, pa.ipc.new_file(temporary, schema) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))


def list_of(part: Path) -> Path:
    """The list that stands beside a part."""
    return part.with_suffix(LIST_ENDING)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file of answers that is in the index: a part's list, or a journal."""

    path: Path
    wire: str
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Place:
    digest: bytes
    file: int
    at: int
    row: int


class AnswerStore:
    """The answers of one pipeline's state folder. A context manager; of one thread.

    Args:
        folder: of the pipeline's state, see `penstock.tables.state.State.folder`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index: sqlite3.Connection | None = None
        self._entries: dict[int, _Entry | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the index go."""
        if self._index is not None:
            self._index.close()
            self._index = None

    def refresh(self) -> None:
        """Enter what was answered since, and forget what is gone. An index that cannot be read is made again.

        Raises:
            StorageFailed: the index can be neither read nor made.
        """
        if not (self._folder / "parts").is_dir():
            return
        try:
            self._refresh()
        except sqlite3.DatabaseError:
            self._remove()
            try:
                self._refresh()
            except sqlite3.DatabaseError as error:
                raise StorageFailed(f"the index of answers {self._folder / _INDEX} cannot be made: {error}") from error

    def known(self, wire: str, digests: Collection[bytes]) -> set[bytes]:
        """Those of `digests` that have an answer, as far as the index knows."""
        return {place.digest for place in self._places(wire, digests)}

    def answers(self, wire: str, digests: Sequence[bytes]) -> Iterator[pa.RecordBatch]:
        """The answers to those of `digests` that have one, each once, as batches that a journal takes.

        Where a file is gone or is not what it was, its answers are looked for elsewhere, and else left out.
        """
        found: dict[bytes, list[_Place]] = {}
        for place in self._places(wire, digests):
            found.setdefault(place.digest, []).append(place)
        while found:
            groups: dict[tuple[int, int], list[_Place]] = {}
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

    def _places(self, wire: str, digests: Collection[bytes]) -> Iterator[_Place]:
        """Where the answers stand, of each digest the newest first."""
        if not digests or not (self._folder / _INDEX).is_file():
            return
        query = "SELECT file, at, row FROM answers WHERE digest = ? ORDER BY file DESC"
        try:
            ask = self._open().execute
            for digest in digests:
                for file, at, row in ask(query, (digest,)):
                    entry = self._entry(file)
                    if entry is not None and entry.wire == wire:
                        yield _Place(digest, file, at, row)
        except sqlite3.DatabaseError as error:
            # Not a miss: that would be paid for.
            raise StorageFailed(
                f"the index of answers {self._folder / _INDEX} cannot be read ({error}); it is made again when the run "
                "is resumed, and no answer is lost"
            ) from error

    def _entry(self, file: int) -> _Entry | None:
        if file not in self._entries:
            row = (
                self._open()
                .execute("SELECT path, wire, facts FROM files WHERE id = ? AND path IS NOT NULL", (file,))
                .fetchone()
            )
            self._entries[file] = None if row is None else _Entry(self._folder / row[0], row[1], json.loads(row[2]))
        return self._entries[file]

    def _read(self, file: int, at: int, places: Sequence[_Place]) -> Iterator[pa.RecordBatch]:
        """The answers of one row group or one frame, some at a time; none, or not all, where the file is another."""
        import pyarrow as pa

        entry = self._entry(file)
        if entry is None:
            return
        wanted = sorted((place.row, place.digest) for place in places)
        try:
            if entry.path.suffix == LIST_ENDING:
                yield from _rows_of_part(entry, at, wanted)
            elif (batch := journal_answers(entry.path, at, wanted)) is not None:
                yield batch
        except (OSError, pa.ArrowException, IndexError):
            # Arrow says with an OSError that a page's checksum or a footer is wrong.
            self._entries[file] = None

    def _open(self) -> sqlite3.Connection:
        if self._index is None:
            self._index = sqlite3.connect(self._folder / _INDEX, timeout=_WAIT_SECONDS, isolation_level=None)
            self._index.execute(f"PRAGMA cache_size = -{_READING_KB}")
        return self._index

    def _remove(self) -> None:
        self.close()
        self._entries.clear()
        for path in self._folder.glob(f"{_INDEX}*"):
            path.unlink(missing_ok=True)

    def _refresh(self) -> None:
        present = self._present()
        if not present and not (self._folder / _INDEX).is_file():
            return
        if self._is_mostly_dead():
            self._remove()
        index = self._open()
        self._entries.clear()
        index.execute(f"PRAGMA cache_size = -{_MAKING_KB}")
        with _transaction(index):
            for statement in _TABLES.split(";"):
                index.execute(statement)
            known = {path: (size, modified) for path, size, modified in
                     index.execute("SELECT path, size, modified FROM files WHERE path IS NOT NULL")}  # fmt: skip
            gone = [path for path, stamp in known.items() if present.get(path) != stamp]
            # Its answers stay in the table, and lead to nothing.
            index.executemany("UPDATE files SET path = NULL WHERE path = ?", ((path,) for path in gone))
            new = sorted((stamp[1], path) for path, stamp in present.items() if known.get(path) != stamp)
            self._enter(index, [path for _, path in new], present)
        index.execute(f"PRAGMA cache_size = -{_READING_KB}")
        index.execute("PRAGMA shrink_memory")

    def _present(self) -> dict[str, tuple[int, int]]:
        """The lists and journals that stand there, with size and time of change."""
        found: dict[str, tuple[int, int]] = {}
        for ending in (LIST_ENDING, ".journal"):
            for path in self._folder.glob(f"parts/*/[!.]*{ending}"):
                with contextlib.suppress(FileNotFoundError):
                    state = path.stat()
                    found[str(path.relative_to(self._folder))] = (state.st_size, state.st_mtime_ns)
        return found

    def _is_mostly_dead(self) -> bool:
        """Whether most of what the index holds is of files that are gone: then it is smaller made anew."""
        index = self._open()
        if not index.execute("SELECT 1 FROM sqlite_master WHERE name = 'files'").fetchone():
            return False
        count = "SELECT coalesce(sum(answers), 0) FROM files WHERE path IS"
        (live,) = index.execute(f"{count} NOT NULL").fetchone()
        (dead,) = index.execute(f"{count} NULL").fetchone()
        return bool(dead > live + _SORTED_AT_ONCE)

    def _enter(self, index: sqlite3.Connection, paths: Sequence[str], present: Mapping[str, tuple[int, int]]) -> None:
        import pyarrow as pa

        waiting: list[pa.Table] = []
        rows = 0
        for path in paths:
            scanned = _scanned(self._folder / path)
            if scanned is None:
                continue
            facts, places = scanned
            cursor = index.execute(
                "INSERT INTO files (path, size, modified, wire, facts, answers) VALUES (?, ?, ?, ?, ?, ?)",
                (path, *present[path], facts["wire"], json.dumps(facts), places.num_rows),
            )
            waiting.append(places.append_column("file", pa.repeat(pa.scalar(cursor.lastrowid), places.num_rows)))
            rows += places.num_rows
            if rows >= _SORTED_AT_ONCE:
                _insert(index, waiting)
                waiting, rows = [], 0
        _insert(index, waiting)


@contextlib.contextmanager
def _transaction(index: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; others wait for its end."""
    index.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        index.execute("ROLLBACK")
        raise
    index.execute("COMMIT")


def _insert(index: sqlite3.Connection, tables: Sequence[pa.Table]) -> None:
    """Enter places in the order of their digests, which is that of the index on the disk."""
    import pyarrow as pa

    if not tables:
        return
    whole = pa.concat_tables(tables).sort_by(DIGEST)
    for batch in whole.to_batches(max_chunksize=50_000):
        columns = [batch.column(name).to_pylist() for name in (DIGEST, "file", "at", "row")]
        index.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", zip(*columns, strict=True))


def _scanned(path: Path) -> tuple[dict[str, Any], pa.Table] | None:
    """What a list or a journal says of itself, and where its answers stand; None where it says nothing."""
    if path.suffix != LIST_ENDING:
        scanned = scan_journal(path)
        return None if scanned is None else ({"wire": scanned.wire}, _places_table(scanned))
    import pyarrow as pa

    try:
        with pa.ipc.open_file(path) as reader:
            table = reader.read_all()
        facts = json.loads(table.schema.metadata[b"penstock"])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None
    return (facts, table) if facts.get("format") == _FORMAT else None


def _places_table(scanned: Scanned) -> pa.Table:
    import pyarrow as pa

    arrays = [
        pa.array(scanned.digests, pa.binary(DIGEST_BYTES)),
        pa.array(scanned.frames, pa.int64()),
        pa.array(scanned.rows, pa.int32()),
    ]
    return pa.table(arrays, names=[DIGEST, "at", "row"])


def _rows_of_part(entry: _Entry, group: int, wanted: Sequence[tuple[int, bytes]]) -> Iterator[pa.RecordBatch]:
    """Answers out of a part's row group, a few at a time; none where the part is another than the list's.

    Args:
        wanted: rows of the group in their order, and what each answers.

    Raises:
        OSError, ArrowException: it is gone or damaged.
    """
    import pyarrow as pa
    from pyarrow import parquet

    part = entry.path.with_suffix(".parquet")
    counts = read_counts(part)
    if counts is None or counts["made"] != entry.facts["made"]:
        return
    usage = [] if entry.facts["usage"] is None else [entry.facts["usage"]]
    names = [*entry.facts["columns"], *usage]
    waiting = deque(wanted)
    first = 0
    with parquet.ParquetFile(part, page_checksum_verification=True) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=names, use_threads=False):
            here: list[tuple[int, bytes]] = []
            while waiting and waiting[0][0] < first + batch.num_rows:
                here.append(waiting.popleft())
            if here:
                rows = batch.select(names).take(pa.array([row - first for row, _ in here]))
                digests = pa.array([digest for _, digest in here], pa.binary(DIGEST_BYTES))
                paid = [] if usage else [pa.nulls(len(here), usage_type())]
                named = [DIGEST, *entry.facts["columns"], "usage"]
                yield pa.RecordBatch.from_arrays([digests, *rows.columns, *paid], names=named)
            first += batch.num_rows
