"""Tables and facts for people: columns as wide as what stands in them, and times in UTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from penstock.cli.console import say

_RIGHT = frozenset({"size", "requests", "failed", "tokens"})


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, nothing: str) -> None:
    """A table, or `nothing` when there are no rows. No value is cut: ids are there to be copied."""
    if not rows:
        say(nothing)
        return
    texts = [[shown(value) for value in row] for row in rows]
    widths = [max(len(name), *(len(row[at]) for row in texts)) for at, name in enumerate(columns)]
    for row in [list(columns), *texts]:
        cells = [
            text.rjust(width) if name in _RIGHT else text.ljust(width)
            for text, width, name in zip(row, widths, columns, strict=True)
        ]
        say("  ".join(cells).rstrip())


def print_facts(facts: Mapping[str, object]) -> None:
    """One line a fact; those without a value are left out."""
    there = {name: shown(value) for name, value in facts.items() if value not in (None, "", [], {})}
    width = max(map(len, there), default=0)
    for name, value in there.items():
        say(f"{name:<{width}}  {value}")


def told_more(most: int, more: bool) -> None:
    """Say that a list goes on."""
    if more:
        say(f"… these are the first {most:,}; more with --most")


def moment(seconds: int | None, form: str = "%Y-%m-%d %H:%M") -> str:
    """Seconds since the epoch as ``2026-11-22 14:05``, in UTC; empty for None, 0 and what is no time."""
    if not seconds:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime(form)
    except (OverflowError, ValueError, OSError):
        return ""


def shown(value: object) -> str:
    """A value as one line without control characters: a name on a server must not command a terminal."""
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        value = ", ".join(f"{name}={one}" for name, one in value.items())
    elif isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    return "".join(mark if mark.isprintable() else " " for mark in str(value))
