"""The kinds of steps. A new kind is one file and one line here; schema, reference, checks and planner follow."""

from __future__ import annotations

from penstock.steps.base import ApiStep, Columns, Step, TableStep
from penstock.steps.chat import Chat
from penstock.steps.chunk import Chunk
from penstock.steps.derive import Derive
from penstock.steps.embed import Embed
from penstock.steps.explode import Explode
from penstock.steps.filter import Filter
from penstock.steps.moderate import Moderate
from penstock.steps.python import Python
from penstock.steps.redact import Redact
from penstock.steps.sample import Sample
from penstock.steps.select import Select
from penstock.steps.split import Split

KINDS: dict[str, type[Step]] = {
    kind.kind: kind
    for kind in (
        Chat,
        Chunk,
        Derive,
        Embed,
        Explode,
        Filter,
        Moderate,
        Python,
        Redact,
        Sample,
        Select,
        Split,
    )
}

__all__ = [
    "KINDS",
    "ApiStep",
    "Chat",
    "Chunk",
    "Columns",
    "Derive",
    "Embed",
    "Explode",
    "Filter",
    "Moderate",
    "Python",
    "Redact",
    "Sample",
    "Select",
    "Split",
    "Step",
    "TableStep",
]
