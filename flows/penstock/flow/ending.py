"""The end of a run: its record, and the state and sentence that Prefect shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from penstock.errors import Interrupted, RunStopped
from penstock.flow.contract import RunSession
from penstock.secrets import redact


@dataclass(frozen=True, slots=True)
class EndState:
    """How the body of a flow ended.

    Attributes:
        state: of the flow run.
        message: one sentence for a person.
        record: the run record.
    """

    state: Literal["Completed", "Failed", "Cancelled"]
    message: str
    record: Any


def end_state(session: RunSession, defect: BaseException | None) -> EndState:
    """Close the session and say how it ended.

    Completed when every row has a fate, error rows included; Cancelled when somebody asked it to stop; Failed when it
    ended early for another reason or by a defect.
    """
    record = session.finish()
    stopped = session.control.stopped
    if defect is not None:
        return EndState("Failed", redact(f"{type(defect).__name__}: {defect}"), record)
    if isinstance(stopped, Interrupted):
        return EndState("Cancelled", redact(f"{stopped}; it can be resumed (penstock resume)"), record)
    if isinstance(stopped, RunStopped):
        return EndState("Failed", redact(f"{stopped} (stopped early, resumable: penstock resume)"), record)
    return EndState("Completed", redact(str(record)), record)


def state_of(ended: EndState) -> State[Any]:
    """The state for Prefect."""
    make = {"Completed": Completed, "Failed": Failed, "Cancelled": Cancelled}[ended.state]
    return make(message=ended.message)
