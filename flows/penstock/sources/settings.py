"""The `source:` key of a pipeline: which files or which query, in what format, and which columns name a row."""

from __future__ import annotations

import codecs
from pathlib import PurePath
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from penstock.secrets import PREFECT_SECRET, reference_to
from penstock.values import DatabaseUri, FilePath, TypeWord, names_in

Format = Literal["csv", "jsonl", "json", "parquet", "files"]

ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}
"""Which format a file's ending means."""
COMPRESSED: dict[str, str] = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
"""Which compression a text file's last ending means."""
AUDIO: dict[str, str] = {
    ".aac": "audio/aac",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".mpeg": "video/mpeg",
    ".mpga": "audio/mpeg",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
    ".webm": "video/webm",
}
"""Files that may hold speech, by ending, with their media types."""
OTHER_FILES: dict[str, str] = {
    ".gif": "image/gif",
    ".htm": "text/html",
    ".html": "text/html",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".txt": "text/plain",
    ".webp": "image/webp",
}
"""Other files that are rows themselves rather than tables, with their media types."""
MEDIA: dict[str, str] = {**AUDIO, **OTHER_FILES}

_TEXT = frozenset({"csv", "jsonl", "json"})
_ONLY: dict[str, frozenset[str]] = {
    "delimiter": frozenset({"csv"}),
    "null_values": frozenset({"csv"}),
    "encoding": _TEXT,
    "cut": _TEXT,
    "contents": frozenset({"files"}),
}
"""Settings that only some formats have."""


def _password(text: str) -> str:
    if reference_to(text) is None:
        raise ValueError(
            "passwords live in the environment: write ${DB_PASSWORD}, the name of a variable, or "
            "${prefect-secret:db-password} for a Secret block"
        )
    return text


def check_uri(text: str) -> str:
    """A database's address as `source.uri` may hold it.

    Raises:
        ValueError: it is none that can be read, or it holds a password.
    """
    if text.startswith("sqlite:///") and len(text) > len("sqlite:///"):
        return text
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"not a database's address: {error}") from None
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ValueError("write sqlite:///file.db or postgresql://user@host/database")
    options = {name for name, _ in parse_qsl(parts.query)}
    if parts.password is not None or options & {"password", "passfile", "sslpassword"}:
        raise ValueError(
            "the address must not hold a password: take it out and write password: ${DB_PASSWORD}, or name a variable "
            "that holds the whole address: ${DATABASE_URL}"
        )
    return text


def _uri(text: str) -> str:
    return text if reference_to(text) is not None else check_uri(text)


def _encoding(text: str) -> str:
    try:
        return codecs.lookup(text).name
    except LookupError:
        raise ValueError(f"{text!r} is no encoding; write it like utf-8, latin-1, cp1252 or utf-16") from None


PasswordReference = Annotated[
    str,
    AfterValidator(_password),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^\$\{([A-Za-z_][A-Za-z0-9_]*|prefect-secret:[a-z0-9][a-z0-9-]*)\}$",
            "examples": ["${DB_PASSWORD}"],
        }
    ),
]


class SourceSettings(BaseModel):
    """Rows in: a file, a folder or a glob of files of one format, here or in object storage, or an SQL query."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"anyOf": [{"required": ["path"]}, {"required": ["sql", "uri", "key"]}]},
    )

    path: FilePath = Field(
        default="",
        description=(
            "A file, a folder or a glob, relative to the pipeline file, or an address in object storage (s3://, "
            "gs://, az://). Files are read in the order of their names. Folders named `key=value` add columns."
        ),
        examples=["../sample_data/reviews.csv", "../data/2026-*/part-*.parquet", "s3://bucket/events/*.jsonl.gz"],
    )
    sql: str | None = Field(
        default=None,
        min_length=1,
        description="A query, in place of `path`; it needs `uri` and `key`. It is run once, when the run is planned.",
        examples=["select id, body from tickets where closed"],
    )
    uri: Annotated[DatabaseUri, AfterValidator(_uri)] | None = Field(
        default=None,
        description=(
            "The database of `sql`: sqlite:/// and a file (relative to the pipeline file), or "
            "postgresql://user@host/name, or ${NAME}: a variable that holds the address, and only its name is kept. Or "
            "${prefect-secret:name}: the Secret block of Prefect that holds it, which is read by the run."
        ),
        examples=["sqlite:///shop.db", "postgresql://reader@db.example.org/shop?sslmode=require", "${DATABASE_URL}"],
    )
    password: PasswordReference | None = Field(
        default=None,
        description=(
            "The environment variable that holds the database's password, or the Secret block of Prefect, which is "
            "read by the run. Without it PGPASSWORD and ~/.pgpass are asked. The password itself never stands in a "
            "file."
        ),
        examples=["${DB_PASSWORD}", "${prefect-secret:db-password}"],
    )
    format: Format | None = Field(
        default=None,
        description=(
            "What the files are; found from their ending if left out: .csv, .tsv, .jsonl, .ndjson, .json (text may be "
            "compressed: .gz, .bz2, .xz, .zst), .parquet. `files`: each file is a row; so it is for endings of sound, "
            "pictures and plain text."
        ),
    )
    key: str | list[str] | None = Field(
        default=None,
        description=(
            "The column, or columns, that name a row for good. Without it rows are named by their content and "
            "position, so that rows which move count as new; files that are rows are named by their `path`."
        ),
        examples=["review_id", ["shop", "order_id"]],
    )
    delimiter: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        pattern=r"^[\t !#-~]$",
        description="What separates the cells of a CSV file: a comma, or a tab for .tsv, if left out.",
        examples=[";"],
    )
    encoding: Annotated[str, AfterValidator(_encoding)] | None = Field(
        default=None,
        description="The encoding of text files; UTF-8 if left out.",
        examples=["latin-1", "cp1252", "utf-16"],
    )
    null_values: list[str] = Field(
        default_factory=list,
        description="Cells of a CSV file that mean nothing is there, besides empty ones; in quotes they are text.",
        examples=[["NA", "null", "-"]],
    )
    contents: bool = Field(
        default=False,
        description="With `format: files`: add a column `text` with what each file holds, which must be UTF-8.",
    )
    types: dict[str, TypeWord] = Field(
        default_factory=dict,
        description=(
            "Types of columns, instead of those that the source has or that are found at the beginning of a text file; "
            "in JSON Lines also of keys that appear only later, which are no columns otherwise."
        ),
        examples=[{"zip_code": "string"}],
    )
    cut: Literal["counted", "sampled"] | None = Field(
        default=None,
        description=(
            "How text files are cut into partitions. `counted` reads a file once while planning, counts its rows, and "
            "knows the earlier ones again when it only grew. `sampled` reads a little of it at many places: planned in "
            "seconds at any size, rows estimated, and a file that changed is new as a whole. Left out, files over "
            "4 GB with a key are sampled."
        ),
    )
    partition_rows: int | None = Field(
        default=None,
        ge=1,
        description="Rows in one partition, the unit of work and of resuming; chosen from the steps if left out.",
        examples=[10_000],
    )

    @field_validator("*")
    @classmethod
    def _suits(cls, value: Any, info: ValidationInfo) -> Any:
        """Settings that exclude each other, each told where it stands."""
        name = str(info.field_name)
        given = info.data
        if not value:
            return value
        if name == "sql" and given.get("path"):
            raise ValueError("a source is either files (`path`) or a query (`sql`): leave one of them out")
        if name in {"uri", "password"} and not given.get("sql") and "sql" in given:
            raise ValueError("only a query has it: write `sql: select …` beside it")
        if name == "password" and str(given.get("uri") or "").startswith("sqlite:"):
            raise ValueError("an SQLite file has no password")
        if (name == "format" or name in _ONLY) and given.get("sql"):
            raise ValueError("a query has no format: this is for files (`path`)")
        if name == "cut" and value == "sampled" and not given.get("key"):
            raise ValueError("samples need `key`: without one rows are named by their numbers, which must be counted")
        kind = given.get("format") or format_of(given.get("path") or "")
        if name in _ONLY and kind is not None and kind not in _ONLY[name]:
            raise ValueError(f"only {' and '.join(sorted(_ONLY[name]))} files have it, and these are {kind} files")
        return value

    @model_validator(mode="after")
    def _whole(self) -> SourceSettings:
        if not self.path and not self.sql:
            raise ValueError("rows come from files or from a query: write `path: rows.csv`, or `sql` and `uri`")
        if self.sql and not self.uri:
            raise ValueError("`sql` needs the database's address: write `uri: sqlite:///file.db` beside it")
        if self.sql and not self.keys:
            raise ValueError("`sql` needs `key`, the column that names a row for good: a query has no order of its own")
        return self

    @property
    def keys(self) -> list[str]:
        """The key columns; empty when there is none."""
        if self.key is None:
            return ["path"] if self.kind == "files" else []
        return names_in(self.key)

    @property
    def is_elsewhere(self) -> bool:
        """Whether the rows come over a network: from object storage or a database server."""
        return not str(self.uri).startswith("sqlite:") if self.sql else "://" in str(self.path)

    @property
    def blocks(self) -> list[str]:
        """The Secret blocks of Prefect that hold the database's address or password, by name."""
        named = (reference_to(text) for text in (self.uri, self.password))
        return [secret.name for secret in named if secret is not None and secret.place == PREFECT_SECRET]

    @property
    def kind(self) -> Format | None:
        """The files' format as far as the settings tell it."""
        return None if self.sql else self.format or format_of(self.path)

    def check_format(self, kind: Format) -> None:
        """Whether all settings suit a format that only the files told.

        Raises:
            ValueError: one does not.
        """
        for name, kinds in _ONLY.items():
            if getattr(self, name) and kind not in kinds:
                raise ValueError(f"source.{name}: only {' and '.join(sorted(kinds))} files have it, not {kind} files")


def format_of(path: str) -> Format | None:
    """The format that a path's ending means, without that of its compression."""
    pure = PurePath(path.lower())
    suffix = PurePath(pure.stem).suffix if pure.suffix in COMPRESSED else pure.suffix
    return ENDINGS.get(suffix, "files" if pure.suffix in MEDIA else None)
