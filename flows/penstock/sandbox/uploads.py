"""Large uploads: a multipart form read piece by piece, its files straight to disk, nothing left when it breaks off.

Forms that are read whole are in `penstock.sandbox.forms`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.types import Receive

from penstock.sandbox import errors
from penstock.sandbox.errors import ApiError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MULTIPART = "multipart/form-data"
MOST_PARTS = 64
LARGEST_FIELD = 2**20
"""Bytes of a field that is not a file."""
_WRITE_AT = 2**20
"""Bytes that are gathered before they go to the disk, in another thread."""


@dataclass(slots=True)
class StoredUpload:
    """A file of a form, whole and on disk.

    Attributes:
        filename: as the client named it, without folders.
        content_type: as the client says.
        path: where it lies until the request is over; `take` keeps it.
        size: bytes.
    """

    filename: str
    content_type: str
    path: Path
    size: int = 0

    def take(self, target: Path) -> None:
        """Keep the file: move it to `target`, which must be on the same file system."""
        os.replace(self.path, target)  # noqa: PTH105  # the name says that it is atomic


@dataclass(slots=True)
class StreamedForm:
    """The parts of a form by name.

    Attributes:
        fields: each with all its values, in their order.
        files: the last one of each name.
        stored: all files.
    """

    fields: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, StoredUpload] = field(default_factory=dict)
    stored: list[StoredUpload] = field(default_factory=list)

    def get(self, name: str) -> str | None:
        """The last value of a field, None when it was not sent."""
        return self.fields[name][-1] if name in self.fields else None

    def discard(self) -> None:
        """Delete the files that nobody took."""
        for upload in self.stored:
            upload.path.unlink(missing_ok=True)


class ClientGone(Exception):
    """The client went away before its body was whole."""


async def read_form(receive: Receive, content_type: str, folder: Path, most: int) -> StreamedForm:
    """Read a form from a request, with its files in `folder`.

    Args:
        receive: of the request.
        content_type: its header.
        folder: for the files; on the file system where they are to stay.
        most: bytes of the whole body.

    Raises:
        ApiError: it is no form, is broken, or too large.
        ClientGone: it broke off. In all these cases no file stays.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != MULTIPART.encode() or not boundary:
        raise _not_a_form(content_type)
    reader = _Reader(folder)
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        async for piece in _pieces(receive, most):
            parser.write(piece)
            await reader.flush(_WRITE_AT)
        parser.finalize()
        await reader.flush(0)
        reader.check_end()
    except FormParserError:
        reader.form.discard()
        raise _broken() from None
    except BaseException:
        reader.form.discard()
        raise
    finally:
        reader.close()
    return reader.form


async def _pieces(receive: Receive, most: int) -> AsyncIterator[bytes]:
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece: bytes = message.get("body", b"")
        size += len(piece)
        last = not message.get("more_body", False)
        # A little more than allowed is read and forgotten: an answer amid a body is lost to many clients.
        if size > most and (last or size > 2 * most):
            error = errors.body_too_large(most)
            error.headers["connection"] = "close"
            raise error
        if size <= most:
            yield piece
        if last:
            return


class _Reader:
    """Takes the parser's calls; what belongs to files waits in memory until `flush`."""

    def __init__(self, folder: Path) -> None:
        self.form = StreamedForm()
        self._ended = False
        self._folder = folder
        self._parts = 0
        self._header = (bytearray(), bytearray())
        self._headers: dict[str, bytes] = {}
        self._name = ""
        self._text: bytearray | None = None
        self._upload: StoredUpload | None = None
        self._file: IO[bytes] | None = None
        self._waiting: list[tuple[IO[bytes], bytes]] = []
        self._waiting_size = 0
        self._done: list[IO[bytes]] = []

    def callbacks(self) -> MultipartCallbacks:
        """What the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._all,
        }

    async def flush(self, at_least: int) -> None:
        """Write what waits if it is `at_least` so many bytes, beside other requests."""
        if self._waiting_size >= at_least and self._waiting:
            waiting, self._waiting, self._waiting_size = self._waiting, [], 0
            await asyncio.to_thread(_write, waiting)

    def check_end(self) -> None:
        """400 for a form without its last boundary."""
        if not self._ended:
            raise _broken()

    def close(self) -> None:
        """Close all files."""
        for file in (*self._done, self._file):
            if file is not None:
                file.close()

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise ApiError(400, f"Too many parts in the form; at most {MOST_PARTS} are allowed.")
        self._headers = {}
        self._header = (bytearray(), bytearray())

    def _header_end(self) -> None:
        name, value = self._header
        self._headers[name.decode("latin-1").lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        self._name = options.get(b"name", b"").decode(errors="replace")
        if b"filename" in options:
            filename = options[b"filename"].decode(errors="replace").replace("\\", "/").rpartition("/")[2]
            kind = self._headers.get("content-type", b"application/octet-stream").decode("latin-1")
            self._upload = StoredUpload(filename, kind, self._folder / secrets.token_hex(16))
            self.form.stored.append(self._upload)
            self._file = self._upload.path.open("wb")
            self.form.files[self._name] = self._upload
        else:
            self._text = bytearray()

    def _data(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if self._text is not None:
            self._text += piece
            if len(self._text) > LARGEST_FIELD:
                raise ApiError(400, f"The field '{self._name}' is larger than {LARGEST_FIELD} bytes.", param=self._name)
        elif self._file is not None and self._upload is not None:
            self._waiting.append((self._file, piece))
            self._waiting_size += len(piece)
            self._upload.size += len(piece)

    def _end(self) -> None:
        if self._text is not None:
            self.form.fields.setdefault(self._name, []).append(self._text.decode(errors="replace"))
            self._text = None
        elif self._file is not None:
            self._done.append(self._file)
            self._file = self._upload = None

    def _all(self) -> None:
        self._ended = True


def _write(waiting: list[tuple[IO[bytes], bytes]]) -> None:
    for file, piece in waiting:
        file.write(piece)


def _broken() -> ApiError:
    return ApiError(400, "Could not parse multipart form: the body is malformed or breaks off.")


def _not_a_form(content_type: str) -> ApiError:
    return ApiError(
        400,
        f"Unsupported content type: '{content_type}'. This API method only accepts '{MULTIPART}' requests, with a "
        "boundary. Please try again with a supported content type.",
        code="unsupported_content_type",
    )
