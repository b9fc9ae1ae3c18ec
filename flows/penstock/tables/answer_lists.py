"""The list beside each part of an API step: which of its rows answers what. See `penstock.tables.answers`."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.items import usage_type
from penstock.tables.journal import DIGEST, DIGEST_BYTES, Scanned, scan_journal
from penstock.tables.parts import read_counts, whole_or_absent

if TYPE_CHECKING:
    import pyarrow as pa

LIST_ENDING = ".answers"
_FORMAT = 1
_ROWS_AT_ONCE = 256


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


def scanned(path: Path) -> tuple[dict[str, Any], pa.Table] | None:
    """What a list or a journal says of itself, and where its answers stand; None where it says nothing."""
    if path.suffix != LIST_ENDING:
        found = scan_journal(path)
        return None if found is None else ({"wire": found.wire}, _places_table(found))
    import pyarrow as pa

    try:
        with pa.ipc.open_file(path) as reader:
            table = reader.read_all()
        facts = json.loads(table.schema.metadata[b"penstock"])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None
    return (facts, table) if facts.get("format") == _FORMAT else None


def _places_table(found: Scanned) -> pa.Table:
    import pyarrow as pa

    arrays = [
        pa.array(found.digests, pa.binary(DIGEST_BYTES)),
        pa.array(found.frames, pa.int64()),
        pa.array(found.rows, pa.int32()),
    ]
    return pa.table(arrays, names=[DIGEST, "at", "row"])


def rows_of_part(
    path: Path, facts: Mapping[str, Any], group: int, wanted: Sequence[tuple[int, bytes]]
) -> Iterator[pa.RecordBatch]:
    """Answers out of a part's row group, a few at a time; none where the part is another than the list's.

    Args:
        path: of the list.
        facts: what it says of its part.
        wanted: rows of the group in their order, and what each answers.

    Raises:
        OSError, ArrowException: it is gone or damaged.
    """
    import pyarrow as pa
    from pyarrow import parquet

    part = path.with_suffix(".parquet")
    counts = read_counts(part)
    if counts is None or counts["made"] != facts["made"]:
        return
    usage = [] if facts["usage"] is None else [facts["usage"]]
    names = [*facts["columns"], *usage]
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
                named = [DIGEST, *facts["columns"], "usage"]
                yield pa.RecordBatch.from_arrays([digests, *rows.columns, *paid], names=named)
            first += batch.num_rows
