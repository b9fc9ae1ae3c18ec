"""What a `finetune` output is to be made of: its settings, worked out and without the pipeline language around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock.expressions import sql_columns, template_columns
from penstock.outputs.finetune.examples import Shape
from penstock.outputs.finetune.settings import ExampleMessage, Job


@dataclass(frozen=True, slots=True)
class Recipe:
    """One folder.

    Attributes:
        target: where it stands once it is published.
        upload: ``never``, ``ask`` or ``always``.
        set_names: in their order.
        price: dollars for a million tokens trained on; None for the listed one.
        columns: all that are used, but for keys.
        group: the columns that name a group, which belongs into one set; empty when none is named.
        flagged: the column with the categories a row was flagged for.
    """

    target: Path
    upload: str
    job: Job | None
    set_names: Sequence[str]
    shape: Shape
    price: float | None
    columns: frozenset[str]
    group: Sequence[str] = ()
    flagged: str | None = None

    @property
    def method(self) -> str:
        """How the model learns."""
        return "supervised" if self.shape.preference is None else "dpo"


def columns_of(shape: Shape, messages: Sequence[ExampleMessage]) -> Iterator[str]:
    """The columns that templates, conditions and settings name; some of them several times."""
    for message in messages:
        templates = [part.text if part.text is not None else part.image or "" for part in message.parts]
        for text in [*templates, message.tool_call_id or ""]:
            yield from template_columns(text)
        if message.when is not None:
            yield from sql_columns(message.when)
        yield from (one for one in (message.tool_calls, message.weight) if isinstance(one, str))
    for text in shape.preference or ():
        yield from template_columns(text)
    if shape.conversation is not None:
        yield from shape.conversation.columns
        yield from [shape.conversation.order_by] if shape.conversation.order_by else []
    yield from (one for one in (shape.tools_column, shape.set_column) if one)
