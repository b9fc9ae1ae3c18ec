"""Rows out. A new kind of output is one file and one line here."""

from __future__ import annotations

from penstock.kinds import Kinds
from penstock.outputs.base import Bill, Delivery, Desk, Origin, Output, Prepared, Published, Reaching

KINDS: Kinds[Output] = Kinds(
    "penstock.outputs",
    {
        "parquet": "parquet:Parquet",
        "jsonl": "jsonl:JsonLines",
        "csv": "csv:Csv",
        "delta": "delta:Delta",
        "lancedb": "lancedb:LanceDb",
        "summary": "summary:Summary",
        "finetune": "finetune.output:FineTune",
    },
)

__all__ = ["KINDS", "Bill", "Delivery", "Desk", "Origin", "Output", "Prepared", "Published", "Reaching"]
