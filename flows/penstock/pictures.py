"""Image files that rows name: found and looked at before the first request, read when it is sent."""

from __future__ import annotations

import base64
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import FileChanged

LARGEST = 20_000_000
"""Bytes of an image at most (moderation guide)."""
_WEB = re.compile(r"https?://[^\s]+", re.IGNORECASE)
_DATA = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://|data:", re.IGNORECASE)
_HEAD = 12


class UnreadableImage(Exception):
    """The image that a row names cannot be sent; the message says why."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file that is an image: with `size` and `modified` (ns) it is known again when its content changes."""

    path: str
    size: int
    modified: int


def find_image(place: str, folder: str) -> str | ImageFile:
    """What a row's text names: the address itself where the service fetches it, else the file.

    Args:
        place: ``https://…``, ``data:image/…;base64,…``, or a file's path.
        folder: where relative paths start.

    Raises:
        UnreadableImage: it is nothing of the kind, or no file that can be read, or no image, or too large.
    """
    if _WEB.fullmatch(place) or _DATA.match(place):
        return place
    if _SCHEME.match(place):
        raise UnreadableImage(f"{_shown(place)} is neither an http(s) address, nor image data, nor a file's path")
    path = Path(folder, place)
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise UnreadableImage(f"{path} is not a file")
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except (OSError, ValueError) as error:
        raise UnreadableImage(f"{path} cannot be read: {_reason(error)}") from None
    if image_type(head) is None:
        raise UnreadableImage(f"{path} is no PNG, JPEG, GIF or WebP image")
    if about.st_size > LARGEST:
        raise UnreadableImage(f"{path} has {about.st_size:,} bytes and the API takes {LARGEST:,}")
    return ImageFile(str(path), about.st_size, about.st_mtime_ns)


def image_type(head: bytes) -> str | None:
    """The MIME type by the first 12 bytes of a file; None when it is no image that the API takes."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:6] in {b"GIF87a", b"GIF89a"}:
        return "image/gif"
    return "image/webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def data_url(image: ImageFile) -> str:
    """The file as a data URL.

    Raises:
        FileChanged: it cannot be read any more, or is not the one that was looked at.
    """
    path = Path(image.path)
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            content = file.read()
    except OSError as error:
        raise FileChanged(f"{path} cannot be read any more: {_reason(error)}; a retry looks at it again") from None
    kind = image_type(content[:_HEAD])
    if kind is None or (about.st_size, about.st_mtime_ns) != (image.size, image.modified):
        raise FileChanged(f"{path} was changed since it was looked at; a retry looks at it again")
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _shown(place: str) -> str:
    return repr(place if len(place) <= 80 else f"{place[:80]}…")
