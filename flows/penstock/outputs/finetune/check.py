"""Checks whole files: the training file, the one to measure with, and both against each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from penstock.outputs.finetune.checks import Format, check_example, format_of
from penstock.outputs.finetune.example import Example, example_of, plain
from penstock.outputs.finetune.faults import ERRORS, EXAMPLES_SHOWN, Found
from penstock.outputs.finetune.limits import (
    FEWEST_EXAMPLES,
    LARGEST_FILE,
    MOST_IMAGE_EXAMPLES,
    PriceOf,
    Rules,
    listed_price,
)
from penstock.outputs.finetune.lines import LONGEST_LINE, open_file, read_lines
from penstock.outputs.finetune.repeats import Digests
from penstock.outputs.finetune.shapes import plain_example, read_object
from penstock.outputs.finetune.statistics import Statistics, Training
from penstock.secrets import holds_key
from penstock.tokens import counter

_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = (b"\xff\xfe", b"\xfe\xff")
_GZIP = b"\x1f\x8b"
_SHORT = 4
"""Characters below which an answer is very short where half of the others have ten times as many."""


@dataclass(slots=True)
class FileReport:
    """What was found in one file.

    Attributes:
        form: of its lines; None when none of them tells.
        lines: all of them, faulty ones too.
    """

    path: Path
    found: Found
    statistics: Statistics
    form: Format | None = None
    lines: int = 0
    bytes: int = 0


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
) -> CheckReport:
    """Check a training file, and a validation file against it.

    Args:
        rules: those of the default model if left out.
        suffix: the part of the new model's name that the job will ask for.
        most: how many problems of each kind are kept; all are counted. None keeps all.
        price_of: what training costs by model.

    Raises:
        InputError: a file cannot be read.
    """
    rules = rules or Rules.of()
    job = Found(most)
    if suffix is not None:
        check_suffix(suffix, rules, job)
    paths = [training, *([validation] if validation else [])]
    checked: list[FileReport] = []
    digests: list[Digests] = []
    for path in paths:
        one = _FileCheck(path, rules, most, leaks=validation is not None, form=checked[0].form if checked else None)
        with open_file(path) as file:
            one.read(file)
        one.end(fewest=FEWEST_EXAMPLES if path is training else 1)
        checked.append(one.report)
        digests.append(one.digests)
    if validation:
        _leaks(digests[0], digests[1], checked[1].found)
    cost = checked[0].statistics.training(rules.model, rules.context, price_of)
    return CheckReport(rules, checked[0], checked[1] if validation else None, job, cost)


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


def _leaks(training: Digests, validation: Digests, found: Found) -> None:
    for line, other, whole in validation.leaks(training):
        if whole:
            found.add("leak", line, f"the same example is line {other} of the training file")
        else:
            found.add("leak_prompt", line, f"the same prompt is on line {other} of the training file")


@dataclass(slots=True)
class _Few:
    """Lines that are a fault only against the others: how many, and the first of them."""

    most: int | None
    count: int = 0
    lines: list[int] = field(default_factory=list)

    def add(self, line: int) -> None:
        self.count += 1
        if self.most is None or len(self.lines) < self.most:
            self.lines.append(line)

    def tell(self, found: Found, code: str, message: str) -> None:
        for line in self.lines:
            found.add(code, line, message)
        found.counts[code] += self.count - len(self.lines)


class _FileCheck:
    def __init__(self, path: Path, rules: Rules, most: int | None, *, leaks: bool, form: Format | None) -> None:
        self.rules = rules
        self.found = Found(most)
        self.statistics = Statistics(counter(rules.model) if rules.tokens else None)
        self.report = FileReport(path, self.found, self.statistics, form)
        self.digests = Digests(normal=leaks)
        self.no_system = _Few(most)
        self.short = _Few(most)

    def read(self, file: BinaryIO) -> None:
        report = self.report
        head = file.read(3)
        file.seek(0)
        if head.startswith((*_OTHER_BOMS, _GZIP)):
            what = "compressed by gzip" if head.startswith(_GZIP) else "UTF-16"
            self.found.add("not_utf8", 1, f"the file is {what}; save it as plain UTF-8")
            report.bytes = report.path.stat().st_size
            return
        for number, line in read_lines(file):
            report.lines = number
            if line is None:
                self.found.add("line_too_long", number, f"more than {LONGEST_LINE:,} bytes")
                continue
            if number == 1 and line.startswith(_BOM):
                self.found.add("byte_order_mark", 1, "save the file as UTF-8 without a byte order mark")
                line = line[len(_BOM) :]  # noqa: PLW2901  # only the first line has one
            messages = plain_example(line)
            if messages is None:
                self._faulty(line, number)
            else:
                self.report.form = self.report.form or "chat"
                if self.report.form == "chat":
                    self._example(plain(messages), number)
                else:
                    self._faulty(line, number)
            # The first look is much faster than the second, and seldom finds something.
            if b"k-" in line and holds_key(line.decode("utf-8", "replace")):
                self.found.add("secret", number, "something is shaped like an API key; a model may say it to others")
        report.bytes = file.tell()

    def _faulty(self, line: bytes, number: int) -> None:
        if not line.strip():
            self.found.add("blank_line", number, "the line is blank; each line holds one example")
            return
        try:
            self._read(line, number)
        except RecursionError:
            self.found.add("not_json", number, "nested too deeply")

    def _read(self, line: bytes, number: int) -> None:
        value, problems = read_object(line, number)
        for problem in problems:
            self.found.add(problem.code, problem.line, problem.message)
        if problems and value is None:
            return
        self.report.form = self.report.form or format_of(value)
        faults = list(check_example(value, self.report.form or "chat", self.rules))
        for code, message in faults:
            self.found.add(code, number, message)
        if isinstance(value, dict) and (example := example_of(value)):
            self._example(example, number, faulty=bool(problems) or any(code in ERRORS for code, _ in faults))

    def _example(self, example: Example, number: int, *, faulty: bool = False) -> None:
        tokens = self.statistics.add(example)
        if self.rules.context is not None and tokens > self.rules.context:
            self.found.add(
                "over_context",
                number,
                f"{tokens:,} tokens; {self.rules.model} trains on {self.rules.context:,} of an example",
            )
        if faulty:
            # What it says may not be what was meant, so it is not held against the others.
            return
        self.digests.add(number, example)
        roles = example.roles
        if roles[0] != "system" and "system" not in roles and "developer" not in roles:
            self.no_system.add(number)
        if len(example.texts[-1]) < _SHORT:
            self.short.add(number)

    def end(self, *, fewest: int) -> None:
        """What only shows when all lines were read."""
        found, report, statistics = self.found, self.report, self.statistics
        if report.path.suffix.lower() != ".jsonl":
            found.add("file_name", 0, f"the name {report.path.name!r} does not end in .jsonl")
        if report.bytes > LARGEST_FILE:
            found.add("file_too_large", 0, f"{report.bytes:,} bytes; the service takes {LARGEST_FILE:,}")
        if statistics.examples < fewest:
            found.add("too_few_examples", 0, f"{statistics.examples} examples; {fewest} are needed at least")
        if statistics.with_images > MOST_IMAGE_EXAMPLES:
            message = f"{statistics.with_images:,} examples with images; {MOST_IMAGE_EXAMPLES:,} are allowed"
            found.add("too_many_image_examples", 0, message)
        if self.no_system.count * 2 < statistics.examples:
            self.no_system.tell(found, "no_system", "there is no system message, as most other examples have one")
        typical = statistics.answer_characters.quantile(0.5)
        if typical >= _SHORT * 10:
            self.short.tell(found, "short_answer", f"an answer of under {_SHORT} characters; half have {typical:,}")
        for line, first in self.digests.duplicates():
            found.add("duplicate", line, f"the example stands on line {first} already")
        for line, first in self.digests.contradictions():
            found.add("contradiction", line, f"line {first} answers the same prompt differently")
