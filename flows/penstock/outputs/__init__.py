"""Rows out. A new kind of output is one file and one line here."""

from __future__ import annotations

from penstock.outputs.base import Output, Published
from penstock.outputs.parquet import Parquet

KINDS: dict[str, type[Output]] = {kind.kind: kind for kind in (Parquet,)}

__all__ = ["KINDS", "Output", "Parquet", "Published"]
