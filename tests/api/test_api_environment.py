"""`Api` behind a proxy and against a server with a certificate of one's own, by the usual environment variables."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from relay import Relay

from penstock.api import Api, errors
from penstock.api.provider import Provider, RetryPolicy, Timeouts
from raw_http import RawServer, reply

MODEL = {"id": "m", "object": "model", "created": 1, "owned_by": "me"}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, *AUTHORITIES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def fetched(base_url: str) -> str:
    """The id of a model, fetched by a new client."""
    provider = Provider("mine", base_url, retry=RetryPolicy(1), timeouts=Timeouts(5, 5, 10))
    async with Api(provider) as api:
        return (await api.models.retrieve("m")).id


def model_of(base_url: str) -> str:
    return asyncio.run(fetched(base_url))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate authority of one's own, and the certificate it gave to localhost."""
    folder = tmp_path_factory.mktemp("authority")
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    leaf = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"]
    for command in (
        [*new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test Authority"],
        [*new, "-keyout", "leaf.key", "-out", "leaf.crt", *leaf, "-CA", "ca.pem", "-CAkey", "ca.key"],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def tls_server(authority: Path) -> Iterator[RawServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "leaf.crt", authority / "leaf.key")
    with RawServer(lambda _: reply(200, MODEL), tls=context) as server:
        yield server


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_http_goes_through_the_proxy(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(lambda _: reply(200, MODEL)) as proxy:
        monkeypatch.setenv(variable, proxy.url)
        assert model_of("http://service.example/v1") == "m"
        assert proxy.seen[0].path == "http://service.example/v1/models/m"


@pytest.mark.parametrize("exceptions", ["127.0.0.1", "other.example,127.0.0.1", "*"])
def test_what_no_proxy_names_is_reached_directly(exceptions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(lambda _: reply(200, MODEL)) as server:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        with pytest.raises(errors.ConnectionFailed):
            model_of(server.url + "/v1")
        monkeypatch.setenv("NO_PROXY", exceptions)
        assert model_of(server.url + "/v1") == "m"


def test_https_goes_through_a_tunnel_of_the_proxy_and_is_checked_end_to_end(
    tls_server: RawServer, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))

    async def main() -> None:
        relay = Relay()
        async with relay as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy)
            assert await fetched(tls_server.url + "/v1") == "m"
            assert relay.asked == [f"localhost:{tls_server.port}"]
            monkeypatch.delenv("SSL_CERT_FILE")
            with pytest.raises(errors.ConnectionFailed, match=r"(?i)certificate"):
                await fetched(tls_server.url + "/v1")

    asyncio.run(main())


@pytest.mark.parametrize("variable", AUTHORITIES)
def test_an_authority_of_ones_own_is_trusted(
    variable: str, tls_server: RawServer, authority: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "one.pem").write_bytes((authority / "ca.pem").read_bytes())
    monkeypatch.setenv(variable, str(tmp_path if variable == "SSL_CERT_DIR" else authority / "ca.pem"))
    assert model_of(tls_server.url + "/v1") == "m"


def test_a_certificate_that_nobody_vouches_for_is_refused_and_nothing_was_sent(tls_server: RawServer) -> None:
    with pytest.raises(errors.ConnectionFailed, match=r"(?i)certificate") as caught:
        model_of(tls_server.url + "/v1")
    assert caught.value.never_sent
    assert tls_server.seen == []
