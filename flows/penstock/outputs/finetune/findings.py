"""What the check finds in the files of an output, each problem with its line and the rows that made the line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.outputs.finetune.check import CheckReport, FileReport, check_files
from penstock.outputs.finetune.limits import TrainingPrice, listed_price
from penstock.outputs.finetune.origin import Origin
from penstock.outputs.finetune.recipe import Recipe
from penstock.outputs.finetune.report import as_dict, as_lines
from penstock.outputs.finetune.sets import REPORT, REPORT_TEXT, SetRows

_MOST = 1000
"""Problems of each kind that a report holds; all are counted."""
_FIRST_ERRORS = 5


@dataclass(frozen=True, slots=True)
class Findings:
    """The check in short.

    Attributes:
        cost: ``epochs`` that the service chooses, ``tokens_per_epoch``, ``usd_per_epoch``; None when not counted.
    """

    errors: int
    warnings: int
    first_errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cost: dict[str, Any] | None = None


def write_report(recipe: Recipe, sets: Sequence[Mapping[str, Any]], folder: Path) -> Findings:
    """Check the files of `train` and `validation`, and write ``report.json`` and ``report.txt`` beside them.

    Raises:
        InputError: a file cannot be read.
    """
    files = {entry["set"]: entry for entry in sets}
    told = [f"{one['file']}: {_counted(one['lines'], 'example')} of {_counted(one['rows'], 'row')}" for one in sets]
    if "train" not in files:
        problem = "there is no example to train on"
        _write(folder, {"problems": [{"severity": "error", "message": problem}]}, [problem])
        return Findings(1, 0, [problem], [*told, problem])
    own = None if recipe.price is None else TrainingPrice(recipe.price, "as the pipeline says")
    origins = {
        name: _origin(recipe, folder / files[name]["rows_file"]) for name in ("train", "validation") if name in files
    }
    report = check_files(
        folder / files["train"]["file"],
        folder / files["validation"]["file"] if "validation" in files else None,
        rules=recipe.shape.rules,
        suffix=recipe.job.suffix if recipe.job else None,
        most=_MOST,
        price_of=listed_price if own is None else lambda _: own,
        training_origin=origins["train"],
        validation_origin=origins.get("validation"),
    )
    problems = list(_problems(report))
    lines = [line.replace(f"{folder}/", "") for line in as_lines(report)]
    _write(folder, _renamed({"problems": problems, "check": as_dict(report)}, folder), lines)
    errors = [_sentence(one) for one in problems if one["severity"] == "error"]
    return Findings(report.errors, report.warnings, errors[:_FIRST_ERRORS], [*told, *_notes(report)], _cost(report))


def _files(report: CheckReport) -> list[FileReport]:
    return [one for one in (report.training, report.validation) if one is not None]


def _origin(recipe: Recipe, rows_file: Path) -> Origin:
    rows = SetRows(rows_file)
    return Origin(
        row=rows.row, group=rows.group if recipe.group else None, flagged=rows.flagged if recipe.flagged else None
    )


def _problems(report: CheckReport) -> Iterator[dict[str, Any]]:
    for problem in report.job.problems():
        yield {"code": problem.code, "severity": problem.severity, "message": problem.message}
    for file in _files(report):
        name = file.path.name
        for problem in file.found.problems():
            place = {"line": problem.line, "rows": problem.row or ""} if problem.line else {}
            about = {"code": problem.code, "severity": problem.severity, "message": problem.message}
            yield {"file": name, **place, **about}


def _sentence(problem: Mapping[str, Any]) -> str:
    if "line" in problem:
        return f"{problem['file']}:{problem['line']} ({problem['rows']}): {problem['message']}"
    return f"{problem['file']}: {problem['message']}" if "file" in problem else str(problem["message"])


def _notes(report: CheckReport) -> Iterator[str]:
    if report.errors:
        yield f"the check found {_counted(report.errors, 'error')}, so nothing can be uploaded; see {REPORT_TEXT}"
    counts = {code: count for found in report.founds for code, count in found.counts.items()}
    if report.warnings and not report.errors:
        shown = ", ".join(f"{code} {count:,}" for code, count in sorted(counts.items()))
        yield f"the check warns of {shown}; see {REPORT_TEXT}"
    cost = report.training_cost
    if cost is not None:
        from penstock.values import format_usd

        usd = cost.usd_per_epoch
        yield f"{cost.tokens_per_epoch:,} tokens an epoch, {'price unknown' if usd is None else format_usd(usd)}"


def _cost(report: CheckReport) -> dict[str, Any] | None:
    cost = report.training_cost
    if cost is None:
        return None
    tokens, usd = cost.tokens_per_epoch, cost.usd_per_epoch
    return {"epochs": cost.epochs, "tokens_per_epoch": tokens, "usd_per_epoch": usd}


def _renamed(value: Any, folder: Path) -> Any:
    """The same without the folder in which the files are only made."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(text.replace(json.dumps(f"{folder}/", ensure_ascii=False)[1:-1], ""))


def _write(folder: Path, value: Any, lines: Sequence[str]) -> None:
    from penstock.tables.parts import sync_file

    texts = {REPORT: json.dumps(value, indent=1, ensure_ascii=False), REPORT_TEXT: "\n".join(lines).strip("\n")}
    for name, text in texts.items():
        (folder / name).write_text(text + "\n", "utf-8")
        sync_file(folder / name)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
