"""The client of one provider: headers, the class of each failure, and stale connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from penstock.api import errors
from penstock.api.client import ApiClient
from penstock.api.provider import Provider, RetryPolicy, Timeouts
from penstock.api.wire import FailureKind, WireError, WireRequest, WireResponse
from penstock.errors import InputError
from penstock.secrets import Secret
from penstock.version import __version__
from raw_http import RawServer, Reply, Seen, error, reply

KEY = "sk-test-0123456789"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIENT_TEST_KEY", KEY)


def post(server: RawServer, *, times: int = 1, **settings: object) -> list[object]:
    provider = Provider(
        "mine", server.url + "/v1", Secret("CLIENT_TEST_KEY"), timeouts=Timeouts(1, 0.5, 1.5), **settings
    )

    async def main() -> list[object]:
        client = ApiClient(provider)
        got: list[object] = []
        for _ in range(times):
            try:
                got.append((await client.post_json("/embeddings", b"{}")).status)
            except errors.ApiError as failure:
                got.append(failure)
        await client.aclose()
        return got

    return asyncio.run(main())


def failing(answer: Callable[[Seen], Reply]) -> tuple[errors.ApiError, RawServer]:
    with RawServer(answer) as server:
        (got,) = post(server)
    assert isinstance(got, errors.ApiError)
    return got, server


def test_requests_carry_the_key_and_who_asks():
    with RawServer(lambda _: reply(200, {"ok": True})) as server:
        post(server, organization="org-1", project="proj-2")
    (seen,) = server.seen
    assert seen.path == "/v1/embeddings"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.headers["openai-organization"] == "org-1"
    assert seen.headers["openai-project"] == "proj-2"
    assert seen.headers["user-agent"] == f"penstock/{__version__}"
    assert seen.headers["content-type"] == "application/json"


def test_a_missing_key_is_an_error_before_anything_is_sent(monkeypatch):
    monkeypatch.delenv("CLIENT_TEST_KEY")
    with pytest.raises(InputError, match="CLIENT_TEST_KEY is not set"):
        ApiClient(Provider("mine", "http://127.0.0.1:1", Secret("CLIENT_TEST_KEY")))


@pytest.mark.parametrize(
    "value", ["sk-first-half\nsecond-half", "sk-ends-in-an-ellipsis…", "sk-tab\there-it-is", "schlüssel"]
)
def test_a_key_that_no_header_may_hold_is_an_error_that_does_not_show_it(monkeypatch, value):
    monkeypatch.setenv("CLIENT_TEST_KEY", value)
    with (
        RawServer(lambda _: reply()) as server,
        pytest.raises(InputError, match="the key in CLIENT_TEST_KEY") as raised,
    ):
        post(server)
    assert server.seen == []
    assert value[:8] not in str(raised.value)


def test_a_request_shows_no_headers_and_no_body():
    request = WireRequest("POST", "http://x/", {"authorization": f"Bearer {KEY}"}, b"a row")
    assert KEY not in repr(request)
    assert "a row" not in repr(request)


def test_without_a_key_no_authorization_is_sent():
    with RawServer(lambda _: reply(200, {})) as server:

        async def main() -> None:
            client = ApiClient(Provider("mine", server.url))
            await client.post_json("/x", b"{}")
            await client.aclose()

        asyncio.run(main())
    assert "authorization" not in server.seen[0].headers


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (error(401, "invalid_api_key", f"bad key {KEY}"), errors.Unauthorized, "401 invalid_api_key: bad key"),
        (Reply(then="close"), errors.ConnectionFailed, "ended before the answer did"),
        (Reply(then="hold"), errors.TimedOut, "no answer in time"),
        (reply(200, b"<!doctype html><p>hello"), errors.UnusableBody, "a web page came instead of an answer"),
        (reply(200, b"\xef\xbb\xbf\n <html>"), errors.UnusableBody, "a web page came"),
        (Reply(b"SSH-2.0-OpenSSH_9\r\n\r\n", "close"), errors.UnusableBody, "no whole HTTP response"),
        (reply(302, b"", {"Location": "https://elsewhere.example/"}), errors.Redirected, "https://elsewhere.example/"),
    ],
)
def test_each_failure_has_its_class_and_tells_what_came(answer, kind, words):
    got, server = failing(lambda _: answer)
    assert type(got) is kind
    assert words in got.message
    assert KEY not in got.message
    assert len(server.seen) == 1


def test_nobody_there_says_where():
    async def main() -> None:
        client = ApiClient(Provider("mine", "http://127.0.0.1:1/v1"))
        with pytest.raises(
            errors.ConnectionFailed, match=r"no connection to http://127\.0\.0\.1:1/v1: .*refused"
        ) as got:
            await client.post_json("/x", b"{}")
        assert got.value.never_sent
        await client.aclose()

    asyncio.run(main())


def test_a_kept_connection_that_was_closed_is_replaced_without_a_failure():
    """The second request arrives, is closed without an answer, and is sent again at once, once."""
    with RawServer(lambda seen: Reply(then="close") if seen.number == 1 else reply(200, {})) as server:
        assert post(server, times=2) == [200, 200]
    assert len(server.seen) == 3


def test_a_server_that_keeps_closing_is_a_failure():
    with RawServer(lambda seen: reply(200, {}) if seen.number == 0 else Reply(then="close")) as server:
        first, second = post(server, times=2)
    assert first == 200
    assert isinstance(second, errors.ConnectionFailed)
    assert len(server.seen) == 3


def test_one_attempt_is_one_request_on_a_kept_connection_too():
    with RawServer(lambda seen: Reply(then="close") if seen.number == 1 else reply(200, {})) as server:
        first, second = post(server, times=2, retry=RetryPolicy(attempts=1))
    assert first == 200
    assert isinstance(second, errors.ConnectionFailed)
    assert len(server.seen) == 2


def test_a_new_connection_that_ends_is_a_failure_at_once():
    """After the first failure no kept connection is left, so that what ends is no stale one."""
    with RawServer(lambda seen: reply(200, {}) if seen.number == 0 else Reply(then="close")) as server:
        post(server, times=4)
    assert len(server.seen) == 1 + 2 + 1 + 1


class SlowStale:
    """A wire whose connection ends late: that is no stale connection, and the request may have been worked on."""

    def __init__(self) -> None:
        self.sent = 0

    async def send(self, request: WireRequest, timeouts: Timeouts) -> WireResponse:
        self.sent += 1
        await asyncio.sleep(1.1)
        raise WireError(FailureKind.CLOSED, "gone", stale=True)

    async def aclose(self) -> None:
        pass


def test_only_what_fails_at_once_is_sent_again():
    async def main() -> int:
        wire = SlowStale()
        with pytest.raises(errors.ConnectionFailed):
            await ApiClient(Provider("mine", "http://x"), wire).post_json("/x", b"{}")
        return wire.sent

    assert asyncio.run(main()) == 1
