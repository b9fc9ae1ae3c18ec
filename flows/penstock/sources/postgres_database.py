"""PostgreSQL through ADBC (extra `postgres`): Arrow batches straight from the server's binary COPY."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from penstock.errors import InputError
from penstock.secrets import redact
from penstock.sources.snapshots import arrow_type

if TYPE_CHECKING:
    import pyarrow as pa

_PREFIX = re.compile(r"^[A-Z_]+: |^\[libpq\] |^(?:Failed to|Could not) [^:]*: ")


class PostgresDatabase:
    """One server. Passwords are in the address, or where libpq looks for them."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def column_names(self, query: str) -> dict[str, str | None]:
        """The columns of a query and their Arrow types.

        Raises:
            InputError: the server cannot be reached, or refuses the query.
        """
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM ({query}) AS rows LIMIT 0")  # noqa: S608  # the user's own query
            schema = cursor.fetch_arrow_table().schema
            names = schema.names
            if twice := [name for name in names if names.count(name) > 1]:
                raise InputError(f"source.sql: the query gives two columns {twice[0]!r}; name one of them with AS")
            return {field.name: str(arrow_type(field.type, field.name)) for field in schema}

    def rows(self, query: str, order: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """See `penstock.sources.database.Database`; rows come as they are sent, a few megabytes at a time."""
        import pyarrow as pa

        opened = ExitStack()
        with opened:
            connection = opened.enter_context(self._connected())
            cursor = opened.enter_context(connection.cursor())
            cursor.execute(f"SELECT * FROM ({query}) AS rows ORDER BY {order}")  # noqa: S608  # the user's own query
            reader = cursor.fetch_record_batch()
            schema = pa.schema([(field.name, arrow_type(field.type, field.name)) for field in reader.schema])
            kept = opened.pop_all()

        def batches() -> Iterator[pa.RecordBatch]:
            with kept:
                for batch in reader:
                    columns = [
                        _stored(column).cast(kind) for column, kind in zip(batch.columns, schema.types, strict=True)
                    ]
                    yield pa.record_batch(columns, schema=schema)

        return schema, batches()

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """A connection whose one transaction only reads.

        Raises:
            InputError: for whatever the server refuses meanwhile.
        """
        try:
            import adbc_driver_postgresql.dbapi as driver
        except ImportError:
            raise InputError(
                "source.uri: PostgreSQL needs the extra `postgres`: pip install 'penstock[postgres]'"
            ) from None
        host = urlsplit(self._uri).hostname or "this machine"
        field = "uri"
        try:
            with driver.connect(self._uri) as connection:
                field = "sql"
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                yield connection
        except driver.Error as error:
            what = f"PostgreSQL at {host} " + ("cannot be reached" if field == "uri" else "refuses the query")
            raise InputError(f"source.{field}: {what}: {_sentence(str(error))}") from None


def _stored(column: pa.Array) -> pa.Array:
    import pyarrow as pa

    return column.storage if isinstance(column, pa.ExtensionArray) else column


def _sentence(message: str) -> str:
    first = next((line for line in message.splitlines() if line.strip()), "no reason given")
    while (shorter := _PREFIX.sub("", first)) != first:
        first = shorter
    return redact(first.strip())[:300]
