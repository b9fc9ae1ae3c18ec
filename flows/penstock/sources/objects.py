"""Objects of remote storage: listed, looked at and read in ranges, with credentials from the environment alone.

S3 and what speaks its protocol (``s3://``), Google Cloud Storage (``gs://``) and Azure Blob Storage (``az://``),
through obstore. The variables are those of the object_store library: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_REGION, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME and so on.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from penstock.errors import InputError
from penstock.secrets import redact
from penstock.sources.base import FileState

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_SCHEMES = ("s3", "gs", "az")
_BLOCK = 8 << 20
_RETRIES = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}


def is_address(text: str) -> bool:
    """Whether a path is an address with a scheme."""
    return _ADDRESS.match(text) is not None


def check_address(address: str) -> None:
    """Make sure that an address is of a storage that can be read.

    Raises:
        InputError: it is not.
    """
    match = _ADDRESS.match(address)
    scheme = match[1].lower() if match else ""
    bucket, _, key = address.partition("://")[2].partition("/")
    if scheme not in _SCHEMES:
        raise InputError(
            f"source.path: {scheme}:// is not read; rows come from files of this machine, s3://, gs:// and az://, or "
            "from a query (`sql` and `uri`)"
        )
    if not bucket or not key or any(mark in bucket for mark in "*?[@"):
        raise InputError(f"source.path: {address} needs a bucket and a key, like {scheme}://bucket/folder/*.parquet")


@lru_cache(maxsize=32)
def _store(root: str, environment: tuple[tuple[str, str], ...]) -> Any:  # noqa: ARG001  # other variables, other store
    try:
        from obstore.store import from_url
    except ImportError:
        raise InputError(
            "source.path: object storage needs the extra `storage`: pip install 'penstock[storage]'"
        ) from None
    options: Any = {"retry_config": _RETRIES}
    if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        # Who names such a server wants it.
        options["client_options"] = {"allow_http": True}
    return from_url(root, **options)


def _opened(address: str) -> tuple[Any, str]:
    """The store of an address, and the object's key in it."""
    check_address(address)
    scheme, _, rest = address.partition("://")
    bucket, _, key = rest.partition("/")
    prefixes = ("AWS_", "GOOGLE_", "AZURE_")
    environment = tuple(sorted(one for one in os.environ.items() if one[0].upper().startswith(prefixes)))
    with _told(address):
        return _store(f"{scheme.lower()}://{bucket}", environment), key


@contextmanager
def _told(address: str) -> Iterator[None]:
    """What the library raises, as one sentence without credentials."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError:
        raise InputError(f"source.path: {address} does not exist") from None
    except (BaseError, ValueError, OSError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = redact(lines[0] if lines else type(error).__name__)[:300]
        raise InputError(f"source.path: {address} cannot be read: {reason}") from None


def list_objects(pattern: str) -> list[FileState]:
    """The objects that an address means, sorted by it: itself, those below it when it ends with ``/``, or a glob's.

    Objects whose names below the fixed part of the pattern begin with a dot or an underscore are left out.

    Raises:
        InputError: the storage cannot be read.
    """
    store, key = _opened(pattern)
    root = pattern[: len(pattern) - len(key)]
    has_wildcard = any(mark in key for mark in "*?[")
    if not has_wildcard and not key.endswith("/"):
        try:
            return [object_state(pattern)]
        except InputError as error:
            if "does not exist" not in str(error):
                raise
            # A folder, written without the slash at its end; the store knows only what lies below.
            return list_objects(f"{pattern}/")
    fixed = key if not has_wildcard else "".join(re.split(r"[*?\[]", key, maxsplit=1)[0].rpartition("/")[:2])
    wanted = _as_expression(key if has_wildcard else f"{key}**")
    found: list[FileState] = []
    import obstore

    with _told(pattern):
        for batch in obstore.list(store, prefix=fixed or None):
            for meta in batch:
                below = meta["path"].removeprefix(fixed)
                hidden = any(part.startswith((".", "_")) for part in below.split("/"))
                if wanted.fullmatch(meta["path"]) and not hidden and meta["size"]:
                    found.append(_state(root + meta["path"], cast("dict[str, Any]", meta)))
    return sorted(found, key=lambda state: state.path)


def object_state(address: str) -> FileState:
    """Size, time and tag of an object.

    Raises:
        InputError: it is not there, or the storage cannot be read.
    """
    store, key = _opened(address)
    import obstore

    with _told(address):
        return _state(address, cast("dict[str, Any]", obstore.head(store, key)))


def read_range(address: str, start: int, end: int) -> bytes:
    """The bytes from `start` to before `end`, or to the object's end if that comes first.

    Raises:
        InputError: the storage cannot be read.
    """
    if end <= start:
        return b""
    store, key = _opened(address)
    import obstore

    with _told(address):
        return bytes(obstore.get_range(store, key, start=start, end=end))


class ObjectReader(io.RawIOBase):
    """An object from its beginning to its end, in blocks of 8 MB."""

    def __init__(self, address: str, size: int) -> None:
        super().__init__()
        self._address = address
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer with the next bytes."""
        view = memoryview(buffer).cast("B")
        block = read_range(self._address, self._place, min(self._size, self._place + len(view)))
        view[: len(block)] = block
        self._place += len(block)
        return len(block)


def open_object(address: str, size: int) -> io.BufferedReader:
    """The object as a file that is read forwards."""
    return io.BufferedReader(ObjectReader(address, size), _BLOCK)


def _state(address: str, meta: dict[str, Any]) -> FileState:
    modified = int(meta["last_modified"].timestamp() * 1_000_000) * 1000
    tag = (meta.get("e_tag") or "").strip('"')
    return FileState(address, meta["size"], modified, f"{meta['size']}-{tag or modified}")


def _as_expression(pattern: str) -> re.Pattern[str]:
    """A glob as a regular expression: ``*`` and ``?`` stay in one folder, ``**`` goes through any number of them."""
    text = ""
    place = 0
    while place < len(pattern):
        if pattern.startswith("**/", place):
            text, place = text + r"(?:[^/]+/)*", place + 3
        elif pattern.startswith("**", place):
            text, place = text + ".*", place + 2
        elif pattern[place] == "[" and (end := pattern.find("]", place + 2)) > 0:
            inner = pattern[place + 1 : end].replace("\\", r"\\")
            text += f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
            place = end + 1
        else:
            mark = pattern[place]
            text, place = text + {"*": "[^/]*", "?": "[^/]"}.get(mark, re.escape(mark)), place + 1
    return re.compile(text)
