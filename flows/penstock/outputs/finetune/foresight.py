"""What a `finetune` output will upload, start and cost, from the rows that are known before a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from penstock.outputs.base import Bill, Reaching
from penstock.outputs.finetune.collect import in_memory
from penstock.outputs.finetune.example import example_of
from penstock.outputs.finetune.examples import Examples, Shape
from penstock.outputs.finetune.limits import TrainingPrice, default_epochs, listed_price
from penstock.outputs.finetune.lock import Lock
from penstock.outputs.finetune.recipe import Recipe
from penstock.outputs.finetune.statistics import Statistics
from penstock.tokens import counter

if TYPE_CHECKING:
    import polars as pl

_TRAIN = "train"
_MANY = 25_000
"""Examples above which the service's published rule is a single epoch."""


def foresee(recipe: Recipe, rows: Reaching | None) -> Bill:
    """What is uploaded, and what a job on these rows comes to."""
    bill = Bill(str(recipe.target), recipe.upload, model=recipe.shape.rules.model, notes=tuple(_before(recipe)))
    if recipe.job is None:
        return bill
    given = recipe.job.hyperparameters.n_epochs
    epochs = None if given == "auto" else given
    model = recipe.shape.rules.model
    price = listed_price(model) if recipe.price is None else TrainingPrice(recipe.price, "as the pipeline says")
    bill = replace(bill, job=True, epochs=epochs, expected_epochs=epochs)
    if price is not None:
        bill = replace(
            bill, usd_per_million=price.usd_per_million, price_as_of=price.as_of.replace("--price", "`price`")
        )
    return bill if rows is None else _counted(bill, recipe, rows, price)


def _before(recipe: Recipe) -> list[str]:
    jobs = {
        entry["id"]
        for server in Lock.of(recipe.target).servers.values()
        for entry in server["jobs"].values()
        if "id" in entry
    }
    count = f"{len(jobs):,} job{'s' if len(jobs) > 1 else ''}"
    return [f"the lock file knows {count} of before: the same rows and settings start no other one"] if jobs else []


@dataclass(frozen=True, slots=True)
class _Known:
    """Of the examples that can be made already: how many, and their billed tokens; and what is not known of the rest.

    Attributes:
        dropped: why some may not be trained on; empty where all will be.
        more: why there may be more; empty where these are all.
    """

    examples: int
    tokens: int
    dropped: str
    more: str


def _counted(bill: Bill, recipe: Recipe, rows: Reaching, price: TrainingPrice | None) -> Bill:
    known = _known(recipe, rows)
    epochs = bill.epochs
    expected = epochs if epochs is not None else None if known.more else default_epochs(known.examples)
    notes = [*bill.notes, *(why for why in (known.dropped, known.more) if why)]
    if not rows.whole:
        notes.append("from a sample of the rows; --exact counts all")
    # What is not known is unknown and never nothing; of more examples the service may choose a single epoch.
    least = None if known.dropped else known.tokens * (expected or 1) or None
    most = None if known.more else round(known.tokens * _most_epochs(epochs, known))
    return replace(
        bill,
        expected_epochs=expected,
        examples=None if known.more else known.examples,
        tokens_least=least,
        tokens_most=most,
        usd_least=None if price is None or least is None else price.usd(least),
        usd_most=None if price is None or most is None else price.usd(most),
        exact=rows.whole and not known.dropped and not known.more,
        notes=tuple(notes),
    )


def _most_epochs(epochs: int | None, known: _Known) -> float:
    """How often all examples are trained on, at most: of fewer examples the service may choose more epochs."""
    if epochs is not None or not known.dropped:
        return epochs if epochs is not None else default_epochs(known.examples)
    fewer = (count * default_epochs(count) for count in range(1, min(known.examples, _MANY) + 1))
    return max(known.examples, *fewer, 0) / max(1, known.examples)


def _known(recipe: Recipe, rows: Reaching) -> _Known:
    shape, conversation = recipe.shape, recipe.shape.conversation
    dropped = [] if rows.exact else ["at most: what the steps will drop is not known yet"]
    more = ["how many rows there will be depends on answers"] if rows.countless else []
    if shape.set_column is not None and len(rows.split([shape.set_column])[1]):
        shape = replace(shape, set_column=None)
        dropped.append(f"at most: which rows are in `{_TRAIN}` is not known yet")
    known, waiting = rows.split(recipe.columns - {recipe.shape.set_column, *recipe.group, recipe.flagged})
    if len(waiting):
        count = round(len(waiting) * rows.weight)
        more.append(f"what {count:,} rows teach depends on answers, so at least what is known is told")
    if conversation is not None and (len(waiting) or not rows.whole):
        return _Known(0, 0, "", "how long the conversations are is only known when all rows are there")
    examples, tokens = _trained_on(shape, known.select(sorted(recipe.columns & set(known.columns))))
    return _Known(round(examples * rows.weight), round(tokens * rows.weight), "; ".join(dropped), "; ".join(more))


def _trained_on(shape: Shape, frame: pl.DataFrame) -> tuple[int, int]:
    """How many of the examples that these rows make are trained on, and their tokens."""
    if frame.is_empty():
        return 0, 0
    model = shape.rules.model
    counted = Statistics(counter(model), model)
    examples = Examples(shape, [])
    for line in examples.lines(iter([in_memory(frame, shape.conversation)])):
        if line.set == _TRAIN and (example := example_of(msgspec.json.decode(line.text))) is not None:
            counted.counted(example)
    return counted.examples, counted.tokens.clipped(shape.rules.context)
