"""SQLite through the standard library."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 10_000
_ASKED = 400  # columns at once: SQLite gives 2,000 results of a query at most
_KINDS = ("integer", "real", "text", "blob")
_EXACT = 2**53
"""Up to here a floating point number holds every whole number."""


class SqliteDatabase:
    """One database file.

    A column of SQLite may hold values of any type in each row. The one it is read with holds them all: whole numbers,
    numbers, bytes, or else text. Booleans, dates and times are as they were stored; `source.types` makes them such.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def column_names(self, query: str) -> dict[str, str | None]:
        """The columns of a query; their types are not known before rows are read.

        Raises:
            InputError: there is no such database, or it refuses the query.
        """
        with self._connected() as connection:
            return dict.fromkeys(self._names(connection, query))

    def rows(self, query: str, order: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """See `penstock.sources.database.Database`; one transaction finds the types and reads the rows."""
        import pyarrow as pa

        with ExitStack() as opened:
            connection = opened.enter_context(self._connected())
            connection.execute("BEGIN")
            names = self._names(connection, query)
            schema = pa.schema(list(zip(names, self._types(connection, query, names), strict=True)))
            kept = opened.pop_all()

        def batches() -> Iterator[pa.RecordBatch]:
            with kept:
                cursor = connection.execute(f"SELECT * FROM ({query}) ORDER BY {order}")  # noqa: S608  # the user's own
                while rows := cursor.fetchmany(_BATCH):
                    cells = zip(zip(*rows, strict=True), schema.types, strict=True)
                    yield pa.record_batch([_column(values, kind) for values, kind in cells], schema=schema)

        return schema, batches()

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection that only reads.

        Raises:
            InputError: for whatever SQLite refuses meanwhile.
        """
        if not self._path.is_file():
            raise InputError(f"source.uri: the database {self._path} does not exist")
        connection = None
        try:
            connection = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
            # Text that is not UTF-8 costs no more than its odd characters.
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            yield connection
        except sqlite3.Error as error:
            raise InputError(f"source.sql: SQLite refuses the query: {error}") from None
        finally:
            if connection is not None:
                connection.close()

    def _names(self, connection: sqlite3.Connection, query: str) -> list[str]:
        cursor = connection.execute(f"SELECT * FROM ({query}) LIMIT 0")  # noqa: S608  # the user's own query
        return [column[0] for column in cursor.description or ()]

    def _types(self, connection: sqlite3.Connection, query: str, names: list[str]) -> list[Any]:
        types: list[Any] = []
        for begin in range(0, len(names), _ASKED):
            quoted = ['"' + name.replace('"', '""') + '"' for name in names[begin : begin + _ASKED]]
            asked = ", ".join(
                expression
                for name in quoted
                for expression in (
                    *(f"max(typeof({name}) = '{kind}')" for kind in _KINDS),
                    f"max(typeof({name}) = 'integer' AND ({name} > {_EXACT} OR {name} < -{_EXACT}))",
                )
            )
            found = connection.execute(f"SELECT {asked} FROM ({query})").fetchone()  # noqa: S608  # the user's own query
            each = len(_KINDS) + 1
            types += [_type(*found[place : place + each]) for place in range(0, len(found), each)]
        return types


def _type(  # the kinds in their order
    integer: int | None, real: int | None, text: int | None, blob: int | None, large: int | None
) -> Any:
    """The type that holds values of all the kinds that occur; text where no number type holds them exactly."""
    import pyarrow as pa

    if blob:
        return pa.binary()
    if text or not (integer or real) or (real and large):
        return pa.string()
    return pa.float64() if real else pa.int64()


def _column(values: Sequence[Any], kind: Any) -> pa.Array:
    import pyarrow as pa

    if kind == pa.string():
        return pa.array([value if value is None or isinstance(value, str) else str(value) for value in values], kind)
    if kind == pa.binary():
        return pa.array(
            [value if value is None or isinstance(value, bytes) else str(value).encode() for value in values], kind
        )
    return pa.array(values, kind)
