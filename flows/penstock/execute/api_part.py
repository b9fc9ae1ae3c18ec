"""The API step at a segment's end: ask what has no answer yet, then write the part and let the journal go."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from penstock.api.provider import Provider
from penstock.engine.control import RunControl
from penstock.engine.jobs import Job, engine
from penstock.engine.prices import table_version
from penstock.execute import part_writer
from penstock.execute.asking import JournalSink, Questions, questions, request_errors
from penstock.execute.carry import carried_errors, seed_journal
from penstock.execute.rows import Rows
from penstock.items import Delivered, Failed
from penstock.steps import ApiStep
from penstock.steps.base import ROW
from penstock.tables.journal import Journal
from penstock.tables.parts import write_part
from penstock.tables.state import PartFiles
from penstock.tokens import counter

if TYPE_CHECKING:
    import pyarrow as pa


_WRITING = threading.Lock()


@dataclass(slots=True)
class CountingSink(JournalSink):
    """A journal sink that also tells the run how many rows came home, copies of an item included."""

    control: RunControl | None = None
    copies: dict[int, int] = field(default_factory=dict)

    def delivered(self, outcome: Delivered) -> None:
        """Keep the answers first, then count their rows."""
        JournalSink.delivered(self, outcome)
        if self.control is not None:
            self.control.note_rows(done=sum(self.copies.get(item.number, 1) for item in outcome.items), failed=0)

    def failed(self, outcome: Failed) -> None:
        """Keep the failure and count its rows."""
        JournalSink.failed(self, outcome)
        if self.control is not None:
            self.control.note_rows(done=0, failed=self.copies.get(outcome.item.number, 1))


@dataclass(slots=True)
class ApiPart:
    """What is needed to ask one step's questions for one partition.

    Attributes:
        name: the step's id.
        retry_causes: which failures of before are asked again; None for all.
        carried_rows: rows whose answers an earlier run had paid for; known when `write` has returned.
    """

    name: str
    step: ApiStep
    files: PartFiles
    provider: Provider
    control: RunControl
    keys: list[str]
    retry_causes: tuple[str, ...] | None = None
    carried_rows: int = 0

    def write(self, rows: Rows, finish: Callable[[Rows], dict[str, Any]]) -> dict[str, Any]:
        """Ask, join and write. `finish` writes the errors part and returns the counts, when all fates are known."""
        asked = questions(rows.frame, self.name, self.step, counter(self.step.model), self.keys)
        usage_name = f"{self.name}_usage"
        journal = Journal(self.files.journal)
        try:
            seed_journal(journal, self.files.part, asked, self.step, usage_name)
            carried = carried_errors(self.files.errors, asked, self.retry_causes, self.keys)
            failures = self._ask(asked, journal, {error.number for error in carried})
            rows.errors += [*asked.errors, *carried]
            rows.errors += request_errors(failures, asked, rows.frame, self.name, self.keys)
            lost = {error.number for error in rows.errors}
            rows.frame = rows.frame.filter(~rows.frame[ROW].is_in(sorted(lost)))
            counts = finish(rows)
            self._write_part(rows, asked, journal, usage_name, counts)
        except BaseException:
            journal.close()
            raise
        journal.discard()
        return counts

    def _ask(self, asked: Questions, journal: Journal, carried: set[int]) -> list[Failed]:
        sink = CountingSink(journal, control=self.control)
        for item in asked.asked_by.values():
            sink.copies[item] = sink.copies.get(item, 0) + 1
        answered = journal.answered
        self.carried_rows = sum(item in answered for item in asked.asked_by.values())
        self.control.note_rows(done=len(asked.passed) + self.carried_rows, failed=len(asked.errors) + len(carried))
        items = [item for item in asked.items if item.number not in answered and item.number not in carried]
        if items:
            engine().run(Job(self.step, items, sink, self.provider, self.control, concurrency=self.step.concurrency))
        return sink.failures

    def _write_part(
        self, rows: Rows, asked: Questions, journal: Journal, usage_name: str, counts: dict[str, Any]
    ) -> None:
        import pyarrow as pa

        answers = part_writer.answer_schema(self.step, journal, usage_name)
        schema = pa.schema([*part_writer.arrow_schema(rows.frame), *answers])
        sums = UsageSums()
        tables = part_writer.Answers(asked, journal, answers, sums.add).tables(rows.frame)

        def final() -> dict[str, Any]:
            counts.update(
                model=self.step.model, prices=table_version(), usage=sums.as_dict(), carried=self.carried_rows
            )
            return counts

        # One part at a time: what writing needs is then the same for any number of workers.
        with _WRITING:
            write_part(self.files.part, tables, schema, final)


@dataclass(slots=True)
class UsageSums:
    """Tokens and dollars that a part's answers cost; dollars are None as soon as one of them is unknown."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    usd: float | None = 0.0

    def add(self, usage: pa.StructArray) -> None:
        """Take in the usage column of some rows."""
        from pyarrow import compute

        for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
            setattr(self, name, getattr(self, name) + (compute.sum(usage.field(name)).as_py() or 0))
        usd = usage.field("usd")
        known = compute.sum(usd).as_py() or 0.0
        self.usd = None if self.usd is None or usd.null_count else self.usd + known

    def as_dict(self) -> dict[str, Any]:
        """For a part's metadata."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cached_tokens": self.cached_tokens,
            "usd": self.usd,
        }
