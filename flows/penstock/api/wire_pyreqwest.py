"""The wire over pyreqwest (Rust's reqwest): for JSON calls, where requests per CPU-second count.

What was seen of it: time-outs come as several types (a silent server as a connect time-out), a kept connection that
the server has closed fails at once as a connection error, header values that are no text raise `ValueError`, and its
own thread must be idle when the interpreter ends.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from penstock.api.provider import Timeouts
from penstock.api.wire import (
    MAX_BODY,
    FailureKind,
    Kept,
    WireError,
    WireRequest,
    WireResponse,
    extra_authorities,
    too_large,
)

if TYPE_CHECKING:
    from pyreqwest.client import Client
    from pyreqwest.exceptions import RequestError
    from pyreqwest.http import HeaderMap
    from pyreqwest.response import Response

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_IDLE_SECONDS = 30.0
_MOST_IDLE = 512
# Its thread still lets go of Python objects after the last answer; an interpreter that ends meanwhile aborts.
_SETTLING_SECONDS = 0.05

_process: int | None = None


def usable() -> bool:
    """Whether this process may use pyreqwest: its runtime does not survive a fork."""
    return _process in {None, os.getpid()}


class PyreqwestWire:
    """`Wire` over pyreqwest; HTTP/1.1, kept connections, proxies and certificates from the environment."""

    def __init__(self, *, max_body: int = MAX_BODY) -> None:
        self._max_body = max_body
        self._clients: dict[Timeouts, tuple[Client, Kept]] = {}

    async def send(self, request: WireRequest, timeouts: Timeouts) -> WireResponse:
        """See `Wire.send`."""
        from pyreqwest.exceptions import RequestError

        client, kept = self._clients.get(timeouts) or self._open(timeouts)
        builder = client.request(request.method, request.url).headers(request.headers).body_bytes(request.body)
        reused = kept.begin()
        try:
            async with builder.build_streamed() as response:
                headers = _Headers(response.headers)
                body = await self._body(response, headers)
                kept.end(headers)
                return WireResponse(response.status, headers, body)
        except RequestError as error:
            raise translated(error, reused=reused) from None

    async def aclose(self) -> None:
        """See `Wire.aclose`."""
        clients, self._clients = self._clients, {}
        for client, _ in clients.values():
            await client.close()
        if clients:
            clients.clear()
            await asyncio.sleep(_SETTLING_SECONDS)

    def _open(self, timeouts: Timeouts) -> tuple[Client, Kept]:
        global _process  # noqa: PLW0603  # what it guards, the runtime of pyreqwest, is one per process too
        from pyreqwest.client import ClientBuilder

        _process = os.getpid()
        builder = (
            ClientBuilder()
            .follow_redirects(False)
            .connect_timeout(timedelta(seconds=timeouts.connect))
            .read_timeout(timedelta(seconds=timeouts.read))
            .timeout(timedelta(seconds=timeouts.total))
            .pool_idle_timeout(timedelta(seconds=_IDLE_SECONDS))
            .pool_max_idle_per_host(_MOST_IDLE)
        )
        for path in extra_authorities():
            for certificate in _CERTIFICATE.findall(path.read_bytes()):
                builder = builder.add_root_certificate_pem(certificate)
        opened = self._clients[timeouts] = builder.build(), Kept(_IDLE_SECONDS)
        return opened

    async def _body(self, response: Response, headers: Mapping[str, str]) -> bytes | memoryview:
        length = headers.get("content-length", "")
        if length.isdigit():
            if int(length) > self._max_body:
                raise too_large(self._max_body)
            return memoryview(await response.bytes())
        chunks: list[bytes] = []
        size = 0
        reader = response.body_reader
        while (chunk := await reader.read_chunk()) is not None:
            size += len(chunk)
            if size > self._max_body:
                raise too_large(self._max_body)
            chunks.append(chunk.to_bytes())
        return b"".join(chunks)


def translated(error: RequestError, *, reused: bool) -> WireError:
    """The one border: what pyreqwest raises, as `WireError`. `reused`: it may have gone over a kept connection."""
    from pyreqwest import exceptions as raised

    causes = [cause["message"] for cause in error.details.get("causes") or []]
    detail = causes[-1] if causes else error.message
    if isinstance(error, raised.RequestTimeoutError):
        return WireError(FailureKind.TIMEOUT, _timeout_detail(error, causes))
    if isinstance(error, raised.DecodeError):
        cut = any("end of file" in cause or "unexpected EOF" in cause for cause in causes)
        return WireError(FailureKind.CLOSED if cut else FailureKind.PROTOCOL, detail)
    if isinstance(error, raised.ConnectError) and "client error (Connect)" in causes:
        return WireError(FailureKind.CONNECT, detail)
    if isinstance(error, raised.NetworkError | raised.ClientClosedError):
        unanswered = "client error (SendRequest)" in causes
        return WireError(FailureKind.CLOSED, detail, stale=reused and unanswered)
    return WireError(FailureKind.PROTOCOL, detail)


def _timeout_detail(error: RequestError, causes: list[str]) -> str:
    if "client error (Connect)" in causes:
        return "no connection in time"
    return f"the server was silent for too long, or took too long in all ({error.message})"


class _Headers(Mapping[str, str]):
    """Response headers by name: few of twenty are ever looked at, so none is converted before."""

    __slots__ = ("_given",)

    def __init__(self, given: HeaderMap) -> None:
        self._given = given

    def __getitem__(self, name: str) -> str:
        try:
            values = self._given.getall(name)
        except ValueError:
            # A value that is no text says nothing.
            return ""
        if not values:
            raise KeyError(name)
        return values[-1]

    def get(self, name: str, default: Any = None) -> Any:
        """As of any mapping, without the cost of an exception for each header that is not there."""
        return self[name] if name in self._given else default

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(self._given.keys()))

    def __len__(self) -> int:
        return self._given.keys_len()
