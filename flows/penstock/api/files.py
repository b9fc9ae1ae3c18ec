"""``/files``: data for fine-tuning, batches and the rest.

Source: API reference, "Files".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from penstock.api.channel import Call, Channel, segment
from penstock.api.download import check_target, save
from penstock.api.objects import ApiObject, Deleted
from penstock.api.paging import pages
from penstock.api.upload import FilePart, Progress

MOST_BYTES = 512 * 2**20
"""The service's limit for one file: 512 MB."""


class FileObject(ApiObject):
    """A file that the service holds; times in seconds since the epoch."""

    id: str
    bytes: int = 0
    created_at: int = 0
    filename: str = ""
    purpose: str = ""
    status: str | None = None
    status_details: str | None = None
    expires_at: int | None = None


class Files:
    """Puts files there, and finds, fetches and deletes them."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def upload(
        self,
        path: str | Path,
        purpose: str,
        *,
        filename: str | None = None,
        expires_after: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> FileObject:
        """Send a file, in pieces: it is never in memory as a whole.

        It is not sent again when it may have arrived; `list` shows whether it did.

        Args:
            purpose: ``fine-tune``, ``batch``, ``assistants``, ``vision``, ``user_data`` or ``evals``.
            filename: what the service calls it; its own name if left out.
            expires_after: such as ``{"anchor": "created_at", "seconds": 86400}``.
            progress: told how many bytes have gone.

        Raises:
            ApiError: no answer.
            InputError: the file is not there, empty, larger than 512 MB, or changes on the way.
        """
        part = FilePart.of(path, name=filename, most=MOST_BYTES, progress=progress)
        expiry = {f"expires_after[{name}]": str(value) for name, value in (expires_after or {}).items()}
        call = Call(
            method="POST",
            path="/files",
            fields={"purpose": purpose, **expiry},
            file=part,
            creates=True,
            bounded=False,
        )
        return await self._channel.ask(FileObject, call)

    def list(
        self,
        *,
        purpose: str | None = None,
        limit: int | None = None,
        order: str | None = None,
        after: str | None = None,
    ) -> AsyncIterator[FileObject]:
        """All files, or those of a purpose; `limit` is the size of a page."""
        params = {"purpose": purpose, "limit": limit, "order": order, "after": after}
        return pages(self._channel, FileObject, "/files", params=params)

    async def retrieve(self, file_id: str) -> FileObject:
        """One file's description."""
        return await self._channel.ask(FileObject, Call(method="GET", path=f"/files/{segment(file_id)}"))

    async def content(self, file_id: str, path: str | Path, *, progress: Progress | None = None) -> Path:
        """Write a file's content to `path`; it is there whole or not at all.

        Raises:
            ApiError: no answer, or it ended early.
            InputError: `path` cannot be written.
        """
        target = check_target(path)
        call = Call(method="GET", path=f"/files/{segment(file_id)}/content", headers={"accept": "*/*"}, bounded=False)
        async with self._channel.opened(call) as incoming:
            await save(incoming, target, progress)
        return target

    async def delete(self, file_id: str) -> Deleted:
        """Delete a file."""
        return await self._channel.ask(Deleted, Call(method="DELETE", path=f"/files/{segment(file_id)}"))
