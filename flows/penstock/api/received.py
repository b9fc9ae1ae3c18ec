"""What was received, as callers want it: headers by name, bodies unpacked."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from penstock.api.wire import FailureKind, WireError, too_large

_GZIP_OR_ZLIB = 47
_GZIP = b"\x1f\x8b"
_MOST_FILES = 16
"""Of gzip in one body: each costs a copy of what follows it."""
_PACKED = frozenset({"gzip", "x-gzip", "deflate"})


class ReceivedHeaders(Mapping[str, str]):
    """Response headers by name: few of twenty are ever looked at, so none is converted before."""

    __slots__ = ("_given",)

    def __init__(self, given: dict[bytes, bytes]) -> None:
        self._given = given

    def __getitem__(self, name: str) -> str:
        return self._given[name.encode("latin-1")].decode("latin-1")

    def get(self, name: str, default: Any = None) -> Any:
        """As of any mapping, without the cost of an exception for each header that is not there."""
        value = self._given.get(name.encode("latin-1"))
        return default if value is None else value.decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._given)

    def __len__(self) -> int:
        return len(self._given)


def unpacked(body: bytes | memoryview, encoding: str, most: int) -> bytes | memoryview:
    """The body as it was before the server packed it, which none is asked to; as it is if it is not packed with zlib.

    Raises:
        WireError: it is not packed as its headers say, or longer than `most` bytes.
    """
    if encoding not in _PACKED or not len(body):
        return body
    try:
        return memoryview(_unpacked(bytes(body), _GZIP_OR_ZLIB, encoding, most))
    except zlib.error as error:
        if encoding == "deflate":
            # Some servers leave the frame out that belongs around it.
            with suppress(zlib.error):
                return memoryview(_unpacked(bytes(body), -zlib.MAX_WBITS, encoding, most))
        raise WireError(FailureKind.PROTOCOL, f"its body is not encoded as {encoding}: {error}") from None


def _unpacked(rest: bytes, bits: int, encoding: str, most: int) -> bytearray:
    data = bytearray()
    for _ in range(_MOST_FILES):
        unpacker = zlib.decompressobj(bits)
        data += unpacker.decompress(rest, most + 1 - len(data))
        if len(data) > most:
            raise too_large(most)
        if not unpacker.eof:
            raise WireError(FailureKind.CLOSED, f"its {encoding} body ends too early")
        # One file of gzip may follow another; anything else is padding, and what came before it is whole.
        rest = unpacker.unused_data
        if not rest.startswith(_GZIP):
            return data
    raise WireError(FailureKind.PROTOCOL, f"its body is more than {_MOST_FILES} files of gzip")
