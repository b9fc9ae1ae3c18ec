"""The seam to the network: one request in; status, headers and bytes out; or a typed failure.

Everything above `Wire.send` knows nothing of how HTTP is spoken. Two implementations stand behind it: connections of
our own for the engine's many calls, httpx for users' own transports and for proxies of other kinds. One contract test
runs over both.
"""

from __future__ import annotations

import os
import re
import ssl
import sys
import time
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol

from penstock.api.provider import Timeouts
from penstock.errors import InputError, PenstockError

MAX_BODY = 512_000_000
"""Bytes of a response at most, so that a runaway server cannot fill the memory."""

_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")

CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Environment variables that name a PEM file of further certificate authorities; the first that is set is taken."""


class WireRequest(NamedTuple):
    """One HTTP request, complete."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""

    def __repr__(self) -> str:
        """Without the headers, in which the key is, and without the body."""
        return f"WireRequest({self.method!r}, {self.url!r})"


class WireResponse(NamedTuple):
    """One HTTP response, read to its end.

    Attributes:
        headers: names in lower case; of a name that comes twice, the last.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes | memoryview


class FailureKind(StrEnum):
    """What went wrong on the way, as far as it decides what to do next."""

    CONNECT = "connect"
    """No connection: name not found, refused, TLS not agreed. The request was not sent."""
    TIMEOUT = "timeout"
    """A deadline passed: connecting, in silence, or in all."""
    CLOSED = "closed"
    """The connection ended before the answer did: reset, closed, cut."""
    PROTOCOL = "protocol"
    """What came is not HTTP, or its body is not encoded as its headers say."""
    TOO_LARGE = "too_large"
    """The body is longer than the wire takes."""


class WireError(PenstockError):
    """A request without a response.

    Attributes:
        kind: see `FailureKind`.
        detail: a few words, without the URL.
        stale: True when the connection may have been a kept one that the server had just closed: then the request
            was most likely never read, and sending it again at once is right.
    """

    def __init__(self, kind: FailureKind, detail: str, *, stale: bool = False) -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail
        self.stale = stale

    def __str__(self) -> str:
        return self.detail

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return _wire_error, (self.kind, self.detail, self.stale)


def _wire_error(kind: FailureKind, detail: str, stale: bool) -> WireError:
    return WireError(kind, detail, stale=stale)


class Kept:
    """How many kept connections a client may have: whether a failure can be that of one the server has just closed.

    Libraries do not say whether a request went over a kept connection. What is counted here may be too low, when a
    request takes over a connection that came free meanwhile; then a failure only counts as the failure that it is.

    Args:
        idle_seconds: after which the library closes a connection that nothing uses.
    """

    def __init__(self, idle_seconds: float) -> None:
        self._idle_seconds = idle_seconds
        self._idle = 0
        self._used_at = 0.0

    def begin(self) -> bool:
        """A request is about to be sent; whether it may go over a kept connection."""
        if time.monotonic() - self._used_at > self._idle_seconds:
            self._idle = 0
        if not self._idle:
            return False
        self._idle -= 1
        return True

    def end(self, headers: Mapping[str, str]) -> None:
        """A whole response came; its connection is kept unless the server says that it closes it."""
        self._used_at = time.monotonic()
        self._idle += headers.get("connection", "").lower() != "close"


class Wire(Protocol):
    """Sends requests; many at a time, all in one event loop."""

    async def send(self, request: WireRequest, timeouts: Timeouts) -> WireResponse:
        """The response, whatever its status; redirects are not followed.

        Raises:
            WireError: no whole response came.
        """

    async def aclose(self) -> None:
        """Close all connections."""


def too_large(limit: int) -> WireError:
    """The error of a body that is longer than `limit` bytes."""
    return WireError(FailureKind.TOO_LARGE, f"the response is longer than {limit:,} bytes")


def extra_authorities() -> list[Path]:
    """PEM files of certificate authorities that the environment names, besides those of the system.

    Raises:
        InputError: a variable names a file or folder that is not there or cannot be used as PEM.
    """
    files: list[Path] = []
    for variable in CA_VARIABLES:
        if value := os.environ.get(variable, "").strip():
            files += _pem_files(variable, Path(value))
            break
    if value := os.environ.get("SSL_CERT_DIR", "").strip():
        for folder in value.split(os.pathsep):
            files += _pem_files("SSL_CERT_DIR", Path(folder))
    return files


def trust() -> ssl.SSLContext:
    """Certificates are checked against the system's authorities and those that the environment names.

    Raises:
        InputError: as `extra_authorities`.
    """
    context = ssl.create_default_context()
    places = ssl.get_default_verify_paths()
    file, folder = Path(places.openssl_cafile), Path(places.openssl_capath)
    # By themselves, for OpenSSL takes what SSL_CERT_FILE and SSL_CERT_DIR name in their place.
    if file.is_file():
        context.load_verify_locations(cafile=str(file))
    has_folder = _holds_authorities(folder)
    if has_folder:
        context.load_verify_locations(capath=str(folder))
    if not file.is_file() and not has_folder and sys.platform != "win32":
        import certifi

        context.load_verify_locations(cafile=certifi.where())
    for path in extra_authorities():
        context.load_verify_locations(cafile=str(path))
    return context


def _holds_authorities(folder: Path) -> bool:
    """Whether OpenSSL finds any in a folder: by names that are made of what is in them."""
    try:
        return any(_HASHED.fullmatch(path.name) for path in folder.iterdir())
    except OSError:
        return False


def _pem_files(variable: str, path: Path) -> list[Path]:
    if not path.exists():
        raise InputError(f"{variable} names {path}, which does not exist; no certificate can be checked against it")
    if path.is_dir():
        # Other files stand in such folders too: a README, lists of revoked certificates.
        return sorted(entry for entry in path.iterdir() if entry.is_file() and _pem_fault(entry) is None)
    if fault := _pem_fault(path):
        raise InputError(f"{variable} names {path}, which is no PEM file of certificates: {fault}")
    return [path]


def _pem_fault(path: Path) -> str | None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=str(path))
    except OSError as error:
        return str(error)
    return None
