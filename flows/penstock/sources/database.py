"""What a database must do for a source: name the columns of a query, and give its rows in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class Database(Protocol):
    """One database, opened for reading only, and only while it is asked."""

    def column_names(self, query: str) -> dict[str, str | None]:
        """The columns of a query and, where the database tells them, their types. Reads no row.

        Raises:
            InputError: the database cannot be reached, or refuses the query.
        """

    def rows(self, query: str, order: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """The rows in the order of an ORDER BY clause, as they are when the transaction begins.

        Args:
            query: without a semicolon, ending with a line break.
            order: quoted column names.

        Raises:
            InputError: the database cannot be reached, or refuses the query.
        """
