"""Plain HTTP to a Prefect API, without Prefect's client.

Needed where that client must not be: before Prefect is imported (its settings freeze at import), in the watcher
thread (its client would start a server of its own there), and to write a state after the flow has ended.
The routes are those of Prefect's REST API, https://docs.prefect.io/v3/api-ref/rest-api.
"""

from __future__ import annotations

import base64
import http.client
import json
import random
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from penstock.errors import PenstockError
from penstock.secrets import redact

_BUSY = frozenset({429, 502, 503, 504})
_LONGEST_DETAIL = 20_000
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class ServerUnavailable(PenstockError):
    """No Prefect API answers; the message says where it was looked for and what to do."""


class ServerSilent(ServerUnavailable):
    """Nothing came from the Prefect API in time; it may have taken the request all the same."""


class ServerRefused(ServerUnavailable):
    """The Prefect API answered with an error; `status` is the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[type[ServerRefused], tuple[str, int]]:
        return type(self), (str(self), self.status)


@dataclass(frozen=True, slots=True)
class Api:
    """A Prefect API and what it takes to be let in.

    Attributes:
        url: base address, for example ``http://127.0.0.1:4200/api``.
        key: Prefect Cloud's key, or empty.
        auth_string: ``user:password`` of a server of one's own, or empty.
        headers: further headers, as of a proxy in front of the server.
        verify: False accepts any certificate.
        certificates: a file of trusted certificates, or empty for the system's.
    """

    url: str
    key: str = field(default="", repr=False)
    auth_string: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    verify: bool = True
    certificates: str = ""

    @property
    def is_local(self) -> bool:
        """Whether the address is on this machine."""
        return urlsplit(self.url).hostname in LOOPBACK


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the JSON body (None when empty) and the headers in lower case."""

    body: Any
    headers: Mapping[str, str]


def call(api: Api, method: str, path: str, body: Any = None, *, timeout: float = 3.0, patience: float = 0.0) -> Answer:
    """One request to `path` of the API, within `timeout` seconds per read.

    Args:
        api: which API.
        method: HTTP method.
        path: below the API's address, with its leading slash.
        body: sent as JSON.
        timeout: seconds of silence after which the server counts as dead.
        patience: for how many seconds a busy server is asked again: one on SQLite answers 503 while another request
            holds its database. One that says nothing is asked again only what changes nothing.

    Raises:
        ServerRefused: the answer is not 2xx.
        ServerUnavailable: no answer at all, or not from a Prefect API.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return _call_once(api, method, path, body, timeout)
        except ServerRefused as error:
            if error.status not in _BUSY or time.monotonic() > deadline:
                raise
        except ServerSilent:
            if not _changes_nothing(method, path) or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.1, 0.5))  # noqa: S311  # spread, not secret


def _changes_nothing(method: str, path: str) -> bool:
    """Prefect's queries are POST requests, for their conditions stand in the body."""
    return method == "GET" or path.endswith(("/filter", "/count"))


def _call_once(api: Api, method: str, path: str, body: Any, timeout: float) -> Answer:
    data = None if body is None else json.dumps(body).encode()
    opener = _opener(api)
    request = urllib.request.Request(api.url.rstrip("/") + path, data=data, method=method, headers=_headers(api))  # noqa: S310  # the scheme is checked by _opener
    try:
        with opener.open(request, timeout=timeout) as response:
            content = response.read()
            headers = {name.lower(): value for name, value in response.headers.items()}
    except urllib.error.HTTPError as error:
        with error:
            message = f"{api.url} answered {error.code} {error.reason}{_detail(error)}"
            raise ServerRefused(redact(message), error.code) from None
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        kind = ServerSilent if isinstance(reason, TimeoutError) else ServerUnavailable
        raise kind(redact(f"{api.url} does not answer ({reason})")) from error
    try:
        return Answer(json.loads(content) if content else None, headers)
    except ValueError:
        raise ServerUnavailable(f"{api.url} answers, but not as a Prefect API does") from None


def _detail(error: urllib.error.HTTPError) -> str:
    """What the API says is wrong with a request, in the end of a sentence."""
    try:
        told = json.loads(error.read(_LONGEST_DETAIL)).get("detail", "")
    except (OSError, http.client.HTTPException, ValueError, AttributeError):
        return ""
    return f": {told}" if isinstance(told, str) and told else ""


def _headers(api: Api) -> dict[str, str]:
    headers = {"Content-Type": "application/json", **api.headers}
    if api.key:
        headers["Authorization"] = f"Bearer {api.key}"
    elif api.auth_string:
        headers["Authorization"] = "Basic " + base64.b64encode(api.auth_string.encode()).decode()
    return headers


def _opener(api: Api) -> urllib.request.OpenerDirector:
    parts = urlsplit(api.url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ServerUnavailable(f"{api.url!r} is not the address of a Prefect API: it must start with http(s)://")
    handlers: list[urllib.request.BaseHandler] = []
    if api.is_local:
        handlers.append(urllib.request.ProxyHandler({}))
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=api.certificates or None)
        if not api.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)
