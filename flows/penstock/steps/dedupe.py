"""`dedupe`: rows that are the same, or nearly so, become one row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from penstock.errors import ExpressionError
from penstock.expressions import Column, Sql, Template, template_columns
from penstock.steps.base import FATE, INTO, KEY, MERGED, PARTITION, ROW, SIMILARITY, BarrierStep, Columns
from penstock.steps.rendering import rendered, template_fault
from penstock.texts.minhash import similarities, sketches
from penstock.texts.near_pairs import near_clusters
from penstock.texts.shingles import Ignored, Unit, without
from penstock.texts.stable_hash import hash_64, hash_128, row_texts
from penstock.values import Share, names_in

if TYPE_CHECKING:
    import polars as pl

_LOW, _HIGH, _BLOCK, _ORDER, _SKETCH = "__low", "__high", "__block", "__order", "__sketch_"
LOWEST = 0.5
"""The least likeness that can be asked for."""
_SIZES: dict[Unit, int] = {"characters": 5, "words": 3}


class Dedupe(BarrierStep):
    """Rows are the same when their `by` columns are equal and their `text` is equal or, with `near`, alike.

    One row of them goes on; the others are merged into it, and its key is kept for each of them. A row whose `text`,
    or whose every `by` column, is null is like no other row unless `nulls: equal`. Memory for each row: about 60 bytes
    and its key; with `near` as many bytes more as `hashes` says.
    """

    kind: ClassVar[str] = "dedupe"
    summary: ClassVar[str] = (
        "Merges rows that are the same, or nearly so, into one of them; each merged row keeps the key of that one."
    )
    example: ClassVar[str] = 'uses: dedupe\ntext: "{{ body }}"\nnear: 0.8\n'

    uses: Literal["dedupe"] = Field(description="The kind of step.")
    by: Literal["*"] | Column | list[Column] | None = Field(
        default=None,
        description="The column, or columns, that are equal in rows that are the same; `*` is all columns.",
        examples=["email", ["shop", "order_id"], "*"],
    )
    text: Template | None = Field(
        default=None,
        description="Template of the text that is equal or, with `near`, alike in rows that are the same.",
        examples=["{{ body }}", "{{ title }} {{ body }}"],
    )
    near: Share | None = Field(
        default=None,
        description="How alike two texts must be to be merged, from 50% to 100%: the share of their shingles that they "
        "have in common (Jaccard), estimated by MinHash. Texts are merged along chains too, so that a merged text may "
        "be less like the one that is kept. Only equal texts are merged if left out.",
        examples=[0.8, "85%"],
    )
    ignore: list[Ignored] | None = Field(
        default=None,
        description="What makes no difference: `case`, `whitespace` (how much of it), `punctuation`, `accents`; in "
        "`text` where there is one, else in `by`. With `near` the first three if left out, else nothing.",
        examples=[["case", "whitespace"]],
    )
    keep: Literal["first", "last"] = Field(
        default="first", description="Which of the rows goes on, in the order of the source or of `order_by`."
    )
    order_by: Sql | None = Field(
        default=None,
        description="SQL expression by which `keep` orders rows, nulls behind all; equal ones are ordered by key.",
        examples=["updated_at", "length(body)"],
    )
    nulls: Literal["distinct", "equal"] = Field(
        default="distinct",
        description="Whether rows with nothing to compare, whose `text` or whose every `by` column is null, are all "
        "different or all the same.",
    )
    duplicates: str | None = Field(
        default=None,
        min_length=1,
        description="Name of a new column: how many rows were merged into this one.",
        examples=["duplicates"],
    )
    shingles: Unit = Field(
        default="characters",
        description="What texts are compared by: runs of characters, or of words, which suit long texts better.",
    )
    shingle_size: int | None = Field(
        default=None,
        ge=1,
        le=20,
        description="How long a run is: 5 characters or 3 words if left out. A text shorter than that is one run. "
        "Chinese or Japanese is better told apart by 3 characters.",
    )
    hashes: Literal[64, 128, 256, 512] = Field(
        default=128,
        description="Bytes of memory for the text of each row. The likeness of two texts is out by 0.035 (standard "
        "deviation, at 0.8) with 128, and by half of that with 512.",
    )

    @field_validator("near")
    @classmethod
    def _can_be_found(cls, near: float | None) -> float | None:
        if near is not None and near < LOWEST:
            raise ValueError(
                f"texts less than {LOWEST:.0%} alike cannot be told from unrelated ones; write 50% or more"
            )
        return near

    @field_validator("text")
    @classmethod
    def _uses_a_column(cls, text: str | None) -> str | None:
        try:
            columns = {"": 0} if text is None else template_columns(text)
        except ExpressionError:
            # The loader tells mistakes of templates with their places.
            return text
        if not columns:
            raise ValueError(f"it uses no column, so that all rows would be the same; a column is `{{{{ {text} }}}}`")
        return text

    @field_validator("order_by")
    @classmethod
    def _has_no_direction(cls, order_by: str | None) -> str | None:
        # polars would take the word for a new name of the column, and order upwards.
        if order_by is not None and re.search(r"\s(asc|desc)\s*$", order_by, re.IGNORECASE):
            raise ValueError(
                "it takes no direction; `keep: last` goes with the largest, `keep: first` with the smallest"
            )
        return order_by

    @model_validator(mode="after")
    def _compares_something(self) -> Dedupe:
        if self.by is None and self.text is None:
            raise ValueError("say what makes rows the same: `by: email`, `by: '*'` (all columns), or `text`")
        if self.by == []:
            raise ValueError("`by` names no column; leave it out, or write '*' for all")
        if self.near is not None and self.text is None:
            raise ValueError('`near` compares texts: say which by `text`, for example `text: "{{ body }}"`')
        return self

    @property
    def ignored(self) -> list[Ignored]:
        """What makes no difference."""
        if self.ignore is not None:
            return self.ignore
        return [] if self.near is None else ["case", "whitespace", "punctuation"]

    def columns_after(self, given: Mapping[str, str | None]) -> Columns:
        """The same columns, and the number of duplicates where it is asked for."""
        if self.duplicates is None:
            return dict(given)
        if self.duplicates in given:
            raise ValueError(f"the column {self.duplicates!r} exists already; give `duplicates` another name")
        return {**given, self.duplicates: "Int64"}

    def look(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Of each row a hash of what is compared; with `near` the sketch of its text; with `order_by` its value."""
        import polars as pl

        order = [] if self.order_by is None else [pl.sql_expr(self.order_by).alias(_ORDER)]
        names = [name for name in frame.collect_schema() if not name.startswith("__")]
        compared = names if self.by == "*" else names_in(self.by)
        used = [name for name in names if name in {*compared, *(template_columns(self.text) if self.text else ())}]
        narrow = frame.select(ROW, *used, *order)
        schema: dict[str, pl.DataType | type[pl.DataType]] = {ROW: narrow.collect_schema()[ROW]}
        schema |= dict.fromkeys(self._hash_columns, pl.UInt64)
        if order:
            schema[_ORDER] = narrow.collect_schema()[_ORDER]
        return narrow.map_batches(lambda rows: self._hashes(rows, compared).select(list(schema)), schema=schema)

    def decide(self, looked: pl.DataFrame) -> pl.DataFrame:
        """Clusters of rows that are the same, one row of each kept, the others merged into it."""
        import polars as pl

        places = pl.int_range(pl.len(), dtype=pl.UInt32)
        rows = looked.select(_LOW, _HIGH, places.alias("place")).filter(pl.col(_LOW).is_not_null()).sort(_LOW, _HIGH)
        first = pl.any_horizontal(
            (pl.col(name) != pl.col(name).shift(1)).fill_null(value=True) for name in (_LOW, _HIGH)
        )
        rows = rows.select("place", (first.cum_sum() - 1).cast(pl.UInt32).alias("text"), first.alias("first"))
        rows = rows.with_columns(self._clusters(looked, rows).alias("cluster"))
        merged = self._merged(looked, rows.filter(pl.col("cluster").is_duplicated()).drop("first"))
        decided = looked.select(PARTITION, ROW, places.alias("place")).join(
            merged, on="place", how="left", maintain_order="left"
        )
        fate = pl.when(pl.col("into").is_not_null()).then(pl.lit(MERGED)).alias(FATE)
        into = looked[KEY].gather(decided["into"]).alias(INTO)
        decided = decided.select(PARTITION, ROW, fate, into, pl.col("similarity").alias(SIMILARITY), "place")
        if self.duplicates:
            counts = merged.group_by(pl.col("into").alias("place")).agg(pl.len().cast(pl.Int64).alias(self.duplicates))
            decided = decided.join(counts, on="place", how="left", maintain_order="left").with_columns(
                pl.col(self.duplicates).fill_null(0)
            )
        return decided.drop("place")

    @property
    def _hash_columns(self) -> list[str]:
        block = [_BLOCK] if self.by is not None and self.near is not None else []
        return [_LOW, _HIGH, *block, *self._sketch_columns]

    @property
    def _sketch_columns(self) -> list[str]:
        return [] if self.near is None else [f"{_SKETCH}{word}" for word in range(self.hashes // 8)]

    def _hashes(self, rows: pl.DataFrame, compared: list[str]) -> pl.DataFrame:
        import polars as pl

        block = text = None
        equal = self.nulls == "equal"
        if compared:
            if self.text is None and self.ignored:
                texts = [name for name in compared if rows.schema[name] == pl.String]
                rows = rows.with_columns(without(rows[name], self.ignored).alias(name) for name in texts)
            block = row_texts(rows, compared, nulls_equal=equal)
        if self.text is not None:
            text = without(self._texts(rows), self.ignored)
        parts = pl.DataFrame([part.alias(str(place)) for place, part in enumerate((block, text)) if part is not None])
        whole = row_texts(parts, parts.columns, nulls_equal=equal)
        if not equal:
            null = parts.select(pl.any_horizontal(pl.all().is_null())).to_series()
            whole = pl.select(pl.when(~null).then(whole)).to_series()
        low, high = hash_128(whole)
        rows = rows.with_columns(low.alias(_LOW), high.alias(_HIGH))
        if self.near is None or text is None:
            return rows
        return rows.with_columns(*([] if block is None else [hash_64(block).alias(_BLOCK)]), *self._sketches(text))

    def _texts(self, rows: pl.DataFrame) -> pl.Series:
        """The rendered texts, null where all columns of the template are.

        Raises:
            polars.exceptions.ComputeError: the template fails on a row.
        """
        import polars as pl

        template = self.text or ""
        texts = rendered(template, rows)
        failed = texts.is_null().arg_true()
        if len(failed):
            fault = template_fault(template, rows.row(failed[0], named=True))
            raise pl.exceptions.ComputeError(fault.message if fault else "the template gave no text")
        null = pl.all_horizontal(pl.col(name).is_null() for name in template_columns(template))
        return rows.select(pl.when(~null).then(texts).alias("text")).to_series()

    def _sketches(self, texts: pl.Series) -> list[pl.Series]:
        """The sketches of the texts, null of those that are null or empty."""
        import polars as pl

        there = (texts.is_not_null() & (texts.str.len_bytes() > 0)).arg_true()
        found = sketches(
            texts.gather(there), self.shingles, self.shingle_size or _SIZES[self.shingles], self.hashes, _SKETCH
        )
        if len(there) == len(texts):
            return found.get_columns()
        none = pl.Series([None], dtype=pl.UInt64).new_from_index(0, len(texts))
        return [none.clone().scatter(there, column).alias(column.name) for column in found.get_columns()]

    def _clusters(self, looked: pl.DataFrame, rows: pl.DataFrame) -> pl.Series:
        """Of each row the number of its cluster: texts that are equal are one already."""
        import polars as pl

        if self.near is None:
            return rows["text"]
        words = self._sketch_columns
        known = rows.filter("first").select("place", "text")
        known = known.filter(looked[words[0]].gather(known["place"]).is_not_null())
        block = None if self.by is None else looked[_BLOCK]
        found = near_clusters(looked.select(words), block, known["place"], self.near)
        clusters = pl.int_range(int(rows["first"].sum()), dtype=pl.UInt32, eager=True)
        clusters = clusters.scatter(known["text"], known["text"].gather(found))
        return clusters.gather(rows["text"])

    def _merged(self, looked: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
        """Of the rows that are merged the place, that of the row that stands for it, and how alike they are."""
        import polars as pl

        ordered = [_ORDER, KEY, PARTITION, ROW] if self.order_by else [PARTITION, ROW]
        rows = rows.hstack(looked.select(ordered)[rows["place"]])
        rows = rows.sort(*ordered, descending=self.keep == "last", nulls_last=True)
        kept = rows.unique("cluster", keep="first", maintain_order=True)
        kept = kept.select("cluster", pl.col("place").alias("into"), pl.col("text").alias("kept_text"))
        merged = (
            rows.select("cluster", "place", "text").join(kept, on="cluster").filter(pl.col("place") != pl.col("into"))
        )
        likeness = pl.lit(1.0)
        if self.near is not None:
            found = similarities(looked.select(self._sketch_columns), merged["place"], merged["into"])
            likeness = pl.when(pl.col("text") == pl.col("kept_text")).then(1.0).otherwise(found)
        return merged.select("place", "into", likeness.alias("similarity"))
