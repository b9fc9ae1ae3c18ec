"""Finding the texts that are alike among very many, without comparing each with each: locality-sensitive hashing.

Sketches are cut into bands (Leskovec, Rajaraman, Ullman: Mining of Massive Datasets, 3.4). Texts that agree in a whole
band are candidates, which are then compared by their whole sketches. Pairs that are alike enough join their clusters,
so that a chain of them is one cluster.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from penstock.texts.minhash import band_key, similarities

if TYPE_CHECKING:
    import polars as pl

_RECALL = 0.98
"""Of pairs exactly as alike as the threshold, the share that should agree in a band; of those more alike it is more."""
_FEWEST, _MOST = 3, 16
_SMALL = 32
"""In buckets of up to so many texts all pairs are compared."""
_ROUNDS = 64
"""In a larger bucket so many texts, one after the other, are compared with all that are like none before them."""
_PAIRS_AT_ONCE = 500_000


def band_rows(threshold: float, bins: int) -> int:
    """How many bytes of a sketch make a band: as many as still find nearly all pairs at the threshold."""
    found = [rows for rows in range(_FEWEST, _MOST + 1) if 1 - (1 - threshold**rows) ** (bins // rows) >= _RECALL]
    return max(found, default=_FEWEST)


def near_clusters(sketch: pl.DataFrame, block: pl.Series | None, texts: pl.Series, threshold: float) -> pl.Series:
    """Of each text the number of its cluster, which is the place in `texts` of one of the cluster's texts.

    What is a cluster depends on the order of `texts` only where more than 32 of them agree in a band.

    Args:
        sketch: the words of the sketches of all rows.
        block: UInt64 of all rows; only texts with the same one are compared.
        texts: UInt32, the rows whose sketches are compared.
        threshold: how alike texts must be, 0 to 1.
    """
    import polars as pl

    search = _Search(sketch, block, texts, threshold)
    bins = 8 * sketch.width
    rows = band_rows(threshold, bins)
    frame = sketch if block is None else sketch.with_columns(block.alias("block"))
    for first in range(0, bins - rows + 1, rows):
        key = band_key(sketch.columns, first, rows)
        key = key if block is None else key ^ pl.col("block")
        keys = frame.select(key.alias("key")).to_series().gather(texts).to_frame()
        keys = keys.with_columns(pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"))
        search.look_into(keys.filter(pl.col("key").is_duplicated()))
    return search.clusters.numbers()


def nearest(sketch: pl.DataFrame, others: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """Of each row of `sketch` that is like one of `others` the most alike that was found.

    Where many of `others` agree in a band, the first 32 of them are looked at.

    Args:
        sketch: the words of sketches.
        others: those of others, by the same names.
        threshold: how alike they must be, 0 to 1.

    Returns:
        `row` and `other` (UInt32, the places), `similarity` (Float64); in the order of `row`.
    """
    import polars as pl

    bins = 8 * sketch.width
    rows = band_rows(threshold, bins)
    both = pl.concat([sketch, others])
    found = pl.DataFrame(schema={"row": pl.UInt32, "other": pl.UInt32, "similarity": pl.Float64})
    for first in range(0, bins - rows + 1, rows):
        key = band_key(sketch.columns, first, rows).alias("key")
        mine = sketch.select(key, pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"))
        theirs = others.select(key, pl.int_range(pl.len(), dtype=pl.UInt32).alias("other"))
        theirs = theirs.filter(pl.col("key").is_in(mine["key"].unique().implode())).group_by("key").head(_SMALL)
        pairs = mine.join(theirs, on="key").select("row", "other").join(found, on=["row", "other"], how="anti")
        alike = similarities(both, pairs["row"], pairs["other"] + len(sketch))
        pairs = pairs.with_columns(alike).filter(pl.col("similarity") >= threshold)
        best = pl.concat([found, pairs]).sort("row", -pl.col("similarity"), "other")
        found = best.unique("row", keep="first", maintain_order=True)
    return found


class _Search:
    """The clusters found so far, and the buckets of one band after the other."""

    def __init__(self, sketch: pl.DataFrame, block: pl.Series | None, texts: pl.Series, threshold: float) -> None:
        self.clusters = _Clusters(len(texts))
        self._sketch = sketch
        self._block = block
        self._texts = texts
        self._threshold = threshold

    def look_into(self, buckets: pl.DataFrame) -> None:
        """Compare rows that share a `key`, except where they are in one cluster already."""
        import polars as pl

        cluster = pl.col("cluster")
        open_buckets = (
            buckets.with_columns(self.clusters.numbers().gather(buckets["row"]).alias("cluster"))
            .filter((cluster.min() != cluster.max()).over("key"))
            .with_columns(pl.len().over("key").alias("size"))
            .sort("key", "row")
        )
        self._small(open_buckets.filter(pl.col("size") <= _SMALL))
        self._large(open_buckets.filter(pl.col("size") > _SMALL).select("key", "row"))

    def _small(self, buckets: pl.DataFrame) -> None:
        import polars as pl

        # A bucket's rows all stand in the piece in which its first row stands.
        piece = (pl.col("size").cast(pl.UInt64).cum_sum() // _PAIRS_AT_ONCE).first().over("key")
        for rows in buckets.with_columns(piece.alias("piece")).partition_by("piece"):
            rows = rows.select("key", "row", "cluster")  # noqa: PLW2901  # the columns that matter
            pairs = rows.join(rows, on="key").filter(
                pl.col("row") < pl.col("row_right"), pl.col("cluster") != pl.col("cluster_right")
            )
            alike = self._alike(pairs["row"], pairs["row_right"])
            self.clusters.join(pairs["row"].filter(alike), pairs["row_right"].filter(alike))

    def _large(self, buckets: pl.DataFrame) -> None:
        import polars as pl

        for _ in range(_ROUNDS):
            led = buckets.with_columns(pl.col("row").first().over("key").alias("leader"))
            led = led.filter(pl.col("row") != pl.col("leader"))
            if led.is_empty():
                return
            alike = self._alike(led["leader"], led["row"])
            self.clusters.join(led["leader"].filter(alike), led["row"].filter(alike))
            buckets = led.filter(~alike).select("key", "row")

    def _alike(self, left: pl.Series, right: pl.Series) -> pl.Series:
        left, right = self._texts.gather(left), self._texts.gather(right)
        alike = similarities(self._sketch, left, right) >= self._threshold
        if self._block is not None:
            # Two blocks can give one key by chance.
            alike = alike & (self._block.gather(left) == self._block.gather(right))
        return alike


class _Clusters:
    """Sets that are joined (union-find with halved paths: Tarjan, van Leeuwen, J. ACM 1984)."""

    def __init__(self, count: int) -> None:
        self._above = array("I", range(count))
        self._joined: set[int] = set()

    def join(self, left: pl.Series, right: pl.Series) -> None:
        """Make one set of those of each pair. The number of a set is its smallest member."""
        for one, other in zip(left.to_list(), right.to_list(), strict=True):
            low, high = sorted((self._top(one), self._top(other)))
            if low != high:
                self._above[high] = low
                self._joined.add(high)

    def numbers(self) -> pl.Series:
        """Of each member the number of its set."""
        import polars as pl
        import pyarrow as pa

        for member in self._joined:
            self._above[member] = self._top(member)
        return pl.Series(pa.Array.from_buffers(pa.uint32(), len(self._above), [None, pa.py_buffer(bytes(self._above))]))

    def _top(self, member: int) -> int:
        above = self._above
        while above[member] != member:
            above[member] = member = above[above[member]]
        return member
