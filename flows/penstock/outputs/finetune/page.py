"""What was found as one page for a browser: it asks no other host, and needs no JavaScript.

Training texts reach the page by messages and names of keys: everything is escaped by Jinja, and the page's own policy
forbids a browser to load or run anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from penstock.outputs.finetune.check import CheckReport, FileReport
from penstock.outputs.finetune.faults import TITLES, Found, Problem, Severity
from penstock.outputs.finetune.report import as_dict, counted, dollars
from penstock.outputs.finetune.statistics import Distribution

if TYPE_CHECKING:
    from jinja2 import Template

_BARS = 24
_HEIGHT = 120
_WIDTH = 400
_WIDEST = 60
_GAP = 3
_UNPRINTABLE = dict.fromkeys([*range(9), 11, 12, *range(14, 32), *range(127, 160), *range(55296, 57344)], "�")


@dataclass(frozen=True, slots=True)
class _Row:
    """Problems of one kind in one file, for the table."""

    severity: Severity
    code: str
    title: str
    count: int
    first: list[Problem]
    more: int


@dataclass(frozen=True, slots=True)
class _Bar:
    x: float
    y: float
    width: float
    height: float
    count: int
    range: str


@dataclass(frozen=True, slots=True)
class _Histogram:
    """Bars in the units of the picture."""

    title: str
    figures: dict[str, float | int]
    bars: list[_Bar]
    width: int = _WIDTH
    height: int = _HEIGHT


def as_page(report: CheckReport) -> str:
    """The text of the page, UTF-8."""
    reports = [("training", report.training), *([("validation", report.validation)] if report.validation else [])]
    value = as_dict(report)
    return _template().render(
        report=report,
        value=value,
        price=report.training_cost.price if report.training_cost else None,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        files=[
            {
                "set": name,
                "path": str(one.path),
                "facts": value[name],
                "problems": list(_rows(one.found)),
                "histograms": list(_histograms(one)),
            }
            for name, one in reports
        ],
        job=list(_rows(report.job)),
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_printable, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": lambda value: f"{value:,}", "dollars": dollars, "counted": counted}
    return environment.from_string(files("penstock.outputs.finetune").joinpath("page.html").read_text("utf-8"))


def _printable(value: Any) -> Any:
    """Marks that HTML must not hold, such as half a surrogate pair, as the mark for what cannot be shown."""
    return value.translate(_UNPRINTABLE) if type(value) is str else value


def _rows(found: Found) -> Iterator[_Row]:
    for code, title in TITLES.items():
        if count := found.counts[code]:
            kept = found.kept.get(code, [])
            severity = Problem(code, 0, "").severity
            yield _Row(severity, code, title, count, kept, max(0, count - len(kept)))


def _histograms(file: FileReport) -> Iterator[_Histogram]:
    for title, distribution in file.statistics.distributions():
        yield _histogram(title, distribution)


def _histogram(title: str, distribution: Distribution) -> _Histogram:
    found = distribution.bars(_BARS)
    most = max(count for _, _, count in found)
    width = min(_WIDEST, _WIDTH / len(found))
    bars = []
    for place, (low, high, count) in enumerate(found):
        # Whatever is there is seen: a bar of two pixels at the least.
        height = max(_HEIGHT * count / most, 2.0) if count else 0.0
        ends = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        x, y, wide = round(place * width, 1), round(_HEIGHT - height, 1), round(width - _GAP, 1)
        bars.append(_Bar(x, y, wide, round(height, 1), count, ends))
    return _Histogram(title, distribution.figures(), bars)
