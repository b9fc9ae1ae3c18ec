"""The kinds of steps. A new kind is one file and one line here; schema, reference, checks and planner follow."""

from __future__ import annotations

from penstock.kinds import Kinds
from penstock.steps.base import SOURCE, ApiStep, BarrierStep, Columns, Step, TableStep, parents

KINDS: Kinds[Step] = Kinds(
    "penstock.steps",
    {
        "chat": "chat:Chat",
        "chunk": "chunk:Chunk",
        "dedupe": "dedupe:Dedupe",
        "derive": "derive:Derive",
        "embed": "embed:Embed",
        "explode": "explode:Explode",
        "filter": "filter:Filter",
        "image": "image:Image",
        "join": "join:Join",
        "moderate": "moderate:Moderate",
        "python": "python:Python",
        "redact": "redact:Redact",
        "sample": "sample:Sample",
        "sample_rows": "sample_rows:SampleRows",
        "select": "select:Select",
        "speak": "speak:Speak",
        "split": "split:Split",
        "split_exact": "split_exact:SplitExact",
        "transcribe": "transcribe:Transcribe",
    },
)

__all__ = ["KINDS", "SOURCE", "ApiStep", "BarrierStep", "Columns", "Step", "TableStep", "parents"]
