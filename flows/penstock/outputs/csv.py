"""`csv`: one file with a line of names and one line per row, for spreadsheets and databases."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from penstock.outputs.text_files import TextFile

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_FORMULA_MARKS = "^[=+\\-@\t\r]"


class Csv(TextFile):
    """Cells are quoted where they must be; lists, vectors and structs are JSON texts in their cells."""

    kind: ClassVar[str] = "csv"
    summary: ClassVar[str] = "Writes a CSV file, replaced in one step; lists, vectors and structs as JSON in cells."
    example: ClassVar[str] = "uses: csv\npath: ../out/reviews.csv\nescape_formulas: true\n"
    endings: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".txt")

    uses: Literal["csv"] = Field(description="The kind of output.")
    delimiter: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        pattern=r"^[\t !#-~]$",
        description="What separates the cells: a comma, or a tab for .tsv, if left out.",
        examples=[";"],
    )
    null_value: str = Field(
        default="",
        pattern=r'^[^"\r\n]*$',
        description='What a null is written as. With the default a null is nothing, and an empty text is `""`.',
        examples=["NA"],
    )
    escape_formulas: bool = Field(
        default=False,
        description=(
            "Put an apostrophe before texts that begin with =, +, -, @, a tab or a carriage return, which spreadsheets "
            "would run as formulas. Set it when people open the file in one; it changes those texts."
        ),
    )
    bom: bool = Field(
        default=False, description="Begin with a byte order mark, by which Excel knows that the file is UTF-8."
    )

    @property
    def _separator(self) -> str:
        return self.delimiter or ("\t" if ".tsv" in Path(self.path).suffixes else ",")

    def head(self, schema: pa.Schema) -> bytes:
        """The names of the columns."""
        import polars as pl

        return self._written(pl.DataFrame(schema=dict.fromkeys(schema.names, pl.String)), header=True)

    def lines(self, frame: pl.DataFrame) -> bytes:
        """One line per row."""
        import polars as pl

        from penstock.outputs.textual import textual

        texts = textual(frame)
        columns = [_json_text(name) for name, kind in texts.schema.items() if kind.is_nested()]
        texts = texts.with_columns(columns) if columns else texts
        if self.escape_formulas:
            cells = pl.col(pl.String, pl.Categorical).cast(pl.String)
            texts = texts.with_columns(cells.str.replace(f"({_FORMULA_MARKS})", "'${1}"))
        if len(texts.columns) == 1 and not self.null_value:
            # A line with nothing in it is no row for most readers.
            texts = texts.with_columns(pl.all().cast(pl.String).fill_null(""))
        return self._written(texts, header=False)

    def _written(self, frame: pl.DataFrame, *, header: bool) -> bytes:
        buffer = io.BytesIO()
        frame.write_csv(
            buffer,
            include_header=header,
            include_bom=header and self.bom,
            separator=self._separator,
            null_value=self.null_value,
        )
        return buffer.getvalue()


def _json_text(name: str) -> pl.Expr:
    """A nested column as JSON, null where it is null."""
    import polars as pl

    wrapped = pl.struct(pl.col(name).alias("v")).struct.json_encode()
    inner = wrapped.str.strip_prefix('{"v":').str.strip_suffix("}")
    return pl.when(pl.col(name).is_not_null()).then(inner).alias(name)
