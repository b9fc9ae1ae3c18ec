"""Files to the service, each content once: what the lock file does not know is looked for in the service's own list."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.outputs.finetune.at_server import AtServer, written_now
from penstock.values import format_size

if TYPE_CHECKING:
    from penstock.api.files import FileObject

PURPOSE = "fine-tune"


class Uploads(AtServer):
    """Brings files to one server."""

    async def file_id(self, file: Path, entry: Mapping[str, Any]) -> str:
        """The service's id of a file; sent only where the service does not hold it.

        Args:
            entry: its ``sha256`` and ``bytes``.

        Raises:
            ApiError: the service fails or refuses.
            InputError: the file is not there, or larger than the service takes.
        """
        sha256, size = entry["sha256"], entry["bytes"]
        known = self._known.file(sha256).get("id")
        if known is not None:
            if await self._is_there(known):
                self._note(f"{file.name} is {known} at the service already: not uploaded again")
                return str(known)
            self._note(f"{file.name} was {known}, which the service does not hold any more: uploaded again")
            self._known.note_file(sha256, id=None, state="sending")
        found = await self._found(file, size, sha256)
        if found is not None:
            self._known.note_file(sha256, name=file.name, bytes=size, id=found.id, state="uploaded")
            self._note(f"{file.name} was found at the service as {found.id}: not uploaded again")
            return found.id
        self._known.note_file(sha256, name=file.name, bytes=size, state="sending", id=None, at=written_now())
        sent = await self._api.files.upload(file, PURPOSE, filename=file.name, progress=self._progress(file.name))
        self._known.note_file(sha256, id=sent.id, state="uploaded", at=written_now())
        self._note(f"{file.name}: uploaded as {sent.id}, {format_size(size)}")
        return sent.id

    async def _is_there(self, file_id: str) -> bool:
        from penstock.api.errors import NotFound

        try:
            await self._api.files.retrieve(file_id)
        except NotFound:
            return False
        return True

    async def _found(self, file: Path, size: int, sha256: str) -> FileObject | None:
        """A file at the service of the same name, which holds the content's digest, of the same size and bytes."""
        self._tell(f"looking for {file.name} at the service")
        async for one in self._api.files.list(purpose=PURPOSE):
            same = one.filename == file.name and one.bytes == size and one.status not in {"error", "deleted"}
            if same and await self._holds(one.id, sha256):
                return one
        return None

    async def _holds(self, file_id: str, sha256: str) -> bool:
        """Whether the file's bytes are these, as far as the service gives them out: some accounts get none."""
        from penstock.api.errors import BadRequest, Forbidden

        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "content"
            try:
                await self._api.files.content(file_id, copy)
            except (BadRequest, Forbidden):
                return True
            with copy.open("rb") as handle:
                return hashlib.file_digest(handle, "sha256").hexdigest() == sha256

    def _progress(self, name: str) -> Callable[[int, int | None], None]:
        def tell(done: int, size: int | None) -> None:
            self._tell(f"uploading {name}: {format_size(done)} of {format_size(size or 0)}")

        return tell
