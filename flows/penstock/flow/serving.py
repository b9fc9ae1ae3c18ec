"""`penstock serve`: one process that waits for the times of schedules and starts the runs, without a work pool."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import TerminationSignal
from prefect.runner import Runner

from penstock.flow.deployments import Made
from penstock.flow.entry import ENTRYPOINT


class _Known(RunnerDeployment):
    """A deployment that the server has already, as Prefect's runner wants it."""

    known_id: UUID

    async def aapply(self, *_: Any, **__: Any) -> UUID:
        """Its id; there is nothing to tell the server."""
        return self.known_id


def serve(deployments: Sequence[Made], limit: int | None = None) -> None:
    """Start the runs of these deployments at their times, each in a process of its own, until Ctrl-C or SIGTERM.

    Their schedules go on while nobody serves them, so that runs that were missed are caught up with.

    Args:
        deployments: made without a work pool.
        limit: runs at a time, of all of them together.
    """
    # Both are how it ends: the runs that are going on are told, and end as interrupted ones.
    with suppress(KeyboardInterrupt, TerminationSignal):
        asyncio.run(_serve(deployments, limit))


async def _serve(deployments: Sequence[Made], limit: int | None) -> None:
    runner = Runner(name="penstock serve", pause_on_shutdown=False, limit=limit)
    for made in deployments:
        known = _Known(name=made.name, flow_name=made.flow, entrypoint=ENTRYPOINT, known_id=UUID(made.id))
        await runner.aadd_deployment(known)
    await runner.start()
