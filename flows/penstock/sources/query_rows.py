"""The rows of an SQL query: run once when a run is planned, in the order of the key, and kept in a local file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from penstock.errors import InputError
from penstock.secrets import ENVIRONMENT, Secret, reference_to, remember
from penstock.sources.base import FileState, Slice, SliceData
from penstock.sources.copies import Copies
from penstock.sources.database import Database
from penstock.sources.parquet_files import typed_slice
from penstock.sources.settings import SourceSettings, check_uri
from penstock.sources.snapshots import Snapshot
from penstock.values import polars_type

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa


class QueryRows:
    """A source of one query against SQLite or PostgreSQL. The database is only read, in one transaction."""

    def __init__(self, settings: SourceSettings, copies: Copies, planned: Sequence[FileState]) -> None:
        self.settings = settings
        self._snapshot = Snapshot(copies, planned, self._rows, "the query's rows")

    @property
    def files(self) -> list[str | Path]:
        """The local file of the rows."""
        return [self._snapshot.path]

    def states(self) -> tuple[FileState, ...]:
        """The state of the local file."""
        return (self._snapshot.state,)

    def column_names(self) -> dict[str, str | None]:
        """The query's columns, by running it for no rows.

        Raises:
            InputError: the database cannot be reached, or refuses the query.
        """
        names = self._database().column_names(self._query())
        self._check_names(names)
        return names

    def schema(self) -> dict[str, pl.DataType]:
        """Columns and types of the rows, which are fetched now if they were not yet."""
        stored = self._snapshot.schema()
        self._check_names(stored)
        return {**stored, **{name: polars_type(word) for name, word in self.settings.types.items()}}

    def slices(self, rows: int, *, may_estimate: bool = False) -> Iterator[Slice]:  # noqa: ARG002  # rows are counted
        """Cut by the order of the key; digests are of the content."""
        yield from self._snapshot.slices(rows)

    def read(self, piece: Slice, schema: dict[str, pl.DataType]) -> SliceData:
        """The slice's rows; one with a value that does not fit a type of `source.types` is a bad row."""
        return typed_slice(self._snapshot.read(piece, list(schema)), schema, piece, shown_uri(self.settings))

    def _rows(self) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        database = self._database()
        names = database.column_names(self._query())
        self._check_names(names)
        order = ", ".join('"' + key.replace('"', '""') + '"' for key in self.settings.keys)
        return database.rows(self._query(), order)

    def _check_names(self, names: dict[str, str | None] | dict[str, pl.DataType]) -> None:
        for field, wanted in (("key", self.settings.keys), ("types", self.settings.types)):
            if missing := [name for name in wanted if name not in names]:
                raise InputError(
                    f"source.{field}: the query gives no column {missing[0]!r}; it gives {', '.join(names)}"
                )

    def _query(self) -> str:
        # A comment at its end must not swallow what comes after it.
        return (self.settings.sql or "").strip().rstrip(";").rstrip() + "\n"

    def _database(self) -> Database:
        uri = whole_uri(self.settings)
        if uri.startswith("sqlite:///"):
            from penstock.sources.sqlite_database import SqliteDatabase

            return SqliteDatabase(Path(uri.removeprefix("sqlite:///")))
        from penstock.sources.postgres_database import PostgresDatabase

        return PostgresDatabase(uri)


def shown_uri(settings: SourceSettings) -> str:
    """What messages and error rows call the database: its address as the pipeline has it."""
    return settings.uri or ""


def whole_uri(settings: SourceSettings) -> str:
    """The database's address with its password, which `penstock.secrets.redact` knows from now on.

    Raises:
        InputError: a variable is not set, a Secret block cannot be read here, or one of them holds no address.
    """
    uri = settings.uri or ""
    if place := reference_to(uri):
        uri = _revealed("uri", place)
        try:
            parts = urlsplit(uri)
            bare = uri.replace(f":{parts.password}@", "@") if parts.password else uri
            check_uri(bare)
        except ValueError as error:
            raise InputError(f"source.uri: the {place.place} {place.name} holds no address: {error}") from None
        if parts.password:
            remember(parts.password)
            remember(uri)
    if place := reference_to(settings.password):
        password = _revealed("password", place)
        remember(password)
        remember(quote(password, safe=""))
        parts = urlsplit(uri)
        user, at, host = parts.netloc.rpartition("@")
        if not at or not user:
            raise InputError("source.uri: a password needs a user: write postgresql://user@host/database")
        uri = parts._replace(netloc=f"{user.partition(':')[0]}:{quote(password, safe='')}@{host}").geturl()
    return uri


def _revealed(field: str, secret: Secret) -> str:
    if secret.place != ENVIRONMENT:
        try:
            return secret.reveal()
        except InputError as error:
            raise InputError(f"source.{field}: {error}") from None
    value = os.environ.get(secret.name, "").strip()
    if not value:
        raise InputError(
            f"source.{field}: the environment variable {secret.name} is not set. Set it: export {secret.name}=…"
        )
    return value
