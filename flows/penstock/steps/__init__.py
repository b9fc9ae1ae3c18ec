"""The kinds of steps. A new kind is one file and one line here; schema, reference, checks and planner follow."""

from __future__ import annotations

from penstock.steps.base import SOURCE, ApiStep, BarrierStep, Columns, Step, TableStep, parents
from penstock.steps.derive import Derive
from penstock.steps.embed import Embed
from penstock.steps.filter import Filter
from penstock.steps.moderate import Moderate
from penstock.steps.select import Select

KINDS: dict[str, type[Step]] = {kind.kind: kind for kind in (Derive, Embed, Filter, Moderate, Select)}

__all__ = ["KINDS", "SOURCE", "ApiStep", "BarrierStep", "Columns", "Step", "TableStep", "parents"]
