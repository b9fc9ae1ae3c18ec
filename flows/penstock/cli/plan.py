"""``penstock plan``: what a run would do and cost, without sending anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from penstock.cli.console import clear_errors, print_json, say
from penstock.cli.options import FILE, FRESH, JSON, LIMIT, PARAM, PROVIDER, STATE, parse_params
from penstock.cli.summary import short
from penstock.values import format_duration, format_usd

if TYPE_CHECKING:
    from penstock.outputs import Bill
    from penstock.plan.model import Changes, Plan, StepEstimate


def register(app: typer.Typer) -> None:
    """Put the command into the command line."""
    app.command(epilog="Examples:  penstock plan pipeline.yaml  |  penstock plan pipeline.yaml --exact --json")(plan)


def plan(
    file: Path = FILE,
    param: list[str] = PARAM,
    provider: str | None = PROVIDER,
    limit: int | None = LIMIT,
    state: str | None = STATE,
    fresh: bool = FRESH,
    exact: bool = typer.Option(False, "--exact", help="Count the tokens of every row; above 20,000 rows a sample is."),
    as_json: bool = JSON,
) -> None:
    """Show what a run would do: partitions, requests, tokens, dollars, minutes, and what is already paid for.

    Sends nothing and needs no key.
    """
    with clear_errors(as_json=as_json):
        from penstock.execute.session import Request, plan_request
        from penstock.spec import load

        request = Request(file, parse_params(param), provider=provider, limit=limit, state=state, fresh=fresh)
        loaded = load(file, params=request.params, provider=provider)
        made = plan_request(request, loaded, every_row=exact)
        if as_json:
            print_json(as_dict(made))
            return
        for line in describe(made):
            say(line)
        if name := loaded.missing_key():
            say(f"\nnote: {name} is not set; a run needs it")


def as_dict(made: Plan) -> dict[str, Any]:
    """The plan for programs, without the pipeline itself."""
    import msgspec

    whole: dict[str, Any] = msgspec.to_builtins(made)
    return {name: value for name, value in whole.items() if name not in {"spec", "schema", "base_urls", "run_id"}}


def describe(made: Plan) -> Iterator[str]:
    """The plan for people."""
    total = sum(segment.finished + segment.begun + segment.missing for segment in made.reuse)
    tasks = f"{len(made.tasks):,} of {total:,} tasks to run"
    yield f"{made.pipeline}: {made.rows:,} rows in {len(made.partitions):,} partitions, {tasks}"
    if made.changes is not None:
        yield f"  {_changed(made.changes)}"
    yield ""
    steps = made.spec["steps"]
    for segment, reuse in zip(made.segments, made.reuse, strict=True):
        kinds = " → ".join(steps[place]["uses"] for place in segment.steps) or "copy"
        state = [f"{reuse.finished:,} finished", f"{reuse.begun:,} begun", f"{reuse.missing:,} to do"]
        yield f"  {segment.id:<16} {kinds:<32} {', '.join(state)}"
        if reuse.answered_rows:
            yield f"  {'':<16} {reuse.answered_rows:,} rows are paid for and not asked again"
        if reuse.reason:
            yield f"  {'':<16} {reuse.reason}"
    for one in made.estimates:
        exact = "" if one.exact else "about "
        yield ""
        yield f"  {one.step} asks {one.model}"
        yield f"    rows       {_count(one.rows, exact)}"
        if one.answered:
            yield f"    answered   {exact}{one.answered:,} more rows, whose answers were paid for before"
        yield f"    requests   {_count(one.requests, exact)}"
        yield f"    tokens     {_count(one.tokens, exact)}"
        about = exact if one.usd is not None else ""
        yield f"    dollars    {about}{format_usd(one.usd)} online, {format_usd(one.usd_batch)} by Batch API"
        yield f"    at limits  {_at_limits(made, one)}"
        if one.note:
            yield f"    note       {one.note}"
    for bill in made.bills:
        yield ""
        yield from described(bill)
    yield ""
    for target in made.targets:
        yield f"  publishes  {short(Path(target))}"
    for note in made.notes:
        yield f"  note       {note}"


def described(bill: Bill) -> Iterator[str]:
    """What an output will upload, start and cost."""
    when = {"ask": "after the run, if somebody at a terminal agrees", "always": "at the end of the run"}
    trains = f" and trains {bill.model}" if bill.job else "; no job is started"
    yield f"  {short(Path(bill.path))} is uploaded {when[bill.uploads]}{trains}"
    if bill.job:
        yield f"    epochs     {_epochs(bill)}"
        as_of = f" ({bill.price_as_of})" if bill.price_as_of else ""
        yield f"    price      {_price(bill)}{as_of}"
        yield f"    examples   {_within(bill, bill.examples, bill.examples, _number)}"
        yield f"    tokens     {_within(bill, bill.tokens_least, bill.tokens_most, _number)}"
        yield f"    dollars    {_within(bill, bill.usd_least, bill.usd_most, format_usd)}"
    for note in bill.notes:
        yield f"    note       {note}"


def _epochs(bill: Bill) -> str:
    if bill.epochs is not None:
        return f"{bill.epochs}"
    by_rule = f"; {bill.expected_epochs} by its published rule" if bill.expected_epochs is not None else ""
    return f"the service chooses{by_rule}"


def _price(bill: Bill) -> str:
    per_million = bill.usd_per_million
    return "unknown" if per_million is None else f"{format_usd(per_million)} for a million tokens trained on"


def _number(number: float) -> str:
    return f"{number:,}"


def _within(bill: Bill, least: float | None, most: float | None, shown: Callable[[float], str]) -> str:
    """A figure as far as it is known: exactly, about, at most or at least."""
    if most is None:
        return "unknown" if least is None else f"at least {shown(least)}"
    if bill.tokens_least is None:
        return f"at most {shown(most)}"
    return shown(most) if bill.exact else f"about {shown(most)}"


def _count(number: int | None, exact: str) -> str:
    return "unknown" if number is None else f"{exact}{number:,}"


def _changed(changes: Changes) -> str:
    since = f" since run {changes.since}" if changes.since else "; there is no complete run to compare with"
    counts = ((changes.new, "new"), (changes.changed, "changed"), (changes.unchanged, "unchanged"),
              (changes.deleted, "deleted"))  # fmt: skip
    return ", ".join(f"{count:,} {word}" for count, word in counts) + since


def _at_limits(made: Plan, one: StepEstimate) -> str:
    """How long a step takes at its limits, or which limits are missing to tell."""
    if one.minutes is not None:
        return format_duration(one.minutes * 60)
    if one.tokens is None:
        return "not known before those answers are there"
    step = next(step for step in made.spec["steps"] if (step["id"] or step["uses"]) == one.step)
    provider = made.spec["providers"].get(step["provider"]) or made.spec["provider"] or {}
    most = provider.get("limits", {}).get("concurrency")
    if most is None:
        return "no limits are given"
    return f"not known: {most:,} requests at a time at most, and no limits per minute are given"
