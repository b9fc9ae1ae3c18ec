"""Which requests go over a proxy is as the environment says it."""

from __future__ import annotations

import asyncio
import base64
import ssl

import pytest
from relay import Relay
from test_api_wire import authority

from penstock.api.provider import Timeouts
from penstock.api.routes import Proxy, Route, check_proxies, route_to
from penstock.api.wire import FailureKind, WireError, WireRequest, WireResponse
from penstock.api.wire_direct import DirectWire
from penstock.api.wire_httpx import open_client
from penstock.errors import InputError
from penstock.flow.server import begin
from raw_http import RawServer, Reply, reply

__all__ = ["authority"]

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("url", "route", "authority_"),
    [
        ("http://api.example/v1", Route(False, "api.example", 80), "api.example"),
        ("https://api.example/v1", Route(True, "api.example", 443), "api.example"),
        ("http://127.0.0.1:8000/v1/x?y", Route(False, "127.0.0.1", 8000), "127.0.0.1:8000"),
        ("https://[::1]:8443/", Route(True, "::1", 8443), "[::1]:8443"),
    ],
)
def test_without_a_proxy_a_url_leads_to_its_server(url: str, route: Route, authority_: str) -> None:
    assert route_to(url) == route
    assert route_to(url).authority == authority_


@pytest.mark.parametrize(
    "url", ["ftp://api.example/", "api.example", "http://", "http://host:99999/", "http://me:secret/x@host/"]
)
def test_what_is_no_address_is_refused_and_never_asked_nor_shown(url: str) -> None:
    with pytest.raises(ValueError, match=r"it is no http:// or https:// URL$"):
        route_to(url)

    async def main() -> None:
        with pytest.raises(WireError) as raised:
            await DirectWire().send(WireRequest("POST", url, {}, b""), Timeouts())
        assert raised.value.kind is FailureKind.CONNECT

    asyncio.run(main())


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({"HTTP_PROXY": "http://p:3128"}, "http://api.example/", Proxy("p", 3128, "")),
        ({"HTTP_PROXY": "http://p:3128"}, "https://api.example/", None),
        ({"HTTPS_PROXY": "p:3128"}, "https://api.example/", Proxy("p", 3128, "")),
        ({"ALL_PROXY": "http://p"}, "https://api.example/", Proxy("p", 80, "")),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "api.example"}, "https://api.example/", None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": ".example"}, "https://api.example/", None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "other.example"}, "https://api.example/", Proxy("p", 80, "")),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "10.0.0.0/8, 192.168.1.1"}, "http://10.2.3.4:8000/", None),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "10.0.0.0/8,nonsense/x"}, "http://11.2.3.4/", Proxy("p", 80, "")),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "*"}, "http://api.example/", None),
    ],
)
def test_the_environment_says_what_goes_over_which_proxy(
    environment: pytest.MonkeyPatch, variables: dict[str, str], url: str, proxy: Proxy | None
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    assert route_to(url).proxy == proxy


def test_a_proxy_that_does_not_speak_http_is_left_to_httpx(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALL_PROXY", "socks5://p:1080")
    assert not route_to("https://api.example/").is_http
    with pytest.raises(InputError, match=r"SOCKS .* pip install 'httpx\[socks\]'"):
        ask("https://api.example/")


@pytest.mark.parametrize("password", ["sec/ret", "sec?ret", "sec#ret", "[secret", "sec\u2100ret"])
def test_the_password_of_a_proxy_whose_address_makes_no_sense_is_not_shown(
    environment: pytest.MonkeyPatch, password: str
) -> None:
    environment.setenv("HTTPS_PROXY", f"http://me:{password}@p:3128")
    got = ask("https://service.example/")
    assert isinstance(got, WireError)
    told = [str(got)]
    for look in (check_proxies, open_client, begin):
        with pytest.raises(InputError) as raised:
            look()
        told.append(str(raised.value))
    for text in told:
        assert "the address of the proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY makes no sense" in text
        assert "sec" not in text


def test_a_proxy_that_is_not_there_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTPS_PROXY", "http://me:secret@127.0.0.1:9")
    assert str(ask("https://service.example/")) == "Connection refused (over the proxy 127.0.0.1:9)"


def test_the_name_of_a_host_may_be_written_in_any_letters() -> None:
    assert route_to("http://m\xfcnchen.example/").host == "xn--mnchen-3ya.example"
    with pytest.raises(ValueError, match="no name"):
        route_to("http://" + "\xfc" * 80 + ".example/")


def test_a_header_that_no_header_may_hold_is_refused_and_not_shown() -> None:
    async def main(value: str) -> str:
        with pytest.raises(WireError) as raised:
            await DirectWire().send(WireRequest("POST", "http://127.0.0.1:9/", {"x": value}, b""), Timeouts())
        return f"{raised.value} {raised.value.__context__!r}"

    for value in ("secret\r\nhost: other", "secret\u2013"):
        assert "secret" not in asyncio.run(main(value))


def test_the_name_and_password_of_a_proxy_are_told_to_it_and_never_shown(environment: pytest.MonkeyPatch) -> None:
    with RawServer(lambda _: reply(200, b"from the proxy")) as proxy:
        environment.setenv("HTTP_PROXY", proxy.url.replace("://", "://me:s%40crt@"))
        got = ask("http://service.example/v1/x")
    assert isinstance(got, WireResponse)
    assert proxy.seen[0].headers["proxy-authorization"] == "Basic " + base64.b64encode(b"me:s@crt").decode()
    assert base64.b64encode(b"me:s@crt").decode() not in repr(route_to("http://service.example/"))


def test_tls_goes_through_the_proxy_and_its_certificate_is_that_of_the_server(
    environment: pytest.MonkeyPatch, authority
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "leaf.crt", authority / "leaf.key")

    async def main(url: str, relay: Relay) -> list[WireResponse]:
        async with relay as address:
            environment.setenv("HTTPS_PROXY", address)
            wire = DirectWire()
            request = WireRequest("POST", url, {"authorization": "Bearer k"}, b"{}")
            got = [await wire.send(request, Timeouts()) for _ in range(3)]
            await wire.aclose()
        return got

    environment.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    with RawServer(lambda _: reply(200, b"x" * 200_000), tls=context) as server:
        relay = Relay()
        got = asyncio.run(main(server.url, relay))
    assert [bytes(one.body) for one in got] == [b"x" * 200_000] * 3
    assert relay.asked == [f"localhost:{server.port}"], "the tunnel is kept"
    assert server.seen[0].headers["authorization"] == "Bearer k"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (reply(407, b"who are you"), "refused: HTTP/1.1 407"),
        (Reply(b"nonsense\r\n\r\n", "close"), "refused: nonsense"),
        (Reply(then="close"), "the proxy closed the connection"),
    ],
)
def test_a_proxy_that_refuses_is_no_connection(environment: pytest.MonkeyPatch, answer: Reply, told: str) -> None:
    with RawServer(lambda _: answer) as proxy:
        environment.setenv("HTTPS_PROXY", proxy.url.replace("://", "://me:secret@"))
        got = ask("https://service.example/v1/x")
    assert isinstance(got, WireError)
    assert got.kind is FailureKind.CONNECT
    assert told in str(got)
    assert "secret" not in str(got)


def test_a_silent_proxy_is_no_connection_in_time(environment: pytest.MonkeyPatch) -> None:
    with RawServer(lambda _: Reply(then="hold")) as proxy:
        environment.setenv("HTTPS_PROXY", proxy.url)
        got = ask("https://service.example/v1/x")
    assert isinstance(got, WireError)
    assert got.kind is FailureKind.TIMEOUT


def ask(url: str) -> WireResponse | WireError:
    async def main() -> WireResponse | WireError:
        wire = DirectWire()
        try:
            return await wire.send(WireRequest("POST", url, {}, b"{}"), Timeouts(connect=0.5, read=1, total=2))
        except WireError as error:
            return error
        finally:
            await wire.aclose()

    return asyncio.run(main())
