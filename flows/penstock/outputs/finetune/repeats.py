"""Examples that stand twice, prompts with several answers, and what stands in both the training and validation file.

Each example is 28 bytes here: its line and three digests of 64 bits. Digests of the same text are the same only within
one process; two different texts share one with a chance of some 10**-7 in a file of a million examples.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from penstock.outputs.finetune.example import Example

if TYPE_CHECKING:
    import polars as pl

Pair = tuple[int, int]
"""A line and the line before it, or in the other file, that it repeats."""


class Digests:
    """Digests of the examples of one file.

    Args:
        normal: also those of normalised prompts, for leaks; 8 bytes more.
    """

    def __init__(self, *, normal: bool = False) -> None:
        self._lines = array("I")
        self._whole = array("q")
        self._prompts = array("q")
        self._answers = array("q")
        self._normal = array("q") if normal else None
        self._grouped = array("I")
        self._groups = array("q")

    def add(self, line: int, example: Example, group: str | None = None) -> None:
        """Keep those of the example on a line, and of its group if it has one."""
        whole, prompt, answer = example.digests
        self._lines.append(line)
        self._whole.append(whole)
        self._prompts.append(prompt)
        self._answers.append(answer)
        if self._normal is not None:
            self._normal.append(example.normal_prompt)
        if group is not None:
            self._grouped.append(line)
            self._groups.append(hash(group))

    @property
    def lines(self) -> Sequence[int]:
        """The line of each example."""
        return self._lines

    def rows_without(self, told: Collection[int]) -> pl.Series:
        """Places in `lines` (UInt32) of the lines that are not among `told`."""
        import polars as pl

        lines = self._column("line")
        return (~lines.is_in(pl.Series(list(told), dtype=pl.UInt32).implode())).arg_true()

    def group_leaks(self, training: Digests) -> Iterator[Pair]:
        """Lines of this file whose group is also in `training`, and the first line of it there."""
        yield from self._joined(training, "group").sort("line").iter_rows()

    def duplicates(self) -> Iterator[Pair]:
        """Lines whose example stood before, with the first line of it."""
        import polars as pl

        table = pl.DataFrame([self._column("line"), self._column("whole")])
        found = (
            table.filter(pl.col("whole").is_duplicated())
            .with_columns(first=pl.col("line").min().over("whole"))
            .filter(pl.col("line") != pl.col("first"))
        )
        yield from found.select("line", "first").iter_rows()

    def contradictions(self) -> Iterator[Pair]:
        """Lines whose prompt stood before with another answer, with the first line of the prompt."""
        import polars as pl

        table = pl.DataFrame([self._column("line"), self._column("prompt"), self._column("answer")])
        found = (
            table.filter(pl.col("prompt").is_duplicated())
            .with_columns(first=pl.col("line").min().over("prompt"), said=pl.col("answer").first().over("prompt"))
            .filter(pl.col("answer") != pl.col("said"))
            # The same other answer again is a duplicate, which is told as such.
            .unique(["prompt", "answer"], keep="first", maintain_order=True)
        )
        yield from found.select("line", "first").iter_rows()

    def leaks(self, training: Digests) -> Iterator[tuple[int, int, bool]]:
        """Lines of this file that are also in `training`, the line there, and whether all of the example is.

        Both must have been made with `normal`.
        """
        import polars as pl

        exact = self._joined(training, "whole")
        prompts = self._joined(training, "normal").join(exact, on="line", how="anti")
        both = [exact.with_columns(whole=pl.lit(True)), prompts.with_columns(whole=pl.lit(False))]
        yield from pl.concat(both).sort("line").select("line", "first", "whole").iter_rows()

    def _joined(self, training: Digests, name: str) -> pl.DataFrame:
        import polars as pl

        line = "grouped" if name == "group" else "line"
        mine = pl.DataFrame([self._column(line).alias("line"), self._column(name).alias("key")])
        other = pl.DataFrame([training._column(line).alias("first"), training._column(name).alias("key")])
        other = other.filter(pl.col("key").is_in(mine["key"].implode())).group_by("key").agg(pl.col("first").min())
        return mine.join(other, on="key").select("line", "first")

    def _column(self, name: str) -> pl.Series:
        import polars as pl
        import pyarrow as pa

        held = {
            "line": self._lines,
            "whole": self._whole,
            "prompt": self._prompts,
            "answer": self._answers,
            "normal": self._normal,
            "grouped": self._grouped,
            "group": self._groups,
        }[name]
        if held is None:
            raise ValueError("normalised prompts were not kept")
        kind = pa.uint32() if name in {"line", "grouped"} else pa.int64()
        column = pa.Array.from_buffers(kind, len(held), [None, pa.py_buffer(held.tobytes())])
        return pl.Series(name, pl.from_arrow(column))
