"""What a run will send and cost: requests, tokens, dollars and minutes, from the rows or a sample of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from msgspec.structs import replace as changed

from penstock.engine.packing import packs
from penstock.engine.prices import is_priced, price, usd_of
from penstock.expressions import sql_columns
from penstock.items import Item, Usage
from penstock.plan.answered import Paid
from penstock.plan.model import Partition, StepEstimate
from penstock.plan.sampled import Sampled, after, kept, named_later, take_sample
from penstock.sources import Source
from penstock.spec.columns import columns_named
from penstock.spec.model import Spec
from penstock.steps import ApiStep, parents
from penstock.steps.base import PARTITION
from penstock.tokens import counter

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Followed:
    """Follows rows through all steps, as far as they can be known.

    Attributes:
        paid: what was answered before.
        every_row: look at every row, however many there are.
    """

    spec: Spec
    source: Source
    schema: dict[str, pl.DataType]
    paid: Paid
    every_row: bool = False

    def through(
        self, partitions: Sequence[Partition], needed: Collection[str] = (), *, all_partitions: bool = True
    ) -> list[Sampled]:
        """The rows of the source in these partitions, and after each step.

        Args:
            needed: columns that somebody looks at besides the steps.
            all_partitions: whether no other partition is done already, which a step that looks at all rows would see.
        """
        steps = self.spec.steps
        sampled = take_sample(self.source, self.schema, partitions, every_row=self.every_row)
        found = [replace(sampled, alone=all_partitions)]
        for place, (step, parent) in enumerate(zip(steps, parents(steps), strict=True)):
            later = named_later(steps[place + 1 :])
            reads = None if later is None else later.union(needed)
            found.append(after(step, found[parent + 1], self.spec.source_keys, self.paid, reads))
        return found


def estimate(
    rows: Followed, partitions: Sequence[Partition], *, all_partitions: bool = True
) -> tuple[StepEstimate, ...]:
    """One estimate per API step for the partitions given, which are those still to do.

    Args:
        all_partitions: whether no other partition is done already, which a step that looks at all rows would see too.
    """
    spec = rows.spec
    if not spec.api_steps or not partitions:
        return ()
    followed = rows.through(partitions, all_partitions=all_partitions)
    return tuple(
        _estimated(spec, step, followed[parent + 1], rows.paid)
        for step, parent in zip(spec.steps, parents(spec.steps), strict=True)
        if isinstance(step, ApiStep)
    )


def _estimated(spec: Spec, step: ApiStep, sampled: Sampled, paid: Paid) -> StepEstimate:
    if step.when is not None:
        sampled = kept(sampled, step.when, f"at most: the `when` of {step.name!r} depends on answers")
    known, waiting = sampled.split(columns_named(step) - set(sql_columns(step.when or "true")))
    told = _told(spec, step, replace(sampled, frame=known), paid)
    if waiting.is_empty() and not sampled.countless:
        return told
    return _with_unknown(spec, step, told, round(len(waiting) * sampled.weight), sampled)


def _with_unknown(spec: Spec, step: ApiStep, told: StepEstimate, count: int, sampled: Sampled) -> StepEstimate:
    """The estimate with so many more rows, of which nobody knows what they will ask before others are answered."""
    alone = step.packing.max_items == 1
    alike = _measured(spec, step, [""] * count, 1.0) if step.costs_alike else None
    usd = told.usd + alike if alike is not None and told.usd is not None else None
    what = f"what {count:,} of these rows ask depends on answers" if count else sampled.note
    more = "" if usd is not None and not sampled.countless else ", so tokens and dollars are unknown"
    return changed(
        told,
        rows=None if sampled.countless else (told.rows or 0) + count,
        requests=(told.requests or 0) + count if alone and not sampled.countless else None,
        tokens=None,
        exact=False,
        usd=None if sampled.countless else usd,
        usd_batch=None,
        minutes=None,
        note="; ".join(note for note in (what + more, sampled.note if count else "") if note),
    )


def _told(spec: Spec, step: ApiStep, sampled: Sampled, paid: Paid) -> StepEstimate:
    """Of rows of which it is known what they ask."""
    asking = _asking(step, sampled.frame)
    known = paid.of(step, {piece for _, pieces in asking for piece in pieces})
    waiting = [(place, [piece for piece in pieces if piece not in known]) for place, pieces in asking]
    rows = sum(1 for _, pieces in waiting if pieces)
    # Copies of a text are sent once per partition.
    distinct = dict.fromkeys((place, piece) for place, pieces in waiting for piece in pieces)
    tokens_of = counter(step.model)
    asked = [text for _, text in distinct]
    counts = step.tokens(asked, tokens_of.count_many)
    longest = step.packing.max_item_tokens if tokens_of.exact else None
    kept = [(place, count) for (place, _), count in zip(distinct, counts, strict=True) if count <= (longest or count)]
    tokens = round(sum(count for _, count in kept) * sampled.weight)
    requests = _requests(spec, step, kept, sampled)
    measured = _measured(spec, step, asked, sampled.weight)
    answers = None if step.answer_tokens is None else round(step.answer_tokens * len(kept) * sampled.weight)
    usd, usd_batch = (0.0, 0.0) if not asked else (measured, None)
    if asked and measured is None:
        usd, usd_batch = (_usd(spec, step, tokens, answers, batch=batch) for batch in (False, True))
    notes = [] if tokens_of.exact or not asked else ["tokens are estimated: the model's vocabulary is not known"]
    notes += [] if sampled.whole else [f"from a sample of {len(sampled.frame):,} rows"]
    notes += [sampled.note] if sampled.note else []
    notes += (
        ["dollars without the answers, whose length is not known"]
        if answers is None and asked and measured is None
        else []
    )
    notes += [f"at most: answers of {step.answer_tokens:,} tokens each are counted"] if answers else []
    return StepEstimate(
        step=step.name,
        model=step.model,
        rows=round(rows * sampled.weight),
        requests=requests,
        tokens=tokens,
        exact=(tokens_of.exact or not asked) and sampled.exact and not answers,
        usd=usd,
        usd_batch=usd_batch,
        minutes=_minutes(spec, step, requests, tokens),
        note="; ".join(notes),
        priced=is_priced(step.model, spec.prices_of(step)),
        answered=round((len(asking) - rows) * sampled.weight),
    )


def _asking(step: ApiStep, frame: pl.DataFrame) -> list[tuple[int, list[str]]]:
    """Of each row that asks anything its partition, and what it asks."""
    found: list[tuple[int, list[str]]] = []
    for place, payload in zip(frame[PARTITION].to_list(), step.payloads(frame).to_list(), strict=True):
        pieces = [payload] if isinstance(payload, str) else payload or []
        if pieces and not any(step.is_empty(piece) for piece in pieces):
            found.append((place, pieces))
    return found


def _measured(spec: Spec, step: ApiStep, payloads: Sequence[str], weight: float) -> float | None:
    """Dollars of what is paid by something else than tokens; None where tokens are what is paid."""
    expected = [step.expected(payload) for payload in payloads]
    dollars = [usd_of(usage, step.model, spec.prices_of(step)) for usage in expected if usage is not None]
    known = [one for one in dollars if one is not None]
    return sum(known) * weight if known and len(known) == len(payloads) else None


def _usd(spec: Spec, step: ApiStep, tokens: int, answers: int | None, *, batch: bool = False) -> float | None:
    """Dollars of so many tokens, of which `answers` are the model's own, where their number is known."""
    usage = Usage(model=step.model, prompt_tokens=tokens - (answers or 0), completion_tokens=answers or 0)
    return price(step.model, usage, overrides=spec.prices_of(step), batch=batch)


def _requests(spec: Spec, step: ApiStep, kept: Sequence[tuple[int, int]], sampled: Sampled) -> int:
    """How many requests the engine makes of the texts, given as partition and tokens: a request is of one partition."""
    per_minute = spec.provider_of(step).limits.tokens_per_minute
    if sampled.whole:
        by_partition = groupby(kept, key=itemgetter(0))
        items = ([Item(0, None, count) for _, count in group] for _, group in by_partition)
        return sum(1 for group in items for _ in packs(group, step.packing, max_tokens=per_minute))
    of_one = len(kept) * sampled.weight / sampled.partitions
    tokens = sum(count for _, count in kept) * sampled.weight / sampled.partitions
    most = min(limit for limit in (step.packing.max_request_tokens, per_minute, math.inf) if limit is not None)
    return math.ceil(max(of_one / step.packing.max_items, tokens / most)) * sampled.partitions


def _minutes(spec: Spec, step: ApiStep, requests: int, tokens: int) -> float | None:
    """At the provider's limits; None when it names none."""
    limits = spec.provider_of(step).limits
    times = [
        need / limit
        for need, limit in ((requests, limits.requests_per_minute), (tokens, limits.tokens_per_minute))
        if limit
    ]
    return max(times) if times else None
