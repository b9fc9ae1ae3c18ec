"""``/fine_tuning/jobs``: models made from examples.

Source: API reference, "Fine-tuning".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec

from penstock.api.channel import Call, Channel, given, segment
from penstock.api.objects import ApiObject
from penstock.api.paging import pages

_PATH = "/fine_tuning/jobs"
ENDED = frozenset({"succeeded", "failed", "cancelled"})
"""The states in which a job stays."""


class JobError(ApiObject):
    """Why a job failed; all None when it did not."""

    code: str | None = None
    message: str | None = None
    param: str | None = None


class FineTuningJob(ApiObject):
    """A job; times in seconds since the epoch.

    `status`: validating_files, queued, running, succeeded, failed or cancelled.
    """

    id: str
    status: str
    model: str = ""
    created_at: int = 0
    finished_at: int | None = None
    estimated_finish: int | None = None
    fine_tuned_model: str | None = None
    training_file: str = ""
    validation_file: str | None = None
    result_files: list[str] = msgspec.field(default_factory=list)
    hyperparameters: dict[str, Any] | None = None
    method: dict[str, Any] | None = None
    trained_tokens: int | None = None
    seed: int | None = None
    metadata: dict[str, str] | None = None
    error: JobError | None = None

    @property
    def ended(self) -> bool:
        """Whether its status will not change any more."""
        return self.status in ENDED


class FineTuningEvent(ApiObject):
    """Something that happened to a job; `level` is info, warn or error."""

    id: str
    created_at: int = 0
    level: str = "info"
    message: str = ""
    type: str | None = None
    data: dict[str, Any] | None = None


class FineTuning:
    """Starts jobs, and follows and ends them."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def create(
        self,
        *,
        training_file: str,
        model: str,
        validation_file: str | None = None,
        suffix: str | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        method: Mapping[str, Any] | None = None,
        integrations: Sequence[Mapping[str, Any]] | None = None,
        seed: int | None = None,
        metadata: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> FineTuningJob:
        """Start a job. It costs money, so it is not started again when it may have been; `list` shows whether it was.

        Args:
            training_file: the id of an uploaded file.
            hyperparameters: of the 2024 API; today they belong into `method`.

        Raises:
            ApiError: no answer.
        """
        body = given(
            extra_body,
            training_file=training_file,
            model=model,
            validation_file=validation_file,
            suffix=suffix,
            hyperparameters=hyperparameters,
            method=method,
            integrations=integrations,
            seed=seed,
            metadata=metadata,
        )
        return await self._channel.ask(FineTuningJob, Call(method="POST", path=_PATH, body=body, creates=True))

    def list(self, *, after: str | None = None, limit: int | None = None) -> AsyncIterator[FineTuningJob]:
        """All jobs, the newest first; `limit` is the size of a page."""
        return pages(self._channel, FineTuningJob, _PATH, params={"after": after, "limit": limit})

    async def retrieve(self, job_id: str) -> FineTuningJob:
        """One job."""
        return await self._channel.ask(FineTuningJob, Call(method="GET", path=f"{_PATH}/{segment(job_id)}"))

    def events(
        self, job_id: str, *, after: str | None = None, limit: int | None = None
    ) -> AsyncIterator[FineTuningEvent]:
        """What happened to a job, the newest first."""
        path = f"{_PATH}/{segment(job_id)}/events"
        return pages(self._channel, FineTuningEvent, path, params={"after": after, "limit": limit})

    async def cancel(self, job_id: str) -> FineTuningJob:
        """End a job."""
        call = Call(method="POST", path=f"{_PATH}/{segment(job_id)}/cancel", creates=True)
        return await self._channel.ask(FineTuningJob, call)

    async def watch(
        self, job_id: str, *, every: float = 5.0, looked: Callable[[FineTuningJob], None] | None = None
    ) -> AsyncIterator[FineTuningEvent | FineTuningJob]:
        """The events of a job as they happen, the oldest first, and the job itself once it has ended.

        Args:
            every: seconds between two looks.
            looked: told how the job stands at each look.
        """
        seen: set[str] = set()
        while True:
            # The job first: events that come between the two looks are then not lost at the end.
            job = await self.retrieve(job_id)
            fresh = []
            async for event in self.events(job_id):
                if event.id in seen:
                    break
                fresh.append(event)
            seen.update(event.id for event in fresh)
            for event in reversed(fresh):
                yield event
            if looked is not None:
                looked(job)
            if job.ended:
                yield job
                return
            await asyncio.sleep(every)
