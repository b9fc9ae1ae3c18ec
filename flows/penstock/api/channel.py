"""One connection to a provider for the resources: JSON, forms with files, and bodies that are streamed both ways.

The engine's requests do not come this way: they go through `ApiClient` and connections of our own. Here comfort counts,
so it is httpx, and each call is tried again by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import msgspec

from penstock.api.bodies import first_bytes, looks_like_html
from penstock.api.client import base_address, failure, headers_for
from penstock.api.errors import ApiError, Facts, TimedOut, UnusableBody, from_response
from penstock.api.headers import request_id_of
from penstock.api.objects import ApiObject, parsed
from penstock.api.provider import Provider
from penstock.api.retrying import Retry, with_retries
from penstock.api.upload import FilePart
from penstock.api.wire import MAX_BODY, WireResponse, too_large
from penstock.api.wire_httpx import open_client, translated
from penstock.errors import InputError

if TYPE_CHECKING:
    import httpx

_MOST_OF_AN_ERROR = 1_000_000

Params = Mapping[str, str | int]
T = TypeVar("T")
ObjectT = TypeVar("ObjectT", bound=ApiObject)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call, complete, so that it can be made again.

    Attributes:
        path: below the base URL.
        params: of the query.
        body: sent as JSON.
        fields: of a form, besides its file; a sequence is sent as several fields of one name.
        file: of a form.
        creates: a second one would create a second thing; see `penstock.api.retrying`.
        bounded: whether the provider's deadline for a whole request holds; transfers of files have only the one for
            silence.
    """

    method: str
    path: str
    params: Params = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    fields: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    file: FilePart | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    creates: bool = False
    bounded: bool = True


class Incoming:
    """A success whose body has not been read: its headers, and its bytes as they come."""

    def __init__(self, response: httpx.Response, base_url: str, deadline: float | None) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = dict(response.headers.items())
        self._response = response
        self._base = base_url
        self._deadline = deadline

    @property
    def kind(self) -> str:
        """The media type, without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def length(self) -> int | None:
        """Bytes to come, None when the server does not say or sends them compressed."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() and "content-encoding" not in self.headers else None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, decoded.

        Raises:
            ApiError: it ends before its end, is silent too long, or takes longer than the whole request may.
        """
        import httpx

        source = self._response.aiter_bytes()
        while True:
            try:
                async with asyncio.timeout_at(self._deadline):
                    chunk = await anext(source, None)
            except TimeoutError:
                raise TimedOut("the answer was not whole in time", self.facts()) from None
            except (httpx.TransportError, httpx.DecodingError) as error:
                raise failure(translated(error, reused=False), self._base) from None
            if chunk is None:
                return
            yield chunk

    async def read(self, limit: int = MAX_BODY) -> bytes:
        """The whole body; `UnusableBody` when it is longer than `limit` bytes."""
        pieces: list[bytes] = []
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise failure(too_large(limit), self._base)
            pieces.append(chunk)
        return b"".join(pieces)

    async def aclose(self) -> None:
        """Give the connection back, or close it when the body was not read to its end."""
        await self._response.aclose()

    def facts(self) -> Facts:
        """What is known for an error about this response."""
        return Facts(self.status, request_id=request_id_of(self.headers))


class Channel:
    """Makes calls to one provider, in one event loop.

    Args:
        provider: where to, how patiently, and how often.
        transport: of the user's own; httpx's if left out.
        on_retry: told before each wait.

    Raises:
        InputError: the environment variable of the key is not set.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        on_retry: Callable[[Retry], None] | None = None,
    ) -> None:
        self.provider = provider
        self._base = base_address(provider.base_url)
        self._headers = headers_for(provider)
        self._transport = transport
        self._on_retry = on_retry
        self._client: httpx.AsyncClient | None = None

    async def ask(self, kind: type[ObjectT], call: Call) -> ObjectT:
        """The answer as `kind`; see `call`."""
        return await self.call(call, partial(parsed, kind))

    async def call(self, call: Call, read: Callable[[WireResponse], T]) -> T:
        """What `read` makes of a success; when it raises `UnusableBody`, that is a failure like any other.

        Raises:
            ApiError: the last failure; `attempts` says how often it was tried.
        """

        async def once() -> T:
            incoming = await self._open_once(call)
            try:
                return read(WireResponse(incoming.status, incoming.headers, await incoming.read()))
            finally:
                await incoming.aclose()

        return await with_retries(once, self.provider.retry, creates=call.creates, on_retry=self._on_retry)

    async def begin(self, call: Call) -> Incoming:
        """A success whose body is still to be read; whoever takes it closes it. Tried again until it begins."""
        return await with_retries(
            lambda: self._open_once(call), self.provider.retry, creates=call.creates, on_retry=self._on_retry
        )

    @asynccontextmanager
    async def opened(self, call: Call) -> AsyncIterator[Incoming]:
        """`begin`, closed at the end of the block; a web page in place of the body is an error."""
        incoming = await self.begin(call)
        try:
            yield incoming
        finally:
            await incoming.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _open_once(self, call: Call) -> Incoming:
        import httpx

        client = self._client = self._client or open_client(self._transport)
        timeouts = self.provider.timeouts
        deadline = asyncio.get_running_loop().time() + timeouts.total if call.bounded else None
        try:
            with ExitStack() as files:
                request = self._request(client, call, files)
                async with asyncio.timeout_at(deadline):
                    response = await client.send(request, stream=True)
        except TimeoutError:
            raise TimedOut(f"no answer in {timeouts.total:g} s") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise failure(translated(error, reused=False), self._base) from None
        incoming = Incoming(response, self._base, deadline)
        if not 200 <= incoming.status < 300:
            raise await _refusal(incoming)
        return incoming

    def _request(self, client: httpx.AsyncClient, call: Call, files: ExitStack) -> httpx.Request:
        import httpx

        timeouts = self.provider.timeouts
        limits = httpx.Timeout(connect=timeouts.connect, read=timeouts.read, write=timeouts.read, pool=None)
        headers = {**self._headers, **call.headers}
        parts: dict[str, Any] = {}
        if call.file is not None:
            parts = {"data": dict(call.fields), "files": {"file": files.enter_context(call.file.opened())}}
        elif call.body is not None:
            headers["content-type"] = "application/json"
            parts = {"content": _encoded(call.body)}
        return client.build_request(
            call.method, self._base + call.path, params=call.params or None, headers=headers, timeout=limits, **parts
        )


def segment(identifier: str) -> str:
    """An id as one segment of a path.

    Raises:
        InputError: it is empty or a dot, which would make it another path.
    """
    if identifier.strip() in {"", ".", ".."}:
        raise InputError(f"{identifier!r} is no id")
    return quote(identifier, safe=":")


def given(extra: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """The fields that are not None, then `extra` over them, whose None is sent as null."""
    return {name: value for name, value in fields.items() if value is not None} | dict(extra or {})


def refuse_web_page(incoming: Incoming, begin: bytes) -> None:
    """`UnusableBody` when a web page came in place of a body of another kind."""
    if incoming.kind == "text/html" or looks_like_html(begin):
        raise UnusableBody(f"a web page came instead of an answer: {first_bytes(begin)}", incoming.facts())


async def _refusal(incoming: Incoming) -> ApiError:
    try:
        body = await incoming.read(_MOST_OF_AN_ERROR)
    except ApiError:
        # The status says enough; what its body would have added is lost with the connection.
        body = b""
    finally:
        await incoming.aclose()
    return from_response(incoming.status, incoming.headers, body, now=time.time())


def _encoded(body: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(dict(body))
    except TypeError as error:
        raise InputError(f"a value cannot be sent as JSON: {error}") from None
