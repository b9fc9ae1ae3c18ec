"""Checks one file, line by line, and what only shows when all lines were read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from penstock.outputs.finetune.checks import check_example, format_of
from penstock.outputs.finetune.contents import Contents, near_duplicates
from penstock.outputs.finetune.example import INSTRUCTING, Example, example_of, plain
from penstock.outputs.finetune.faults import ERRORS, Found
from penstock.outputs.finetune.limits import LARGEST_FILE, MOST_IMAGE_EXAMPLES, Format, Rules
from penstock.outputs.finetune.lines import LONGEST_LINE, read_lines
from penstock.outputs.finetune.origin import Origin
from penstock.outputs.finetune.repeats import Digests
from penstock.outputs.finetune.shapes import plain_example, read_object
from penstock.outputs.finetune.statistics import Counted, Statistics
from penstock.outputs.finetune.typed import typed_chat, typed_preference
from penstock.tokens import counter

_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = (b"\xff\xfe", b"\xfe\xff")
_GZIP = b"\x1f\x8b"
_SHORT = 4
"""Characters below which an answer is very short where half of the others have ten times as many."""
_TOLD_EVERY = 1024
"""Lines."""
Progress = Callable[[Path, int], object]
"""Takes a file and how many of its bytes are read."""


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
        if self.count > len(self.lines):
            found.counts[code] += self.count - len(self.lines)


class FileCheck:
    """The check of one file: `read` it, then `end`."""

    def __init__(
        self, path: Path, rules: Rules, most: int | None, *, leaks: bool, form: Format | None, origin: Origin
    ) -> None:
        self.rules = rules
        self.origin = origin
        self.found = Found(most, origin.row)
        self.statistics = Statistics(counter(rules.model) if rules.tokens else None, rules.model)
        self.report = FileReport(path, self.found, self.statistics, form)
        self.digests = Digests(normal=leaks)
        self.contents = Contents(self.found, rules.personal, sketched=rules.near is not None)
        self.named_group = re.compile(rules.group).search if rules.group else None
        self.no_system = _Few(most)
        self.short = _Few(most)

    def read(self, file: BinaryIO, progress: Progress | None = None) -> None:
        """Check all lines of the file, which is at its beginning."""
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
            if progress is not None and not number % _TOLD_EVERY:
                progress(report.path, file.tell())
            if line is None:
                self.found.add("line_too_long", number, f"more than {LONGEST_LINE:,} bytes")
                continue
            if number == 1 and line.startswith(_BOM):
                self.found.add("byte_order_mark", 1, "save the file as UTF-8 without a byte order mark")
                line = line[len(_BOM) :]  # noqa: PLW2901  # only the first line has one
            if (example := self._fast(line)) is not None:
                self._example(example, number)
            else:
                self._faulty(line, number)
            if self.origin.flagged is not None and (categories := self.origin.flagged(number)):
                self.found.add("flagged", number, f"flagged as harmful: {', '.join(categories)}")
        report.bytes = file.tell()

    def _fast(self, line: bytes) -> Example | None:
        """The example of a line in which nothing is wrong by itself; None of one that must be looked at closely."""
        form = self.report.form
        if form == "preference":
            return typed_preference(line) if self._taken("preference") else None
        # The first kind of line is the most frequent and the fastest to read.
        example = None
        if b'"tool' not in line and (messages := plain_example(line)) is not None:
            example = plain(messages)
        if not self._taken("chat"):
            return None
        example = typed_chat(line) if example is None else example
        if example is not None:
            self.report.form = "chat"
        return example

    def _taken(self, form: Format) -> bool:
        return self.rules.formats is None or form in self.rules.formats

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
            self.contents.look(number, line.decode("utf-8", "replace"))
            return
        self.report.form = self.report.form or format_of(value)
        faults = list(check_example(value, self.report.form or "chat", self.rules))
        for code, message in faults:
            self.found.add(code, number, message)
        if isinstance(value, dict) and (example := example_of(value)):
            self._example(example, number, faulty=bool(problems) or any(code in ERRORS for code, _ in faults))
        else:
            self.contents.look(number, line.decode("utf-8", "replace"))

    def _example(self, example: Example, number: int, *, faulty: bool = False) -> None:
        tokens = self.statistics.counted(example)
        if self.rules.context is not None and sum(tokens) > self.rules.context:
            self._too_long(tokens, number, self.rules.context)
        # What a faulty one says may not be what was meant, so it is not held against the others.
        self.contents.add(number, example, sketched=not faulty)
        if faulty:
            return
        self.digests.add(number, example, self._group(number, example))
        roles = example.roles
        if roles[0] != "system" and not any(role in INSTRUCTING for role in roles):
            self.no_system.add(number)
        if len(example.texts[-1]) < _SHORT:
            self.short.add(number)

    def _group(self, number: int, example: Example) -> str | None:
        if self.origin.group is not None:
            return self.origin.group(number)
        found = (self.named_group(text) for text in example.texts) if self.named_group else ()
        match = next((one for one in found if one), None)
        return None if match is None else match[1 if match.re.groups else 0]

    def _too_long(self, tokens: Counted, number: int, context: int) -> None:
        trained = f"{self.rules.model} trains on {context:,} of an example"
        if tokens.exact > context:
            self.found.add("over_context", number, f"{tokens.exact:,} tokens; {trained}")
        else:
            about = f"about {sum(tokens):,} tokens, of which {tokens.estimated:,} are an estimate of tools and images"
            self.found.add("over_context_estimated", number, f"{about}; {trained}")

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
        self._repeats()

    def _repeats(self) -> None:
        found, told = self.found, set()
        for line, first in self.digests.duplicates():
            told.add(line)
            found.add("duplicate", line, f"the example stands on line {first} already")
        for line, first in self.digests.contradictions():
            told.add(line)
            found.add("contradiction", line, f"line {first} answers the same prompt differently")
        self.contents.flush()
        if self.rules.near is None:
            return
        rows = self.digests.rows_without(told)
        lines = self.digests.lines
        for row, first, alike in near_duplicates(self.contents.sketches(), rows, self.rules.near):
            found.add("near_duplicate", lines[row], f"{alike:.0%} like line {lines[first]}")
