"""Texts that a model cannot take whole: only their beginning, or all of them in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.tokens import TokenCounter, counter

if TYPE_CHECKING:
    import polars as pl

# A beginning of so many characters has more tokens than are asked for, in nearly every text.
_CHARACTERS_PER_TOKEN = 8


def fitted(texts: pl.Series, model: str, most: int, *, split: bool) -> pl.Series:
    """The texts under `most` tokens each: their beginnings or, with `split`, the list of the pieces of each.

    Nulls stay null. Tokens are those of the model's vocabulary, or estimated where it is not known.
    """
    import polars as pl

    alone = pl.when(texts.is_not_null()).then(pl.concat_list(texts)).alias(texts.name)
    found = pl.select(alone).to_series() if split else texts
    # No vocabulary has tokens of less than a byte, so that nearly no text is counted here.
    long = (texts.str.len_bytes() > most).fill_null(value=False).arg_true().to_list()
    if not long:
        return found
    tokens = counter(model)
    fitting = found.to_list()
    for place in long:
        fitting[place] = _asked(tokens, texts[place], most) if split else cut(tokens, texts[place], most)
    return pl.Series(texts.name, fitting, dtype=found.dtype)


def pieces(tokens: TokenCounter, text: str, most: int) -> list[str]:
    """`text` in pieces of `most` tokens or hardly less, and a last one of the rest; joined they are the text."""
    found: list[str] = []
    while text:
        found.append(cut(tokens, text, most))
        text = text[len(found[-1]) :]
    return found


def cut(tokens: TokenCounter, text: str, most: int) -> str:
    """The beginning of `text` that has `most` tokens, or all of it where it has no more.

    No character is cut in two, and at least one is left. Where the last token ends inside a character, or where the
    shorter text falls into other tokens than it did in the whole, it has a few tokens less than `most`, never more.
    """
    shown = text[: most * _CHARACTERS_PER_TOKEN]
    while (end := tokens.head(shown, most)) == len(shown):
        if end == len(text):
            return text
        shown = text[: 2 * len(shown)]
    fewer = most
    while end > 1 and tokens.count(text[:end]) > most:
        fewer -= 1
        end = tokens.head(shown, fewer)
    return text[: max(end, 1)]


def _asked(tokens: TokenCounter, text: str, most: int) -> list[str]:
    """The pieces that are more than white space, which servers refuse; of a text of nothing else the first."""
    found = pieces(tokens, text, most)
    return [piece for piece in found if piece.strip()] or found[:1]
