"""A body that becomes a file: whole under its name, or not there at all."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

from penstock.api.channel import Incoming, refuse_web_page
from penstock.api.errors import ConnectionFailed, UnusableBody
from penstock.api.upload import Progress
from penstock.errors import InputError


def check_target(path: str | Path) -> Path:
    """`path`, once a file can be written there: asked before the request that has to be paid for.

    Raises:
        InputError: its folder does not exist, or it is a folder itself.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist")
    return path


async def save(incoming: Incoming, path: Path, progress: Progress | None = None) -> int:
    """Write the body of `incoming` to `path`, replacing what is there, and return its size in bytes.

    It is written beside `path` first, so that a cut connection or a full disk leaves what was there before.

    Raises:
        ApiError: the body does not come whole, is empty, or is a web page.
        InputError: the file cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        size = await _write(incoming, unfinished, progress)
        unfinished.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return size


async def _write(incoming: Incoming, path: Path, progress: Progress | None) -> int:
    size = 0
    with path.open("xb") as file:
        async for chunk in incoming.chunks():
            if not size:
                refuse_web_page(incoming, chunk)
            size += file.write(chunk)
            if progress is not None:
                progress(size, incoming.length)
        file.flush()
        os.fsync(file.fileno())
    if incoming.length is not None and size != incoming.length:
        raise ConnectionFailed(f"{size:,} of {incoming.length:,} bytes came", incoming.facts())
    if not size:
        raise UnusableBody("an empty body came instead of a file", incoming.facts())
    return size
