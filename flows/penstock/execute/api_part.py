"""The API step at a segment's end: ask what has no answer yet, then write the part and let the journal go."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.api.provider import Provider
from penstock.engine.control import RunControl
from penstock.engine.jobs import Job, engine
from penstock.engine.prices import table_version
from penstock.errors import TooManyFailures
from penstock.execute import part_writer
from penstock.execute.answer_sink import JournalSink
from penstock.execute.asking import Asked, Questions, questions, request_errors
from penstock.execute.carry import carried_errors, seed_journal
from penstock.execute.pieces import misfit_errors, misfits, paid
from penstock.execute.rows import Rows
from penstock.execute.saving import Saving
from penstock.items import Cause, Failed
from penstock.memory import trim
from penstock.steps import ApiStep
from penstock.steps.base import ROW
from penstock.tables.answer_lists import write_list
from penstock.tables.failures import RowError
from penstock.tables.file_lists import FileLists, write_file_lists
from penstock.tables.journal import Journal
from penstock.tables.parts import write_part
from penstock.tables.state import PartFiles
from penstock.tokens import counter

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa


_WRITING = threading.Lock()


@dataclass(slots=True)
class ApiPart:
    """What is needed to ask one step's questions for one partition.

    Attributes:
        name: the step's id.
        wire: what names its answers.
        journal: of the partition, open; it is closed when `write` has returned.
        store: the folder of the pipeline's state, with the answers of before.
        place: where files of answers go, see `Saving`.
        retry_causes: which failures of before are asked again; None for all.
        carried_rows: rows whose answers an earlier run had paid for; known when `write` has returned.
    """

    name: str
    step: ApiStep
    wire: str
    files: PartFiles
    journal: Journal
    provider: Provider
    control: RunControl
    keys: list[str]
    store: Path
    place: Callable[[Path], Path]
    retry_causes: tuple[str, ...] | None = None
    carried_rows: int = 0

    def write(self, rows: Rows, finish: Callable[[Rows], dict[str, Any]]) -> dict[str, Any]:
        """Ask, join and write. `finish` writes the errors part and returns the counts, when all fates are known."""
        asking = questions(rows.frame, self.name, self.step, counter(self.step.model), self.keys)
        usage_name = f"{self.name}_usage"
        self._stop_at(asking.asked.errors)
        journal = self.journal
        # One part at a time, see below.
        with _WRITING:
            seed_journal(journal, self.store, self.wire, asking.digests)
        self._forget_misfits(asking, journal)
        carried = carried_errors(
            self.files.errors,
            asking,
            rows.frame,
            answered=journal.answered,
            retry_causes=self.retry_causes,
            keys=self.keys,
        )
        failures = self._ask(asking, journal, carried)
        rows.errors += [*asking.asked.errors, *carried]
        rows.errors += self._errors(failures, asking, journal, rows.frame, {error.number for error in carried})
        lost = {error.number for error in rows.errors if error.step == self.name}
        rows.frame = rows.frame.filter(~rows.frame[ROW].is_in(sorted(lost)))
        # Whoever has the partition now writes its files.
        journal.check()
        counts = finish(rows)
        self._write_part(rows, asking, journal, usage_name, counts)
        if not self.step.in_table or asking.asked.in_pieces or not journal.answered.issubset(asking.digests):
            # The part has not these answers as they came, or not all of them. It is made again when a row fails here or
            # comes late from the step before, or a setting changes, and then they are taken from the journal.
            journal.close()
        else:
            journal.discard()
        return counts

    def _errors(
        self, failures: list[Failed], asking: Questions, journal: Journal, frame: pl.DataFrame, carried: set[int]
    ) -> list[RowError]:
        """The rows that failed now: something that they asked, or what was made of their answers."""
        failed = request_errors(
            failures, asking, frame, self.name, self.keys, lambda row, lost: paid(row, asking, journal, lost)
        )
        unfit = misfits(asking, self.step, journal, part_writer.answer_fields(self.step, journal))
        unfit = {row: why for row, why in unfit.items() if row not in carried}
        lost = misfit_errors(unfit, asking, journal, frame, self.name, self.keys)
        self._stop_at(lost)
        return [*(error for error in failed if error.number not in carried), *lost]

    def _forget_misfits(self, asking: Questions, journal: Journal) -> None:
        """Let answers of before that cannot be put together be asked for again, where that failure is to be mended."""
        if self.retry_causes is None or Cause.INVALID_ANSWER in self.retry_causes:
            unfit = misfits(asking, self.step, journal, part_writer.answer_fields(self.step, journal))
            journal.forget({digest for row in unfit for digest in asking.asked.rows[row]})

    def _stop_at(self, errors: list[RowError]) -> None:
        if errors and self.step.on_error == "stop":
            self.control.request_stop(_first_failure(self.name, errors[0].cause, errors[0].message))
            self.control.check()

    def _note_kept(self, rows: int) -> None:
        self.control.note_rows(done=rows, failed=0)

    def _note_failed(self, failure: Failed, rows: int) -> None:
        self.control.note_rows(done=0, failed=rows, causes=[failure.cause] * rows)
        if self.step.on_error == "stop":
            self.control.request_stop(_first_failure(self.name, failure.cause, failure.message))

    def _ask(self, asking: Questions, journal: Journal, carried: list[RowError]) -> list[Failed]:
        asked, answered = asking.asked, journal.answered
        numbers = {digest: number for number, digest in enumerate(asking.digests)}
        lost = {error.number for error in carried}
        sink = JournalSink(journal, asking.digests, self._note_kept, self._note_failed)
        for row, digests in asked.rows.items():
            waiting = [digest for digest in digests if digest not in answered]
            if row not in lost and waiting:
                sink.copies[numbers[waiting[-1]]] += 1
        self.carried_rows = len(asked.rows) - len(lost) - sink.copies.total()
        failed = [error.cause for error in (*asked.errors, *carried)]
        self.control.note_rows(done=len(asked.passed) + self.carried_rows, failed=len(failed), causes=failed)
        wanted = {digest for row, digests in asked.rows.items() if row not in lost for digest in digests}
        items = [
            item
            for item, digest in zip(asking.items, asking.digests, strict=True)
            if digest in wanted and digest not in answered
        ]
        if items:
            most = self.step.concurrency
            engine().run(Job(self.step, items, sink, self.provider, self.control, concurrency=most, check=journal.look))
        return sink.failures

    def _write_part(
        self, rows: Rows, asking: Questions, journal: Journal, usage_name: str, counts: dict[str, Any]
    ) -> None:
        import pyarrow as pa

        sums = UsageSums()
        saving = Saving(self.step.saved, self.wire.encode(), self.place)
        answers = part_writer.Answers(
            asking=asking,
            step=self.step,
            journal=journal,
            fields=part_writer.answer_fields(self.step, journal),
            saving=saving,
            usage_name=usage_name if self.step.usage else None,
            note_usage=sums.add,
        )
        schema = pa.schema([*part_writer.arrow_schema(rows.frame), *answers.schema])

        def final() -> dict[str, Any]:
            journal.check()
            named = {file for payload in asking.asked.payloads.values() for file in self.step.named_files(payload)}
            lists = FileLists(counts["made"], sorted(named), list(dict.fromkeys(saving.written)))
            write_file_lists(self.files.file_lists, lists)
            counts.update(
                model=self.step.model,
                wire=self.wire,
                prices=table_version(),
                usage=sums.as_dict(),
                carried=self.carried_rows,
                named=len(lists.named),
                saved=len(lists.saved),
            )
            return counts

        if self.step.in_table:
            self._write_list(rows, asking.asked, answers, counts["made"])
        # One part at a time: what writing needs is then the same for any number of workers.
        with _WRITING:
            write_part(self.files.part, answers.tables(rows.frame), schema, final)
            trim()

    def _write_list(self, rows: Rows, asked: Asked, answers: part_writer.Answers, made: str) -> None:
        """Tell other parts which row holds what answer: of rows that ask the same the first, which has its cost."""
        owned: dict[int, bytes] = {}
        for place, number in enumerate(rows.frame[ROW].to_list()):
            digests = asked.rows.get(number, ())
            if len(digests) == 1 and asked.owners[digests[0]] == number:
                owned[place] = digests[0]
        write_list(
            self.files.part,
            wire=self.wire,
            made=made,
            columns=[field.name for field in answers.fields],
            usage=answers.usage_name,
            group_rows=answers.group_rows,
            digests=owned,
        )


def _first_failure(step: str, cause: Cause, message: str) -> TooManyFailures:
    return TooManyFailures(
        f"a row of the step {step!r} failed ({cause}: {message.rstrip('.')}), and `on_error: stop` ends the run there. "
        "What was answered is kept: mend the row or write `on_error: collect`, then resume"
    )


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
