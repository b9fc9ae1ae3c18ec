"""Texts as sets of shingles: runs of some characters or words, each as a number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from penstock.texts.stable_hash import hash_64

if TYPE_CHECKING:
    import polars as pl

Unit = Literal["characters", "words"]
Ignored = Literal["case", "whitespace", "punctuation", "accents"]

_MULTIPLIER = 0x9E3779B97F4A7C15
_PIECE_CODES = 1_000_000
_PIECE_ROWS = 8_192


def without(texts: pl.Series, ignored: Sequence[Ignored]) -> pl.Series:
    """The texts without what is ignored.

    A text of which nothing would be left, such as "!!!", keeps its punctuation: "???" is another text.
    """
    import polars as pl

    bare = pl.col("text")
    if "case" in ignored:
        bare = bare.str.to_lowercase()
    if "accents" in ignored:
        bare = bare.str.normalize("NFKD").str.replace_all(r"\p{M}+", "")
    if "whitespace" in ignored:
        bare = _one_space(bare)
    plain = (
        _one_space(bare.str.replace_all(r"\p{P}+", " "))
        if "whitespace" in ignored
        else bare.str.replace_all(r"\p{P}+", "")
    )
    chosen = pl.when(plain.str.contains(r"\S")).then(plain).otherwise(bare) if "punctuation" in ignored else bare
    return texts.alias("text").to_frame().select(chosen.alias("text")).to_series()


def shingle_hashes(texts: pl.Series, unit: Unit, size: int) -> Iterator[tuple[int, int, pl.DataFrame]]:
    """Piece by piece of the texts: its first text, how many texts, and a frame of `text` (UInt32, from 0) and `hash`.

    A text shorter than `size` is one shingle. The texts must be neither null nor empty.
    """
    import polars as pl

    for begin, rows in _pieces(texts.str.len_bytes()):
        piece = texts.slice(begin, rows)
        codes = _characters(piece) if unit == "characters" else _words(piece)
        yield begin, rows, codes.select(*_runs(size)).filter(pl.col("whole")).drop("whole")


def _one_space(text: pl.Expr) -> pl.Expr:
    return text.str.replace_all(r"\s+", " ").str.strip_chars()


def _pieces(lengths: pl.Series) -> Iterator[tuple[int, int]]:
    begin = size = 0
    for place, length in enumerate(lengths):
        if place > begin and (size + length > _PIECE_CODES or place - begin == _PIECE_ROWS):
            yield begin, place - begin
            begin, size = place, 0
        size += length
    if len(lengths):
        yield begin, len(lengths) - begin


def _characters(texts: pl.Series) -> pl.DataFrame:
    import polars as pl
    import pyarrow as pa

    data = "".join(texts.to_list()).encode("utf-32-le")
    codes = pl.Series(pa.Array.from_buffers(pa.uint32(), len(data) // 4, [None, pa.py_buffer(data)]))
    return pl.DataFrame({"code": codes.cast(pl.UInt64), "text": _repeated(texts.str.len_chars())})


def _words(texts: pl.Series) -> pl.DataFrame:
    """Words hashed once each: a language has few of them."""
    import polars as pl

    lists = pl.Series([text.split() or [text] for text in texts.to_list()], dtype=pl.List(pl.String))
    words = pl.DataFrame({"word": lists.explode(), "text": _repeated(lists.list.len())})
    known = words["word"].unique()
    table = pl.DataFrame({"word": known, "code": hash_64(known)})
    return words.join(table, on="word", how="left", maintain_order="left").select("code", "text")


def _repeated(counts: pl.Series) -> pl.Series:
    import polars as pl

    places = pl.int_range(pl.len(), dtype=pl.UInt32)
    return counts.alias("count").to_frame().select(places.repeat_by("count").explode()).to_series()


def _runs(size: int) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """The text, the mixed number of the run that begins at each code, and whether a run may begin there."""
    import polars as pl

    text, code = pl.col("text"), pl.col("code")
    number = code
    for ahead in range(1, size):
        inside = text.shift(-ahead) == text
        number = number * _u64(_MULTIPLIER) + pl.when(inside).then(code.shift(-ahead)).otherwise(_u64(0))
    begins = (text.shift(1) != text).fill_null(value=True)
    whole = (text.shift(1 - size) == text).fill_null(value=False)
    return text, mixed(number).alias("hash"), (begins | whole).alias("whole")


def mixed(number: pl.Expr) -> pl.Expr:
    """UInt64 spread over all 64 bits: the finaliser of SplitMix64 (Steele, Lea, Flood: OOPSLA 2014)."""
    number = (number ^ (number // _u64(2**30))) * _u64(0xBF58476D1CE4E5B9)
    number = (number ^ (number // _u64(2**27))) * _u64(0x94D049BB133111EB)
    return number ^ (number // _u64(2**31))


def _u64(value: int) -> pl.Expr:
    import polars as pl

    return pl.lit(value, dtype=pl.UInt64)
