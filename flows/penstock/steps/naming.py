"""Names of the columns that a step with several new columns adds."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.steps.base import Columns


def prefixed(output: str, name: str) -> str:
    """``picture_path`` for the column ``path`` of a step whose `output` is ``picture``."""
    return f"{output}_{name}" if output else name


def with_columns(given: Mapping[str, str | None], added: Mapping[str, str | None], example: str) -> Columns:
    """The columns before and those that are added.

    Args:
        example: a value of the step's `output` for the message.

    Raises:
        ValueError: one of them exists already.
    """
    taken = [repr(name) for name in added if name in given]
    if taken:
        what = f"the column {taken[0]} exists" if len(taken) == 1 else f"the columns {', '.join(taken)} exist"
        raise ValueError(f"{what} already; give the new ones another beginning, for example `output: {example}`")
    return {**given, **added}
