"""A full, unwritable or vanished disk stops the run with one sentence, and loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from penstock.engine.driver import STORAGE_ERRORS
from penstock.errors import StorageFailed


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn such an `OSError` into `StorageFailed`."""
    try:
        yield
    except FileNotFoundError as error:
        raise StorageFailed(
            f"{error.filename} is gone: was the state folder removed during the run? Resume asks for what is missing"
        ) from error
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        raise StorageFailed(
            f"{error.strerror}: {error.filename or 'the state folder'}. Everything answered so far is kept; "
            "make room or mend the permissions, then run `penstock resume`"
        ) from error
