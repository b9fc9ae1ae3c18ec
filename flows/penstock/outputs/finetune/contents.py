"""What examples say, looked at many at a time: personal data and keys, and how alike examples are.

Memory: some 2 MB of texts that wait, and of each example 64 bytes of a sketch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from penstock.outputs.finetune.example import Example
from penstock.outputs.finetune.faults import WARNINGS, Found
from penstock.texts.personal import DETECTORS, Kind, first_of_each

if TYPE_CHECKING:
    import polars as pl

BINS = 64
"""Of a sketch: likeness is told to some 5 of 100."""
_WORDS = 3
_CHARACTERS = 5
_LONGEST_WORD = 16
"""Characters a word at the most on average: texts of longer ones stand in a script without spaces."""
_AT_ONCE = 2_000_000
_CONTEXTS = 256
_PREFIX = "w"
WORDS = tuple(f"{_PREFIX}{number}" for number in range(BINS // 8))
"""The columns of a table of sketches."""

Place = tuple[int, str]
"""A line, and where in it."""


class Contents:
    """The contents of one file's examples.

    Args:
        found: where personal data and keys are told.
        kinds: of these, what is looked for.
        sketched: whether examples will be held against each other.
    """

    def __init__(self, found: Found, kinds: Sequence[Kind], *, sketched: bool) -> None:
        self._found = found
        self._kinds = kinds
        self._sketched = sketched
        self._places: dict[str, list[Place]] = {}
        self._said: list[str] = []
        self._contexts: dict[str, dict[Kind, int]] = {}
        self._size = 0
        self._sketches: list[pl.DataFrame] = []

    def add(self, line: int, example: Example, *, sketched: bool) -> None:
        """Look at an example, sooner or later; `sketched` for those that `sketches` shall have a row of."""
        if self._kinds:
            for number, text in enumerate(example.texts, 1):
                self._look(text, line, f"in message {number}")
            if example.other_output:
                self._look(example.other_output, line, "in the output that is not preferred")
            if example.context:
                self._look_at_context(line, example.context)
        if self._sketched and sketched:
            said = example.said
            self._said.append(said)
            self._size += len(said)
        if self._size > _AT_ONCE:
            self.flush()

    def look(self, line: int, text: str) -> None:
        """Look for personal data in a line that holds no readable example."""
        if self._kinds:
            self._look(text, line, "in the line")

    def flush(self) -> None:
        """Look at all that waits."""
        import polars as pl

        if self._places:
            texts = pl.Series(list(self._places), dtype=pl.String)
            hinted = pl.any_horizontal(pl.col("text").str.contains(DETECTORS[kind].hint) for kind in self._kinds)
            for text in texts.alias("text").to_frame().filter(hinted).to_series():
                kinds = first_of_each(text, self._kinds)
                for line, where in self._places[text] if kinds else ():
                    self._tell(kinds, line, where)
        if self._said:
            self._sketches.append(_sketched(pl.Series(self._said, dtype=pl.String)))
        self._places, self._said, self._size = {}, [], 0

    def sketches(self) -> pl.DataFrame:
        """The columns `WORDS`, a row for each example that was added to be sketched; null where it says nothing."""
        import polars as pl

        self.flush()
        table = pl.concat([pl.DataFrame(schema=dict.fromkeys(WORDS, pl.UInt64)), *self._sketches])
        self._sketches = [table]
        return table

    def _look(self, text: str, line: int, where: str) -> None:
        # Half a surrogate pair is told elsewhere, and polars takes none.
        self._places.setdefault(text.encode("utf-8", "replace").decode(), []).append((line, where))
        self._size += len(text)

    def _look_at_context(self, line: int, context: str) -> None:
        if context not in self._contexts:
            if len(self._contexts) == _CONTEXTS:
                self._contexts.clear()
            self._contexts[context] = first_of_each(context, self._kinds)
        if kinds := self._contexts[context]:
            self._tell(kinds, line, "in its tools")

    def _tell(self, kinds: dict[Kind, int], line: int, where: str) -> None:
        for kind in kinds:
            if kind == "key":
                message = f"{where} something is shaped like a key; a model may say it to others"
                self._found.add("secret", line, message)
            else:
                self._found.add(f"personal_{kind}", line, f"{where}: {WARNINGS[f'personal_{kind}']}")


def _sketched(texts: pl.Series) -> pl.DataFrame:
    """By runs of words; by runs of characters where words are not set apart."""
    import polars as pl

    from penstock.texts.minhash import sketches
    from penstock.texts.shingles import without

    bare = without(texts, ["case", "whitespace", "punctuation"])
    spaced = pl.col("text").str.len_chars() <= _LONGEST_WORD * (pl.col("text").str.count_matches(" ") + 1)
    rows = bare.alias("text").to_frame().with_row_index("row").filter(pl.col("text") != "")
    parts = [
        part.select("row").hstack(sketches(part["text"], "words" if words else "characters", size, BINS, _PREFIX))
        for words, size in ((True, _WORDS), (False, _CHARACTERS))
        for part in [rows.filter(spaced if words else ~spaced)]
    ]
    places = pl.DataFrame({"row": pl.int_range(len(texts), dtype=pl.UInt32, eager=True)})
    return places.join(pl.concat(parts), on="row", how="left", maintain_order="left").drop("row")


def near_duplicates(sketches: pl.DataFrame, rows: pl.Series, threshold: float) -> Iterator[tuple[int, int, float]]:
    """Of `rows` (UInt32) those that are like one before them, with the first of their cluster and how alike they are.

    Clusters are chains: the first one may be less alike than the threshold.
    """
    import polars as pl

    from penstock.texts.minhash import similarities
    from penstock.texts.near_pairs import near_clusters

    rows = rows.filter(sketches[WORDS[0]].gather(rows).is_not_null())
    first = rows.gather(near_clusters(sketches, None, rows, threshold))
    pairs = pl.DataFrame({"row": rows, "first": first}).filter(pl.col("row") != pl.col("first"))
    alike = similarities(sketches, pairs["row"], pairs["first"])
    yield from pairs.with_columns(alike).iter_rows()


def near_leaks(
    mine: pl.DataFrame, rows: pl.Series, theirs: pl.DataFrame, threshold: float
) -> Iterator[tuple[int, int, float]]:
    """Of `rows` of the sketches `mine` those that are like a row of `theirs`, the most alike one, and how alike."""
    import polars as pl

    from penstock.texts.near_pairs import nearest

    rows = rows.filter(mine[WORDS[0]].gather(rows).is_not_null())
    said = theirs[WORDS[0]].is_not_null().arg_true()
    found = nearest(mine[rows], theirs[said], threshold)
    places = pl.DataFrame({"row": rows.gather(found["row"]), "other": said.gather(found["other"])})
    yield from places.hstack([found["similarity"]]).iter_rows()
