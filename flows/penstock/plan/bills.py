"""What outputs will upload, start and cost once the rows are there: told before the run, as far as it can be known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from penstock.outputs import Bill, Output, Reaching
from penstock.plan.estimate import Followed
from penstock.plan.model import Partition
from penstock.plan.sampled import Sampled
from penstock.spec import Spec
from penstock.spec.columns import columns_named
from penstock.spec.provider import OpenAISettings
from penstock.steps import SOURCE
from penstock.values import format_usd


def bills(
    rows: Followed, partitions: Sequence[Partition], targets: Sequence[str], *, first_rows: bool, counted: bool
) -> tuple[Bill, ...]:
    """One for each output that goes to a server.

    Args:
        partitions: all of them, since what is finished is brought there too.
        targets: where each output is published.
        first_rows: whether only the first rows are taken.
        counted: follow the rows to the outputs and count them; else only what the settings say is told.
    """
    spec = rows.spec
    followed: list[Sampled] = []
    if counted and spec.deliveries:
        needed = {name for output in spec.deliveries for name in columns_named(output)}
        needed |= {name for output in spec.deliveries for _, name in output.named_columns}
        followed = rows.through(partitions, needed)
    found: list[Bill] = []
    for output, target in zip(spec.outputs, targets, strict=True):
        reaching = _reaching(followed[_place(spec, output)]) if followed else None
        bill = output.at(Path(target)).foresee(reaching) if output.delivers else None
        if bill is not None:
            found.append(_at_server(spec, output, bill, first_rows=first_rows))
    return tuple(found)


def _place(spec: Spec, output: Output) -> int:
    """Which rows reach an output: 0 are those of the source, 1 those after the first step."""
    if output.reads is None:
        return len(spec.steps)
    names = [SOURCE, *(step.name for step in spec.steps)]
    return names.index(output.reads)


def _reaching(sampled: Sampled) -> Reaching:
    # Of a sample rows are only looked at, and not dropped: what a run does to the others is the same on average.
    exact = sampled.exact or (not sampled.whole and not sampled.note)
    return Reaching(sampled.split, sampled.weight, sampled.whole, exact, sampled.countless)


def _at_server(spec: Spec, output: Output, bill: Bill, *, first_rows: bool) -> Bill:
    """With what the server, the budget and a rehearsal make of it."""
    notes = list(bill.notes)
    real = isinstance(spec.provider_of(output), OpenAISettings)
    if first_rows and real:
        notes.append("only the first rows are taken, so nothing is uploaded and no job is started")
    if not real:
        notes.append("it goes to the sandbox, which charges nothing")
    budget = spec.budget.usd if spec.budget is not None else None
    if bill.job and budget is not None:
        notes.append(_of_budget(bill, budget))
    return replace(bill, notes=tuple(notes))


def _of_budget(bill: Bill, budget: float) -> str:
    limit = f"the budget of {format_usd(budget)}"
    if bill.usd_per_million is None:
        return f"{limit} cannot be kept for a job whose price is unknown, so none is started: give `price`"
    if bill.usd_least is not None and bill.usd_least > budget:
        return f"the job costs more than {limit}, so it is not started"
    return f"{limit} is for requests and for this job: one that costs more than is left is not started"
