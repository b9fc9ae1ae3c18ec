"""The kinds of steps. A new kind is one file and one line here; schema, reference, checks and planner follow."""

from __future__ import annotations

from penstock.steps.base import ApiStep, Columns, Step, TableStep
from penstock.steps.chat import Chat
from penstock.steps.derive import Derive
from penstock.steps.embed import Embed
from penstock.steps.filter import Filter
from penstock.steps.moderate import Moderate
from penstock.steps.select import Select

KINDS: dict[str, type[Step]] = {kind.kind: kind for kind in (Chat, Derive, Embed, Filter, Moderate, Select)}

__all__ = [
    "KINDS",
    "ApiStep",
    "Chat",
    "Columns",
    "Derive",
    "Embed",
    "Filter",
    "Moderate",
    "Select",
    "Step",
    "TableStep",
]
