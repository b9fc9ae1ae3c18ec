"""``/v1/files``: upload, list, retrieve, content, delete; and the files that other resources write.

Source: API reference, "Files": at most 512 MB each. Today's fields (`status`, `expires_at`) stand beside those of 2024.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import string
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.sandbox import errors, fields
from penstock.sandbox.contract import Answer, Call, Operation, Resource, Work, json_answer, json_work
from penstock.sandbox.errors import ApiError
from penstock.sandbox.pages import page
from penstock.sandbox.uploads import StoredUpload

if TYPE_CHECKING:
    from penstock.sandbox.archive import Collection
    from penstock.sandbox.state import Sandbox

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
LARGEST_FILE = 512 * 2**20
LARGEST_BATCH_FILE = 200 * 2**20
LEAST_LIFE = 3_600
LONGEST_LIFE = 2_592_000
_KEPT_BACK = frozenset({"assistants", "vision", "user_data"})
"""Purposes whose files the service takes but does not give back."""
_FORM_AROUND_IT = 2 * 2**20
_PIECE = 2**18
_FIELDS = frozenset({"purpose", "expires_after[anchor]", "expires_after[seconds]"})


def new_id(prefix: str, length: int = 22) -> str:
    """An id that no other object has, for example ``file-`` and 22 letters and digits."""
    letters = string.ascii_letters + string.digits
    return prefix + "".join(secrets.choice(letters) for _ in range(length))


def records(sandbox: Sandbox) -> Collection:
    """All files, as the API shows them."""
    return sandbox.archive.collection("files")


def content_path(sandbox: Sandbox, file_id: str) -> Path:
    """Where a file's bytes lie."""
    return sandbox.archive.folder("files") / file_id


def save(
    sandbox: Sandbox, content: StoredUpload, filename: str, purpose: str, expires_at: int | None = None
) -> dict[str, Any]:
    """Keep a file that lies in the archive's folder ``uploads``.

    Args:
        sandbox: the server.
        content: moved, not copied.
        filename: shown.
        purpose: one of the API's, those of results included.
        expires_at: seconds since 1970; the file is deleted then.

    Returns:
        The file object.
    """
    record: dict[str, Any] = {
        "id": new_id("file-"),
        "object": "file",
        "bytes": content.size,
        "created_at": int(sandbox.agenda.now()),
        "expires_at": expires_at,
        "filename": filename,
        "purpose": purpose,
        "status": "processed",
        "status_details": None,
    }
    # The bytes first: a server that is killed in between leaves bytes without a record, which `_restore` deletes.
    content.take(content_path(sandbox, record["id"]))
    records(sandbox).put(record["id"], record)
    _plan_end(sandbox, record)
    return record


def save_bytes(sandbox: Sandbox, content: bytes, filename: str, purpose: str) -> dict[str, Any]:
    """Keep a small file that the server made itself."""
    path = sandbox.archive.folder("uploads") / secrets.token_hex(16)
    path.write_bytes(content)
    return save(sandbox, StoredUpload(filename, "", path, len(content)), filename, purpose)


def lifetime(given: Mapping[str, Any], inside: str) -> int | None:
    """Seconds a file lives, from ``{"anchor": "created_at", "seconds": ...}``; None when nothing is asked.

    Raises:
        ApiError: the object is wrong; `inside` is its name.
    """
    if not given:
        return None
    anchor, seconds = (fields.required(given, name, f"{inside}.") for name in ("anchor", "seconds"))
    if anchor != "created_at":
        raise fields.unsupported_value(f"{inside}.anchor", anchor, ["created_at"])
    if type(seconds) is not int:
        raise errors.wrong_type(f"{inside}.seconds", "an integer", seconds)
    fields.within(f"{inside}.seconds", seconds, LEAST_LIFE, LONGEST_LIFE, "integer")
    return seconds


def _create(call: Call) -> Work:
    form = call.upload
    if unknown := sorted(form.fields.keys() - _FIELDS | form.files.keys() - {"file"}):
        raise errors.unknown_arguments(unknown)
    upload = form.files.get("file")
    if upload is None:
        raise errors.missing_parameter("file")
    purpose = form.get("purpose")
    if not purpose:
        raise errors.missing_parameter("purpose")
    if purpose not in PURPOSES:
        raise fields.unsupported_value("purpose", purpose, PURPOSES)
    _check_content(upload, purpose)
    seconds = lifetime(_expires_after(form.fields), "expires_after")
    if seconds is None and purpose == "batch":
        seconds = LONGEST_LIFE

    async def answer() -> Answer:
        expires_at = None if seconds is None else int(call.sandbox.agenda.now()) + seconds
        return json_answer(save(call.sandbox, upload, upload.filename, purpose, expires_at))

    return Work(answer)


def _check_content(upload: StoredUpload, purpose: str) -> None:
    if purpose == "batch" and not upload.filename.lower().endswith(".jsonl"):
        raise ApiError(400, "Invalid file format for Batch API. Must be .jsonl", param="file")
    if upload.size == 0:
        raise ApiError(400, "File is empty.", param="file")
    most = LARGEST_BATCH_FILE if purpose == "batch" else LARGEST_FILE
    if upload.size > most:
        raise ApiError(
            413,
            f"File is too large. Maximum file size for purpose '{purpose}' is {most} bytes, but got {upload.size}.",
            param="file",
        )


def _expires_after(sent: dict[str, list[str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("anchor", "seconds"):
        if values := sent.get(f"expires_after[{name}]"):
            value = values[-1]
            found[name] = int(value) if name == "seconds" and re.fullmatch(r"-?[0-9]{1,18}", value) else value
    return found


def _list(call: Call) -> Work:
    purpose = call.query.get("purpose")
    chosen = [record for record in records(call.sandbox) if not purpose or record["purpose"] == purpose]
    return json_work(page(chosen, call.query, most=10_000, default=10_000))


def _retrieve(call: Call) -> Work:
    return json_work(find(call))


def _content(call: Call) -> Work:
    record = find(call)
    if record["purpose"] in _KEPT_BACK:
        raise ApiError(400, f"Not allowed to download files of purpose: {record['purpose']}")

    async def answer() -> Answer:
        # Opened here: from now on the file can be read to its end even when it is deleted.
        file = content_path(call.sandbox, record["id"]).open("rb")

        async def pieces() -> AsyncIterator[bytes]:
            with file:
                while piece := await asyncio.to_thread(file.read, _PIECE):
                    yield piece

        name = re.sub(r'[^\x20-\x7e]|["\\]', "_", record["filename"])
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Answer(pieces(), media_type="application/octet-stream", headers=headers, length=record["bytes"])

    return Work(answer)


def _delete(call: Call) -> Work:
    record = find(call)

    async def answer() -> Answer:
        remove(call.sandbox, record["id"])
        return json_answer({"id": record["id"], "object": "file", "deleted": True})

    return Work(answer)


def find(call: Call) -> dict[str, Any]:
    """The file that the path names.

    Raises:
        ApiError: 404.
    """
    record = records(call.sandbox).get(call.path["file_id"])
    if record is None:
        raise ApiError(404, f"No such File object: {call.path['file_id']}", param="id")
    return record


def remove(sandbox: Sandbox, file_id: str) -> None:
    """Delete a file; nothing happens when there is none."""
    records(sandbox).remove(file_id)
    content_path(sandbox, file_id).unlink(missing_ok=True)


def _plan_end(sandbox: Sandbox, record: dict[str, Any]) -> None:
    if record["expires_at"] is not None:
        sandbox.agenda.at(record["expires_at"], lambda: remove(sandbox, record["id"]))


def _restore(sandbox: Sandbox) -> None:
    """Take up the files of an earlier server; what is without its bytes, or bytes without a record, goes."""
    if not len(records(sandbox)) and sandbox.settings.state is None:
        return
    present = {path.name for path in sandbox.archive.folder("files").iterdir()}
    for record in records(sandbox):
        if record["id"] in present:
            _plan_end(sandbox, record)
        else:
            records(sandbox).remove(record["id"])
    for name in present - {record["id"] for record in records(sandbox)}:
        content_path(sandbox, name).unlink()


RESOURCE = Resource(
    operations=(
        Operation(
            "POST", "/v1/files", _create, metered=False, largest_body=LARGEST_FILE + _FORM_AROUND_IT, upload=True
        ),
        Operation("GET", "/v1/files", _list, metered=False),
        Operation("GET", "/v1/files/{file_id}", _retrieve, metered=False),
        Operation("DELETE", "/v1/files/{file_id}", _delete, metered=False),
        Operation("GET", "/v1/files/{file_id}/content", _content, metered=False),
    ),
    restore=_restore,
)
