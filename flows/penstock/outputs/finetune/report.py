"""What was found, for programs (plain values for JSON) and for people (lines of text)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.outputs.finetune.check import CheckReport, FileReport
from penstock.outputs.finetune.faults import ERRORS, WARNINGS, Found, Problem
from penstock.outputs.finetune.statistics import Distribution, Training

_BAR = 30


def as_dict(report: CheckReport) -> dict[str, Any]:
    """Everything, in values that JSON has."""
    return {
        "ok": not report.errors,
        "errors": report.errors,
        "warnings": report.warnings,
        "model": report.rules.model,
        "context": report.rules.context,
        "problems": _problems(report.job),
        "training": _file(report.training, report.rules.context),
        "validation": _file(report.validation, report.rules.context) if report.validation else None,
        "cost": _cost(report.training_cost),
    }


def as_lines(report: CheckReport) -> Iterator[str]:
    """The same for a terminal."""
    for found, name in ((report.job, "job"), *_named(report)):
        yield from _told(found, name)
    for file in (report.training, report.validation):
        if file is not None:
            yield from _file_lines(file, report)
    cost = report.training_cost
    if cost is not None:
        yield from _cost_lines(cost, report)
    yield ""
    if report.errors:
        yield f"{counted(report.errors, 'error')}, {counted(report.warnings, 'warning')}: not fit for training."
    elif report.warnings:
        yield f"No errors, {counted(report.warnings, 'warning')}: fit for training."
    else:
        yield "No errors, no warnings: fit for training."


def _named(report: CheckReport) -> list[tuple[Found, str]]:
    files = [file for file in (report.training, report.validation) if file is not None]
    return [(file.found, str(file.path)) for file in files]


def _told(found: Found, name: str) -> Iterator[str]:
    for titles, severity in ((ERRORS, "error"), (WARNINGS, "warning")):
        for code, title in titles.items():
            if count := found.counts[code]:
                times = f"  {count:,} times" if count > 1 else ""
                yield f"{severity}  {code}: {title}{times}"
                for problem in found.kept[code]:
                    place = f"{name}:{problem.line}" if problem.line else name
                    row = "" if problem.row is None else f" (row {problem.row})"
                    yield f"  {place}:{row} {problem.message}"
                if count > len(found.kept[code]):
                    yield f"  … and {count - len(found.kept[code]):,} more"


def _problems(found: Found) -> list[dict[str, Any]]:
    return [
        {
            "code": code,
            "severity": severity,
            "title": titles[code],
            "count": count,
            "first": [_told_of(one) for one in found.kept[code]],
        }
        for titles, severity in ((ERRORS, "error"), (WARNINGS, "warning"))
        for code in titles
        if (count := found.counts[code])
    ]


def _told_of(problem: Problem) -> dict[str, Any]:
    row = {} if problem.row is None else {"row": problem.row}
    return {"line": problem.line, **row, "message": problem.message}


def _file(file: FileReport, context: int | None) -> dict[str, Any]:
    figures = file.statistics
    counted = figures.counter is not None
    return {
        "file": str(file.path),
        "bytes": file.bytes,
        "lines": file.lines,
        "examples": figures.examples,
        "format": file.form,
        "errors": file.found.errors,
        "warnings": file.found.warnings,
        "problems": _problems(file.found),
        "without_system": figures.without_system,
        "without_user": figures.without_user,
        "with_tools": figures.with_tools,
        "with_images": figures.with_images,
        "images": figures.images,
        "messages": figures.messages.figures(),
        "answer_characters": figures.answer_characters.figures(),
        "tokens": {**figures.tokens.figures(), "total": figures.tokens.total} if counted else None,
        "answer_tokens": {**figures.answer_tokens.figures(), "total": figures.answer_tokens.total} if counted else None,
        "tokens_exact": figures.exact,
        "estimated_tokens": {"tools": figures.tool_tokens, "images": figures.image_tokens} if counted else None,
        "truncated_examples": figures.tokens.above(context) if counted and context is not None else None,
    }


def _cost(cost: Training | None) -> dict[str, Any] | None:
    if cost is None:
        return None
    usd = cost.usd_per_epoch
    return {
        "epochs": cost.epochs,
        "billed_tokens_per_epoch": cost.tokens_per_epoch,
        "billed_tokens": cost.tokens,
        "usd_per_epoch": usd,
        "usd": None if usd is None else usd * cost.epochs,
        "price_as_of": cost.price.as_of if cost.price else None,
    }


def _file_lines(file: FileReport, report: CheckReport) -> Iterator[str]:
    figures = file.statistics
    yield ""
    yield f"{file.path}: {counted(figures.examples, 'example')} ({file.form or 'no format'}), {file.bytes:,} bytes"
    for number, what, tokens in (
        (figures.with_tools, "tools", figures.tool_tokens),
        (figures.with_images, f"{counted(figures.images, 'image')}", figures.image_tokens),
    ):
        if number:
            held = f"  {counted(number, 'example')} with {what}"
            yield f"{held}: about {tokens:,} of the tokens, an estimate" if figures.counter is not None else held
    if figures.counter is not None and not figures.counter.exact:
        yield f"  tokens are an estimate: the vocabulary of {report.rules.model} is not public"
    if file is report.training and report.rules.context is None:
        yield f"  how many tokens of an example {report.rules.model} trains on is not known: not checked"
    for name, distribution in figures.distributions():
        yield from _histogram(name, distribution)
    if cut := figures.tokens.above(report.rules.context):
        yield f"  {counted(cut, 'example')} would be cut at {report.rules.context:,} tokens"


def _histogram(name: str, distribution: Distribution) -> Iterator[str]:
    shown = ", ".join(f"{key} {value:,}" for key, value in distribution.figures().items())
    yield f"  {name}: {shown}"
    bars = distribution.bars()
    if len(bars) < 2:
        return
    most = max(count for _, _, count in bars)
    ends = [f"{low:,}" if low == high else f"{low:,}–{high:,}" for low, high, _ in bars]
    width = max(map(len, ends))
    for end, (_, _, count) in zip(ends, bars, strict=True):
        # Whatever is there is seen: a bar of one mark at the least.
        bar = "█" * max(count * _BAR // most, 1 if count else 0)
        yield f"    {end:>{width}}  {bar} {count:,}" if count else f"    {end:>{width}}"


def _cost_lines(cost: Training, report: CheckReport) -> Iterator[str]:
    yield ""
    yield f"training {report.rules.model}: {cost.tokens_per_epoch:,} billed tokens per epoch"
    usd = cost.usd_per_epoch
    if cost.price is None or usd is None:
        yield "  cost per epoch: unknown, for no price of this model's training is known"
    else:
        rate = f"${cost.price.usd_per_million:g} per million tokens, {cost.price.as_of}"
        yield f"  cost per epoch: {dollars(usd)} ({rate})"
    total = "" if usd is None else f", {dollars(usd * cost.epochs)}"
    yield f"  left to choose, the service takes {counted(cost.epochs, 'epoch')}: {cost.tokens:,} tokens{total}"


def counted(number: int, what: str) -> str:
    """``1 error``, ``2 errors``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def dollars(usd: float) -> str:
    """Dollars for people."""
    # A small file costs less than a cent, and that is not nothing.
    return f"${usd:,.2f}" if usd >= 1 or not usd else f"${usd:.2g}" if usd >= 0.0001 else "less than $0.0001"
