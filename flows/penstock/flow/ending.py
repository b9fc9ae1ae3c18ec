"""The end of a run: its record, and the state and sentence that Prefect shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from penstock.errors import Interrupted, RunStopped
from penstock.flow.contract import RunSession
from penstock.runs.record import RunStatus
from penstock.secrets import redact
from penstock.values import format_usd

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from penstock.runs.record import RunRecord


_COMPLETE = (RunStatus.COMPLETED, RunStatus.COMPLETED_WITH_ERRORS)


@dataclass(frozen=True, slots=True)
class EndState:
    """How the body of a flow ended.

    Attributes:
        state: of the flow run.
        message: one sentence for a person.
        record: the closed run record; None when a defect ended the run.
        stopped: why it ended early.
    """

    state: Literal["Completed", "Failed", "Cancelled"]
    message: str
    record: RunRecord | None = None
    stopped: RunStopped | None = None

    def for_prefect(self) -> State[None]:
        """The state as Prefect wants it."""
        from prefect.states import Cancelled, Completed, Failed

        make = {"Completed": Completed, "Failed": Failed, "Cancelled": Cancelled}[self.state]
        return make(message=self.message)


def end_state(session: RunSession, defect: BaseException | None) -> EndState:
    """Finish the session and say how it ended.

    Completed when every row has a fate, error rows included; Cancelled when somebody asked it to stop; Failed when it
    ended early for another reason or by a defect, or when more rows failed than `errors.stop_above` allows: a source of
    less than 200 rows is never stopped by it, and its output is there, but somebody should look. Failed, too, when what
    was published did not arrive where it was to be brought.

    Raises:
        AccountError: the rows do not add up.
    """
    if defect is not None:
        return EndState("Failed", redact(f"{type(defect).__name__}: {defect}"))
    record = session.finish()
    stopped = session.control.stopped
    # A stop that came when all was published already changes nothing, unless something was still on its way.
    if stopped is None or record.status in _COMPLETE:
        # Of a complete run the message says what did not arrive at a server, such as a job that failed.
        wrong = too_many(session, record) or (f"{record.message} " if record.message else "")
        state: Literal["Completed", "Failed"] = "Failed" if wrong else "Completed"
        return EndState(state, redact(wrong + summary(record)), record)
    message = redact(f"{stopped}. It can be resumed: penstock resume {session.run_id}")
    return EndState("Cancelled" if isinstance(stopped, Interrupted) else "Failed", message, record, stopped)


def too_many(session: RunSession, record: RunRecord) -> str:
    """The beginning of a sentence that says that too many rows failed, or nothing."""
    account, most = record.account, session.loaded.spec.errors.stop_above
    came = account.read + account.added + account.branched if account else 0
    if account is None or account.failed <= most * came:
        return ""
    return f"{account.failed / came:.1%} of the rows failed, and errors.stop_above allows {most:.1%}: "


def summary(record: RunRecord) -> str:
    """A closed run in one sentence: rows by fate, requests, dollars."""
    account = record.account
    if account is None:
        return "done"
    fates = {"written": account.written, "filtered": account.filtered, "merged": account.merged}
    parts = [f"{count:,} {fate}" for fate, count in fates.items() if count or fate == "written"]
    if account.failed:
        parts.append(f"{account.failed:,} failed (see penstock errors {record.run_id})")
    if (moved := record.changes) is not None:
        counts = {"new": moved.new, "changed": moved.changed, "unchanged": moved.unchanged, "deleted": moved.deleted}
        parts += [f"{count:,} {word}" for word, count in counts.items() if count]
    sent = f"; {record.usage.requests:,} requests, {format_usd(record.usage.usd)}" if record.usage.requests else ""
    return f"{account.read:,} rows: {', '.join(parts)}{sent}"
