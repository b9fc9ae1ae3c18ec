"""Checks whole files: the training file, the one to measure with, and both against each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from penstock.outputs.finetune.contents import near_leaks
from penstock.outputs.finetune.faults import EXAMPLES_SHOWN, Found
from penstock.outputs.finetune.file_check import FileCheck, FileReport, Progress
from penstock.outputs.finetune.limits import FEWEST_EXAMPLES, PriceOf, Rules, listed_price
from penstock.outputs.finetune.lines import open_file
from penstock.outputs.finetune.origin import Origin
from penstock.outputs.finetune.statistics import Training

__all__ = ["CheckReport", "FileReport", "Progress", "check_files", "check_suffix"]


@dataclass(slots=True)
class CheckReport:
    """What was found in all files.

    Attributes:
        job: problems of the job's settings, such as its suffix.
        training_cost: epochs, tokens and price; None when tokens were not counted.
    """

    rules: Rules
    training: FileReport
    validation: FileReport | None
    job: Found
    training_cost: Training | None

    @property
    def founds(self) -> list[Found]:
        """Everything that was found."""
        return [self.job, self.training.found, *([self.validation.found] if self.validation else [])]

    @property
    def errors(self) -> int:
        """How many errors in all; with one the files cannot be trained on."""
        return sum(found.errors for found in self.founds)

    @property
    def warnings(self) -> int:
        """How many warnings in all."""
        return sum(found.warnings for found in self.founds)


def check_files(
    training: Path,
    validation: Path | None = None,
    *,
    rules: Rules | None = None,
    suffix: str | None = None,
    most: int | None = EXAMPLES_SHOWN,
    price_of: PriceOf = listed_price,
    training_origin: Origin | None = None,
    validation_origin: Origin | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Check a training file, and a validation file against it.

    Args:
        rules: those of the default model if left out.
        suffix: the part of the new model's name that the job will ask for.
        most: how many problems of each kind are kept; all are counted. None keeps all.
        price_of: what training costs by model.
        training_origin: what is known of the lines of the training file beyond the file: rows, groups, verdicts.
        validation_origin: the same of the validation file.
        progress: told now and then how far the reading of a file is.

    Raises:
        InputError: a file cannot be read.
    """
    rules = rules or Rules.of()
    job = Found(most)
    if suffix is not None:
        check_suffix(suffix, rules, job)
    given = [(training, training_origin), *([(validation, validation_origin)] if validation else [])]
    checked: list[FileCheck] = []
    for path, origin in given:
        form = checked[0].report.form if checked else None
        one = FileCheck(path, rules, most, leaks=validation is not None, form=form, origin=origin or Origin())
        with open_file(path) as file:
            one.read(file, progress)
        one.end(fewest=1 if checked else FEWEST_EXAMPLES)
        checked.append(one)
    if validation:
        _leaks(checked[0], checked[1], rules.near)
    reports = [one.report for one in checked]
    cost = reports[0].statistics.training(rules.model, rules.context, price_of)
    return CheckReport(rules, reports[0], reports[1] if validation else None, job, cost)


def check_suffix(suffix: str, rules: Rules, found: Found) -> None:
    """Hold the suffix of a job against the rules."""
    if not suffix:
        found.add("suffix_empty", 0, "the suffix is empty: leave it out, or give it a character at least")
    elif len(suffix) > rules.suffix_longest:
        found.add(
            "suffix_too_long",
            0,
            f"the suffix {suffix!r} has {len(suffix)} characters; {rules.suffix_longest} are allowed",
        )


def _leaks(training: FileCheck, validation: FileCheck, near: float | None) -> None:
    found, digests = validation.found, validation.digests
    told: set[int] = set()
    for line, other, whole in digests.leaks(training.digests):
        told.add(line)
        if whole:
            found.add("leak", line, f"the same example is line {other} of the training file")
        else:
            found.add("leak_prompt", line, f"the same prompt is on line {other} of the training file")
    for line, other in digests.group_leaks(training.digests):
        found.add("leak_group", line, f"line {other} of the training file is of the same group")
    if near is None:
        return
    rows, mine, theirs = digests.rows_without(told), validation.contents.sketches(), training.contents.sketches()
    for row, place, alike in near_leaks(mine, rows, theirs, near):
        line, other = digests.lines[row], training.digests.lines[place]
        found.add("leak_near", line, f"{alike:.0%} like line {other} of the training file")
