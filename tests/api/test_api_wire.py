"""The contract of the wire, over every implementation."""

from __future__ import annotations

import asyncio
import gzip
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import certifi
import httpx
import pytest

from penstock.api import wire_httpx
from penstock.api.provider import Timeouts
from penstock.api.wire import FailureKind, Wire, WireError, WireRequest, WireResponse, trust
from penstock.api.wire_direct import DirectWire
from penstock.api.wire_httpx import HttpxWire
from penstock.errors import InputError
from raw_http import RawServer, Reply, reply

FAST = Timeouts(connect=0.5, read=0.4, total=1.2)

WIRES: dict[str, Callable[..., Wire]] = {"direct": DirectWire, "httpx": HttpxWire}


@pytest.fixture(params=WIRES)
def make(request: pytest.FixtureRequest) -> Callable[..., Wire]:
    return WIRES[request.param]


def run(wire: Wire, *requests: WireRequest, timeouts: Timeouts = FAST) -> list[WireResponse | WireError]:
    async def main() -> list[WireResponse | WireError]:
        got: list[WireResponse | WireError] = []
        try:
            for request in requests:
                try:
                    got.append(await wire.send(request, timeouts))
                except WireError as error:
                    got.append(error)
        finally:
            await wire.aclose()
        return got

    return asyncio.run(main())


def one(make: Callable[..., Wire], answer: Reply, **more: object) -> WireResponse | WireError:
    with RawServer(lambda _: answer) as server:
        return run(make(**more), WireRequest("POST", server.url + "/x", {}, b"{}"))[0]


def response_of(make: Callable[..., Wire], answer: Reply) -> WireResponse:
    got = one(make, answer)
    assert isinstance(got, WireResponse), got
    return got


def failure_of(make: Callable[..., Wire], answer: Reply, **more: object) -> WireError:
    got = one(make, answer, **more)
    assert isinstance(got, WireError), got
    return got


def test_the_request_arrives_as_it_was_made(make):
    with RawServer(lambda _: reply(200, b"ok")) as server:
        request = WireRequest("POST", server.url + "/v1/x?y=1", {"authorization": "Bearer k", "x-a": "b"}, b"\x00body")
        run(make(), request)
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.body) == ("POST", "/v1/x?y=1", b"\x00body")
    assert seen.headers["authorization"] == "Bearer k"
    assert seen.headers["x-a"] == "b"


@pytest.mark.parametrize("status", [200, 204, 301, 400, 404, 429, 500, 529])
def test_every_status_is_a_response(make, status):
    got = response_of(make, reply(status, b"" if status == 204 else b"text", {"Location": "http://127.0.0.1:9/"}))
    assert got.status == status


def test_header_names_come_in_lower_case_and_a_value_that_is_no_text_does_no_harm(make):
    got = response_of(make, reply(200, b"ok", {"X-Request-ID": "req_7", "X-Odd": "caf\xe9\xff"}))
    assert got.headers["x-request-id"] == "req_7"
    assert bytes(got.body) == b"ok"


def test_a_redirect_is_not_followed_so_the_key_stays_here(make):
    with RawServer(lambda _: reply(200, b"stolen")) as other:
        answer = reply(302, b"", {"Location": other.url + "/"})
        got = response_of(make, answer)
    assert got.status == 302
    assert other.seen == []


@pytest.mark.parametrize("size", [0, 1, 70_000, 20_000_000])
def test_bodies_of_any_size_arrive_whole(make, size):
    data = os.urandom(1000) * (size // 1000) + b"x" * (size % 1000)
    with RawServer(lambda _: reply(200, data)) as server:
        got = run(make(), WireRequest("POST", server.url, {}, b""), timeouts=Timeouts())[0]
    assert isinstance(got, WireResponse)
    assert bytes(got.body) == data


def test_chunked_and_compressed_bodies_are_decoded(make):
    packed = gzip.compress(b"hello" * 1000)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n"
    got = response_of(make, Reply(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(packed), packed)))
    assert bytes(got.body) == b"hello" * 1000


@pytest.mark.parametrize("length", [True, False])
def test_a_body_over_the_cap_is_refused(make, length):
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n"
    failure = failure_of(make, reply(200, b"x" * 1000) if length else Reply(chunked), max_body=999)
    assert failure.kind is FailureKind.TOO_LARGE


FAULTS = {
    "reset": (Reply(then="reset"), FailureKind.CLOSED),
    "close": (Reply(then="close"), FailureKind.CLOSED),
    "cut body": (Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "close"), FailureKind.CLOSED),
    "cut chunks": (
        Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "close"),
        FailureKind.CLOSED,
    ),
    "garbled": (Reply(b"\x16\x03\x01 nothing like HTTP\r\n\r\n", "close"), FailureKind.PROTOCOL),
    "not gzip": (reply(200, b"plain", {"Content-Encoding": "gzip"}), FailureKind.PROTOCOL),
    "silence": (Reply(then="hold"), FailureKind.TIMEOUT),
    "silent body": (Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "hold"), FailureKind.TIMEOUT),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_its_kind_and_none_is_taken_for_a_stale_connection(make, fault):
    answer, kind = FAULTS[fault]
    began = time.monotonic()
    failure = failure_of(make, answer)
    assert failure.kind is kind
    assert not failure.stale
    assert "127.0.0.1" not in str(failure)
    assert time.monotonic() - began < 2


def test_the_total_deadline_ends_a_body_that_drips(make):
    class Dripping(RawServer):
        async def _serve(self, reader, writer):
            await self._read(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(100):
                writer.write(b"x")
                await asyncio.sleep(0.05)

    with Dripping(lambda _: Reply()) as server:
        began = time.monotonic()
        got = run(make(), WireRequest("POST", server.url, {}, b""))[0]
    assert isinstance(got, WireError)
    assert got.kind is FailureKind.TIMEOUT
    assert 1.0 < time.monotonic() - began < 2.5


def test_nobody_there_is_no_connection(make):
    for url in ("http://127.0.0.1:1/", "http://no-such-host.invalid/"):
        got = run(make(), WireRequest("POST", url, {}, b""), timeouts=Timeouts(connect=5))[0]
        assert isinstance(got, WireError)
        assert got.kind in {FailureKind.CONNECT, FailureKind.TIMEOUT}


def test_sixty_four_at_once_are_sent_at_once(make):
    with RawServer(lambda _: reply(200, b"ok", delay=0.2)) as server:

        async def main() -> list[WireResponse]:
            wire = make()
            request = WireRequest("POST", server.url, {}, b"{}")
            try:
                return await asyncio.gather(*[wire.send(request, Timeouts()) for _ in range(64)])
            finally:
                await wire.aclose()

        got = asyncio.run(main())
    assert len(got) == 64
    assert server.most_in_flight == 64


def test_a_cancelled_request_leaves_nothing_behind(make):
    with RawServer(lambda seen: Reply(then="hold") if seen.path == "/slow" else reply(200, b"ok")) as server:

        async def main() -> tuple[int, int]:
            wire = make()
            task = asyncio.create_task(wire.send(WireRequest("POST", server.url + "/slow", {}, b""), Timeouts()))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            after = await wire.send(WireRequest("POST", server.url + "/fast", {}, b""), Timeouts())
            left = len(asyncio.all_tasks())
            await wire.aclose()
            return after.status, left

        assert asyncio.run(main()) == (200, 1)


def test_connections_are_kept_and_those_the_server_closed_are_told_or_replaced(make):
    with RawServer(lambda _: reply(200, b"ok")) as server:

        async def main() -> list[object]:
            wire = make()
            request = WireRequest("POST", server.url, {}, b"{}")
            got: list[object] = [(await wire.send(request, FAST)).status for _ in range(3)]
            assert server.connections == 1
            server.drop_connections()
            await asyncio.sleep(0.1)
            try:
                got.append((await wire.send(request, FAST)).status)
            except WireError as error:
                got.append(error.stale)
            got.append((await wire.send(request, FAST)).status)
            await wire.aclose()
            return got

        got = asyncio.run(main())
    assert got[:3] == [200, 200, 200]
    assert got[3] in (200, True)
    assert got[4] == 200


def test_a_kept_connection_that_ends_without_an_answer_is_stale(make):
    with RawServer(lambda seen: reply(200, b"ok") if seen.number == 0 else Reply(then="close")) as server:
        request = WireRequest("POST", server.url, {}, b"{}")
        first, second = run(make(), request, request)
    assert isinstance(first, WireResponse)
    assert isinstance(second, WireError)
    assert second.stale


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ca")
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    leaf = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"]
    for command in (
        [*new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test Authority"],
        [*new, "-keyout", "leaf.key", "-out", "leaf.crt", *leaf, "-CA", "ca.pem", "-CAkey", "ca.key"],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (folder / "trusted").mkdir()
    (folder / "trusted" / "ca.pem").write_bytes((folder / "ca.pem").read_bytes())
    return folder


@pytest.fixture
def tls_server(authority: Path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "leaf.crt", authority / "leaf.key")
    with RawServer(lambda _: reply(200, b"ok"), tls=context) as server:
        yield server


def test_a_certificate_nobody_vouches_for_is_refused(make, tls_server, monkeypatch):
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    got = run(make(), WireRequest("POST", tls_server.url, {}, b""))[0]
    assert isinstance(got, WireError)
    assert got.kind is FailureKind.CONNECT
    assert "certificate" in str(got).lower()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR"])
def test_an_authority_of_the_users_own_is_trusted(make, tls_server, authority, monkeypatch, variable):
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(authority / "trusted" if variable == "SSL_CERT_DIR" else authority / "ca.pem"))
    got = run(make(), WireRequest("POST", tls_server.url, {}, b""), timeouts=Timeouts())[0]
    assert isinstance(got, WireResponse), got


def _without_environment(monkeypatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def _system_knows(monkeypatch, file: Path, folder: Path) -> None:
    """As if OpenSSL had been built to look there."""
    places = ssl.get_default_verify_paths()._replace(openssl_cafile=str(file), openssl_capath=str(folder))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: places)
    monkeypatch.setattr(ssl, "create_default_context", lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


def test_a_python_that_knows_no_authorities_takes_those_of_certifi(monkeypatch, tmp_path):
    _without_environment(monkeypatch)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "README").touch()
    _system_knows(monkeypatch, tmp_path / "none.pem", tmp_path / "empty")
    assert trust().cert_store_stats()["x509_ca"] > 50


def test_authorities_of_the_environment_come_to_those_of_the_system(authority, monkeypatch, tmp_path):
    _without_environment(monkeypatch)
    _system_knows(monkeypatch, Path(certifi.where()), tmp_path / "none")
    before = trust().cert_store_stats()["x509_ca"]
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    assert trust().cert_store_stats()["x509_ca"] == before + 1


def test_other_files_in_a_folder_of_authorities_do_no_harm(make, tls_server, authority, monkeypatch, tmp_path):
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "README").write_text("put certificates here")
    (tmp_path / "ca.pem").write_bytes((authority / "ca.pem").read_bytes())
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    got = run(make(), WireRequest("POST", tls_server.url, {}, b""), timeouts=Timeouts())[0]
    assert isinstance(got, WireResponse), got


@pytest.mark.slow
def test_a_server_that_reads_a_long_request_slowly_over_tls_is_not_silent(authority, monkeypatch):
    class Slow(RawServer):
        async def _serve(self, reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            for _ in range(20):
                await asyncio.sleep(0.3)
                await reader.readexactly(2_000_000)
            writer.write(reply(200, b"heard").data)
            await self._stop.wait()

    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "leaf.crt", authority / "leaf.key")
    with Slow(lambda _: reply(200), tls=context) as server:
        request = WireRequest("POST", server.url, {}, bytes(40_000_000))
        got = run(DirectWire(), request, timeouts=Timeouts(read=3))[0]
    assert isinstance(got, WireResponse), got


@pytest.mark.parametrize("size", [1, 9_000, 65_500, 200_000])
def test_what_follows_an_answer_unasked_is_not_the_next_answer_over_tls_either(authority, monkeypatch, size):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "leaf.crt", authority / "leaf.key")

    def answer(seen):
        own = reply(200, seen.body * size)
        return Reply(own.data + reply(200, b"unasked").data) if seen.number % 2 == 0 else own

    with RawServer(answer, tls=context) as server:
        requests = [WireRequest("POST", server.url, {}, b"%d" % number) for number in range(5)]
        got = run(DirectWire(), *requests)
    assert [bytes(one.body[:1]) for one in got if isinstance(one, WireResponse)] == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("secure", [False, True])
def test_an_answer_to_a_request_that_was_not_sent_whole_ends_its_connection(authority, monkeypatch, secure):
    class Early(RawServer):
        async def _serve(self, reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply(413 if self.connections == 1 else 200, b"").data)
            await writer.drain()
            await self._stop.wait()

    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "leaf.crt", authority / "leaf.key")
    with Early(lambda _: reply(200), tls=context if secure else None) as server:
        long = WireRequest("POST", server.url, {}, bytes(40_000_000))
        got = run(DirectWire(), long, WireRequest("POST", server.url, {}, b""), timeouts=Timeouts(read=3))
    assert [one.status for one in got if isinstance(one, WireResponse)] == [413, 200]


def test_a_missing_authority_file_is_named(make, tls_server, monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(InputError, match=r"SSL_CERT_FILE names .*none\.pem, which does not exist"):
        run(make(), WireRequest("POST", tls_server.url, {}, b""))


def test_the_proxy_of_the_environment_is_used(make, monkeypatch):
    with RawServer(lambda _: reply(200, b"from the proxy")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        got = run(make(), WireRequest("POST", "http://service.example/v1/x", {}, b""))[0]
    assert isinstance(got, WireResponse), got
    assert proxy.seen[0].path == "http://service.example/v1/x"


def _kinds(root: type[BaseException]) -> list[type[BaseException]]:
    found = [root]
    for child in root.__subclasses__():
        found += _kinds(child)
    return found


_HTTPX = {
    FailureKind.TIMEOUT: (httpx.TimeoutException,),
    FailureKind.CONNECT: (httpx.ConnectError, httpx.ProxyError, httpx.UnsupportedProtocol),
    FailureKind.CLOSED: (httpx.ReadError, httpx.WriteError, httpx.CloseError),
}


def test_every_error_of_httpx_has_a_kind():
    for kind in [*_kinds(httpx.TransportError), *_kinds(httpx.DecodingError)]:
        got = wire_httpx.translated(kind("what"), reused=True)  # type: ignore[call-arg,arg-type]
        expected = next((one for one, roots in _HTTPX.items() if issubclass(kind, roots)), FailureKind.PROTOCOL)
        if kind is not httpx.NetworkError:  # the root of three: never raised itself
            assert got.kind is expected
        assert "what" in str(got)


def test_a_users_own_httpx_transport_answers_without_a_network():
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(201, content=request.content[::-1], headers={"X-Seen": request.url.path})

    wire = HttpxWire(httpx.MockTransport(answer))
    got = run(wire, WireRequest("POST", "http://anywhere/v1/x", {}, b"abc"))[0]
    assert isinstance(got, WireResponse)
    assert (got.status, got.body, got.headers["x-seen"]) == (201, b"cba", "/v1/x")


FORKED = """
import asyncio, os, sys
from penstock.api.provider import Timeouts
from penstock.api.wire import WireRequest
from penstock.api.wires import default_wire

async def status():
    wire = default_wire()
    got = await wire.send(WireRequest("POST", sys.argv[1], {}, b""), Timeouts())
    await wire.aclose()
    return got.status

print(asyncio.run(status()), flush=True)
pid = os.fork()
if pid == 0:
    print(asyncio.run(status()), flush=True)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_forked_child_sends_too():
    with RawServer(lambda _: reply(200, b"ok")) as server:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", FORKED, server.url], capture_output=True, text=True, env=env, timeout=60, check=False
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["200", "200"]
