"""The kinds of steps. A new kind is one file and one line here; schema, reference, checks and planner follow."""

from __future__ import annotations

from penstock.steps.base import SOURCE, ApiStep, BarrierStep, Columns, Step, TableStep, parents
from penstock.steps.chat import Chat
from penstock.steps.chunk import Chunk
from penstock.steps.dedupe import Dedupe
from penstock.steps.derive import Derive
from penstock.steps.embed import Embed
from penstock.steps.explode import Explode
from penstock.steps.filter import Filter
from penstock.steps.image import Image
from penstock.steps.join import Join
from penstock.steps.moderate import Moderate
from penstock.steps.python import Python
from penstock.steps.redact import Redact
from penstock.steps.sample import Sample
from penstock.steps.sample_rows import SampleRows
from penstock.steps.select import Select
from penstock.steps.speak import Speak
from penstock.steps.split import Split
from penstock.steps.split_exact import SplitExact
from penstock.steps.transcribe import Transcribe

KINDS: dict[str, type[Step]] = {
    kind.kind: kind
    for kind in (
        Chat,
        Chunk,
        Dedupe,
        Derive,
        Embed,
        Explode,
        Filter,
        Image,
        Join,
        Moderate,
        Python,
        Redact,
        Sample,
        SampleRows,
        Select,
        Speak,
        Split,
        SplitExact,
        Transcribe,
    )
}

__all__ = ["KINDS", "SOURCE", "ApiStep", "BarrierStep", "Columns", "Step", "TableStep", "parents"]
