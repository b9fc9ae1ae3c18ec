"""A request seen through under Prefect, from the lock to the record: what `penstock run` and `penstock.run` share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from penstock.execute.session import Request, Session, open_session
from penstock.flow.secret_blocks import offer_blocks
from penstock.flow.server import Boot, begin

if TYPE_CHECKING:
    from penstock.flow.run import Leave, Outcome

Tick = Callable[[], None]


def _no_progress(session: Session) -> AbstractContextManager[Tick]:  # noqa: ARG001  # nothing to show
    return nullcontext(lambda: None)


def run_request(
    request: Request,
    *,
    announce: Callable[[Session, Boot], None] = lambda session, boot: None,  # noqa: ARG005  # nothing to say
    progress: Callable[[Session], AbstractContextManager[Tick]] = _no_progress,
    leave: Leave | None = None,
) -> tuple[Session, Outcome]:
    """Plan the request and run it as a Prefect flow. The session's record says how it ended.

    Args:
        announce: called when the plan is made and the Prefect API may still be starting.
        progress: makes a context whose value is called ten times a second while the run goes on.
        leave: ends the process at once; see `penstock.flow.run.execute`.

    Raises:
        InputError: the pipeline, the source or the environment is wrong; nothing was sent.
        RunLocked: another run of the pipeline is going on.
        ServerUnavailable: the Prefect API cannot be used.
    """
    session = open_session(request)
    # The server boots while the plan is made.
    boot = begin()
    try:
        if session.spec.source_blocks:
            # Only now can the source be read, by its address or password in a Secret block, and its columns be checked.
            boot.wait()
            offer_blocks(session.spec.source_blocks)
            session = open_session(request)
        with session:
            announce(session, boot)
            connection = boot.wait()
            from penstock.flow.run import execute

            with progress(session) as tick:
                outcome = execute(session, connection, on_tick=tick, leave=leave)
    finally:
        boot.release()
    return session, outcome
