"""``/batches``: many requests in a file, answered within a day at half the price.

Source: OpenAI's API specification, "Batch".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from penstock.api.channel import Call, Channel, given, segment
from penstock.api.objects import ApiObject
from penstock.api.paging import pages

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
"""The states in which a batch stays. ``completed`` says nothing of its requests: all of them may have failed."""


class RequestCounts(ApiObject):
    """How many requests a batch has, and how many were answered or failed."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class BatchError(ApiObject):
    """Why the input file was refused; `line` is 1-based."""

    code: str | None = None
    message: str | None = None
    param: str | None = None
    line: int | None = None


class BatchErrors(ApiObject):
    """The mistakes of the input file."""

    data: list[BatchError] = msgspec.field(default_factory=list)


class Batch(ApiObject):
    """A batch; times in seconds since the epoch.

    `status`: validating, failed, in_progress, finalizing, completed, expired, cancelling or cancelled.
    """

    id: str
    status: str
    endpoint: str = ""
    input_file_id: str = ""
    completion_window: str = ""
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int = 0
    expires_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    request_counts: RequestCounts = msgspec.field(default_factory=RequestCounts)
    errors: BatchErrors | None = None
    metadata: dict[str, str] | None = None

    @property
    def ended(self) -> bool:
        """Whether its status will not change any more."""
        return self.status in ENDED


class Batches:
    """Starts batches, and follows and ends them."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def create(
        self,
        *,
        input_file_id: str,
        endpoint: str,
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> Batch:
        """Start a batch. It costs money, so it is not started again when it may have been; `list` shows whether it was.

        Args:
            input_file_id: of a file with the purpose ``batch``.
            endpoint: such as ``/v1/chat/completions``.
            metadata: by which it can be found again.

        Raises:
            ApiError: no answer.
        """
        body = given(
            extra_body,
            input_file_id=input_file_id,
            endpoint=endpoint,
            completion_window=completion_window,
            metadata=metadata,
        )
        return await self._channel.ask(Batch, Call(method="POST", path="/batches", body=body, creates=True))

    async def retrieve(self, batch_id: str) -> Batch:
        """One batch."""
        return await self._channel.ask(Batch, Call(method="GET", path=f"/batches/{segment(batch_id)}"))

    def list(self, *, after: str | None = None, limit: int | None = None) -> AsyncIterator[Batch]:
        """All batches, the newest first; `limit` is the size of a page."""
        return pages(self._channel, Batch, "/batches", params={"after": after, "limit": limit})

    async def cancel(self, batch_id: str) -> Batch:
        """End a batch; what is answered by then is kept in its output file."""
        call = Call(method="POST", path=f"/batches/{segment(batch_id)}/cancel", creates=True)
        return await self._channel.ask(Batch, call)
