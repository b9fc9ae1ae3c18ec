"""Rows out. A new kind of output is one file and one line here."""

from __future__ import annotations

from penstock.outputs.base import Origin, Output, Published
from penstock.outputs.csv import Csv
from penstock.outputs.delta import Delta
from penstock.outputs.jsonl import JsonLines
from penstock.outputs.lancedb import LanceDb
from penstock.outputs.parquet import Parquet

KINDS: dict[str, type[Output]] = {kind.kind: kind for kind in (Parquet, JsonLines, Csv, Delta, LanceDb)}

__all__ = ["KINDS", "Csv", "Delta", "JsonLines", "LanceDb", "Origin", "Output", "Parquet", "Published"]
