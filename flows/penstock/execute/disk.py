"""A full or unwritable disk stops the run with one sentence, and loses nothing."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from penstock.engine.control import RunControl
from penstock.errors import StorageFailed

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


@contextmanager
def storage_errors(control: RunControl | None = None) -> Iterator[None]:
    """Turn such an `OSError` into `StorageFailed`, and stop the whole run by `control`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        stop = StorageFailed(
            f"{error.strerror}: {error.filename or 'the state folder'}. Everything answered so far is kept; "
            "make room or mend the permissions, then run `penstock resume`"
        )
        if control is not None:
            control.request_stop(stop)
        raise stop from error
