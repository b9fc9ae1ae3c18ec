"""The client of one OpenAI-style server: requests get their headers here, and failures their class.

It knows nothing of limits, retries and steps; `penstock.engine` does.
"""

from __future__ import annotations

import time
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

from penstock.api.bodies import first_bytes, looks_like_html
from penstock.api.errors import ApiError, ConnectionFailed, Facts, TimedOut, UnusableBody, from_response
from penstock.api.headers import request_id_of
from penstock.api.provider import Provider, Timeouts
from penstock.api.wire import FailureKind, Wire, WireError, WireRequest, WireResponse
from penstock.api.wires import default_wire
from penstock.errors import InputError

# A kept connection that the server has closed fails within one round trip; what fails later is a failure of its own.
_AT_ONCE = 1.0
JSON = "application/json"
_BOM = b"\xef\xbb\xbf"


class ApiClient:
    """Sends to one provider.

    The key is read from the environment when the client is made, so make it in the process that sends.

    Args:
        provider: where to.
        wire: by what; connections of our own if left out.

    Raises:
        InputError: the environment variable of the key is not set, or what it holds cannot stand in a header.
    """

    def __init__(self, provider: Provider, wire: Wire | None = None) -> None:
        self.provider = provider
        self._wire = default_wire() if wire is None else wire
        self._base = base_address(provider.base_url)
        self._headers = headers_for(provider)
        self._json_headers = {**self._headers, "content-type": JSON}

    async def post_json(
        self, path: str, body: bytes, *, content_type: str = JSON, timeouts: Timeouts | None = None
    ) -> WireResponse:
        """POST `body` to `path` under the base URL; the response is a success and no web page.

        Args:
            timeouts: for this request; the provider's if left out.

        Raises:
            ApiError: anything else, by its class.
        """
        headers = self._json_headers
        if content_type != JSON:
            # What comes may be sound or text, so that nothing is said of what is accepted.
            headers = {**self._headers, "accept": "*/*", "content-type": content_type}
        response = await self._send(
            WireRequest("POST", self._base + path, headers, body), timeouts or self.provider.timeouts
        )
        if not 200 <= response.status < 300:
            raise from_response(response.status, response.headers, response.body, now=time.time())
        if _is_binary(response):
            return response
        if bytes(response.body[:3]) == _BOM:
            # RFC 8259, section 8.1 lets a reader ignore it; the answer behind it is paid for.
            response = response._replace(body=response.body[3:])
        if looks_like_html(response.body):
            facts = Facts(response.status, request_id=request_id_of(response.headers), html=True)
            raise UnusableBody(f"a web page came instead of an answer: {first_bytes(response.body)}", facts)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._wire.aclose()

    async def _send(self, request: WireRequest, timeouts: Timeouts) -> WireResponse:
        began = time.monotonic()
        try:
            return await self._wire.send(request, timeouts)
        except WireError as error:
            # Whoever allows a single attempt gets a single one: a request that may have been read is a second.
            once = self.provider.retry.attempts == 1
            if once or not error.stale or time.monotonic() - began > _AT_ONCE:
                raise failure(error, self._base) from None
        try:
            return await self._wire.send(request, timeouts)
        except WireError as error:
            raise failure(error, self._base) from None


def _is_binary(response: WireResponse) -> bool:
    return response.headers.get("content-type", "").startswith(("audio/", "image/"))


def base_address(base_url: str) -> str:
    """Where paths such as ``/embeddings`` are appended: `base_url`, with ``/v1`` when it names only a server."""
    base = base_url.rstrip("/")
    return base if urlsplit(base).path else f"{base}/v1"


def headers_for(provider: Provider) -> dict[str, str]:
    """The headers of every request to `provider`: who asks, with which key, and who pays.

    Raises:
        InputError: the environment variable of the key is not set, or holds what no header may.
    """
    headers = {"accept": "application/json", "user-agent": user_agent()}
    if provider.api_key is not None:
        key = _header_value(f"the key in {provider.api_key.name}", provider.api_key.reveal())
        headers["authorization"] = f"Bearer {key}"
    if provider.organization:
        headers["openai-organization"] = _header_value("the organization", provider.organization)
    if provider.project:
        headers["openai-project"] = _header_value("the project", provider.project)
    return headers


def _header_value(name: str, value: str) -> str:
    """The value, if it may stand in a header: the error that a wire would raise quotes it, and so would show a key."""
    if not (value.isascii() and value.isprintable()):
        raise InputError(
            f"{name} holds a character that no HTTP header may hold, such as a line break or a typographic dash; "
            f"copy it again"
        )
    return value


def failure(error: WireError, base_url: str) -> ApiError:
    """A wire's failure as a class of the tree."""
    if error.kind is FailureKind.TIMEOUT:
        return TimedOut(f"no answer in time: {error.detail}")
    if error.kind is FailureKind.CONNECT:
        return ConnectionFailed(f"no connection to {base_url}: {error.detail}", never_sent=True)
    if error.kind is FailureKind.CLOSED:
        return ConnectionFailed(f"the connection ended before the answer did: {error.detail}")
    if error.kind is FailureKind.TOO_LARGE:
        return UnusableBody(error.detail)
    return UnusableBody(f"what came is no whole HTTP response: {error.detail}")


@lru_cache(maxsize=1)
def user_agent() -> str:
    """How requests say who sends them."""
    try:
        return f"penstock/{version('penstock')}"
    except PackageNotFoundError:
        # A plain clone on the path, as Prefect's workers may have it.
        return "penstock"
