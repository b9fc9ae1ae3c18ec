"""The wire over httpx: for users' own transports, and for proxies that do not speak HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from penstock.api.provider import Timeouts
from penstock.api.routes import check_proxies
from penstock.api.wire import (
    MAX_BODY,
    FailureKind,
    Kept,
    WireError,
    WireRequest,
    WireResponse,
    too_large,
    trust,
)
from penstock.errors import InputError

if TYPE_CHECKING:
    import httpx

_MOST_IDLE = 64
_IDLE_SECONDS = 4.0


class HttpxWire:
    """`Wire` over an `httpx.AsyncClient`.

    Args:
        transport: a transport of the user's own, for example one that signs requests or answers without a network;
            proxies and certificates are then the transport's business.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None, *, max_body: int = MAX_BODY) -> None:
        self._transport = transport
        self._max_body = max_body
        self._client: httpx.AsyncClient | None = None
        self._kept = Kept(_IDLE_SECONDS)

    async def send(self, request: WireRequest, timeouts: Timeouts) -> WireResponse:
        """See `Wire.send`."""
        import httpx

        client = self._client or self._open()
        # No waiting for the pool: what may be in flight is decided above this seam.
        limits = httpx.Timeout(connect=timeouts.connect, read=timeouts.read, write=timeouts.read, pool=None)
        headers = dict(request.headers)
        reused = self._kept.begin()
        try:
            async with (
                asyncio.timeout(timeouts.total),
                client.stream(
                    request.method, request.url, headers=headers, content=request.body, timeout=limits
                ) as response,
            ):
                body = await self._body(response)
                came = dict(response.headers.items())
                self._kept.end(came)
                return WireResponse(response.status_code, came, body)
        except TimeoutError:
            raise WireError(FailureKind.TIMEOUT, f"no whole answer in {timeouts.total:g} s") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise translated(error, reused=reused) from None

    async def aclose(self) -> None:
        """See `Wire.aclose`."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _open(self) -> httpx.AsyncClient:
        self._client = open_client(self._transport)
        return self._client

    async def _body(self, response: httpx.Response) -> bytes:
        length = response.headers.get("content-length", "")
        if length.isdigit() and int(length) > self._max_body:
            raise too_large(self._max_body)
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > self._max_body:
                raise too_large(self._max_body)
            chunks.append(chunk)
        return b"".join(chunks)


def open_client(transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """A client that follows no redirects, with proxies and certificates from the environment.

    Raises:
        InputError: a file of certificates is not there, the address of a proxy makes no sense, or what a SOCKS proxy
            needs is not installed.
    """
    import httpx

    check_proxies()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=_MOST_IDLE, keepalive_expiry=_IDLE_SECONDS)
    try:
        return httpx.AsyncClient(transport=transport, verify=trust(), follow_redirects=False, limits=limits)
    except ImportError:
        raise InputError(
            "the environment names a SOCKS proxy, for which a library is missing: pip install 'httpx[socks]'"
        ) from None


def translated(error: httpx.TransportError | httpx.DecodingError, *, reused: bool) -> WireError:
    """The one border: what httpx raises, as `WireError`. `reused`: it may have gone over a kept connection."""
    import httpx

    detail = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        return WireError(FailureKind.TIMEOUT, f"{type(error).__name__}: {detail}" if str(error) else detail)
    if isinstance(error, httpx.ConnectError | httpx.ProxyError | httpx.UnsupportedProtocol):
        return WireError(FailureKind.CONNECT, detail)
    if isinstance(error, httpx.NetworkError):
        return WireError(FailureKind.CLOSED, detail, stale=reused)
    if isinstance(error, httpx.RemoteProtocolError) and _ended(detail):
        return WireError(FailureKind.CLOSED, detail, stale=reused and "without sending" in detail)
    return WireError(FailureKind.PROTOCOL, detail)


def _ended(detail: str) -> bool:
    return "disconnected" in detail or "closed connection" in detail or "incomplete" in detail
