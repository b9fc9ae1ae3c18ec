"""`from:`: which rows a step or an output takes, and that no step's rows are taken by nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.spec.columns import PlacedStep
from penstock.spec.positions import Document
from penstock.spec.positions import Path as Place
from penstock.spec.references import did_you_mean
from penstock.steps import SOURCE, Columns


def check_branches(document: Document, steps: Sequence[PlacedStep], outputs: Sequence[tuple[Place, Any]]) -> bool:
    """Add a mistake for each `from` that names no earlier step, and each step whose rows go nowhere; whether none."""
    before = len(document.problems)
    known = [SOURCE]
    later = [placed.step.name for placed in steps if placed.step is not None]
    taken: set[str] = set()
    last = SOURCE
    for placed in steps:
        if placed.step is None:
            return False
        taken.add(_read_by(document, placed.path, placed.step.reads, known, later) or last)
        if placed.step.name == SOURCE:
            node = document.find((*placed.path, "id"))[1]
            document.add(
                node.span, f"`{SOURCE}` is what `from` calls the rows of the source", "give the step another id"
            )
        last = placed.step.name
        known.append(last)
    for path, output in outputs:
        taken.add(_read_by(document, path, output.reads, known, later) or last)
    if outputs:
        for placed in steps:
            if placed.step is not None and placed.step.name not in taken:
                node = document.find((*placed.path, "uses"))[1]
                name = placed.step.name
                document.add(
                    node.span,
                    f"nothing takes the rows of `{name}`: no step after it, and no output",
                    f"write `from: {name}` in an output or a step, or leave the step out",
                )
    return len(document.problems) == before


def _read_by(
    document: Document, path: Place, reads: str | None, known: Sequence[str], later: Sequence[str]
) -> str | None:
    if reads is None or reads in known:
        return reads
    node = document.find((*path, "from"))[1]
    if reads in later:
        document.add(node.span, f"the step `{reads}` stands below; rows only come from steps above", "move it up")
    else:
        message = f"there is no step `{reads}` above; there are: {', '.join(known)}"
        document.add(node.span, message, did_you_mean(reads, list(known)))
    return reads


def columns_at(columns: Sequence[Columns], steps: Sequence[PlacedStep], reads: str | None) -> Columns:
    """The columns of the rows that `from: reads` means; `columns` are those of the source and after each step."""
    if reads is None:
        return columns[-1]
    for place, placed in enumerate(steps):
        if placed.step is not None and placed.step.name == reads:
            return columns[place + 1]
    return columns[0]
