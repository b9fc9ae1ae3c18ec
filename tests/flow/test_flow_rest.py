from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from penstock.flow.rest import Api, ServerRefused, ServerUnavailable, call


class Scripted(BaseHTTPRequestHandler):
    """Answers with the statuses and bodies of the class, and remembers the requests."""

    answers: ClassVar[list[tuple[int, bytes]]] = []
    seen: ClassVar[list[tuple[str, str, str | None, bytes]]] = []

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen.append((self.command, self.path, self.headers.get("Authorization"), body))
        status, content = self.answers.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _answer  # noqa: N815  # the names of the base class

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the signature of the base class
        """Silence."""


@pytest.fixture
def url() -> Iterator[str]:
    Scripted.answers.clear()
    Scripted.seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Scripted) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()
        thread.join()


def test_the_body_is_json_both_ways(url: str) -> None:
    Scripted.answers += [(200, b'{"id": 1}'), (204, b"")]
    assert call(Api(url), "POST", "/flows/", {"name": "x"}).body == {"id": 1}
    assert call(Api(url), "GET", "/health").body is None
    assert Scripted.seen[0][::3] == ("POST", b'{"name": "x"}')
    assert Scripted.seen[0][1] == "/api/flows/"


def test_a_key_goes_as_bearer_and_an_auth_string_as_basic(url: str) -> None:
    Scripted.answers += [(200, b"1"), (200, b"1")]
    call(Api(url, key="pnu_1"), "GET", "/x")
    call(Api(url, auth_string="admin:pass"), "GET", "/x")
    assert [seen[2] for seen in Scripted.seen] == ["Bearer pnu_1", "Basic YWRtaW46cGFzcw=="]


def test_a_refusal_carries_its_status(url: str) -> None:
    Scripted.answers += [(404, b"{}")]
    with pytest.raises(ServerRefused, match="404") as refused:
        call(Api(url), "GET", "/x")
    assert refused.value.status == 404


def test_a_busy_server_is_asked_again_within_the_patience(url: str) -> None:
    Scripted.answers += [(503, b""), (503, b""), (200, b"7")]
    assert call(Api(url), "GET", "/x", patience=10).body == 7
    Scripted.answers += [(503, b"")]
    with pytest.raises(ServerRefused, match="503"):
        call(Api(url), "GET", "/x")


def test_a_page_that_is_no_json_is_no_prefect_api(url: str) -> None:
    Scripted.answers += [(200, b"<html>")]
    with pytest.raises(ServerUnavailable, match="not as a Prefect API"):
        call(Api(url), "GET", "/x")


def test_a_closed_port_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(ServerUnavailable, match="does not answer"):
            call(Api(f"http://127.0.0.1:{free.getsockname()[1]}/api"), "GET", "/health")


def test_a_silent_server_is_unavailable_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api = Api(f"http://127.0.0.1:{silent.getsockname()[1]}/api")
        with pytest.raises(ServerUnavailable, match="timed out"):
            call(api, "GET", "/health", timeout=0.2)


@pytest.mark.parametrize(("method", "path"), [("GET", "/x"), ("POST", "/flow_runs/filter"), ("POST", "/x/count")])
def test_a_server_that_was_too_busy_to_answer_is_asked_again_what_changes_nothing_and_nothing_else(
    method: str, path: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        api = Api(f"http://127.0.0.1:{busy.getsockname()[1]}/api")

        def answer_the_second_time() -> None:
            first, _ = busy.accept()
            second, _ = busy.accept()
            with first, second:
                second.recv(1000)
                second.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n7")

        thread = threading.Thread(target=answer_the_second_time)
        thread.start()
        assert call(api, method, path, timeout=0.3, patience=20).body == 7
        thread.join()
        with pytest.raises(ServerUnavailable, match="timed out"):
            call(api, "POST", "/x", timeout=0.2, patience=20)
        connections = 0
        busy.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                busy.accept()[0].close()
                connections += 1
        assert connections == 1


@pytest.mark.parametrize("url", ["", "127.0.0.1:4200", "file:///etc/passwd", "http://"])
def test_what_is_no_address_is_said_to_be_none(url: str) -> None:
    with pytest.raises(ServerUnavailable):
        call(Api(url), "GET", "/health")


def test_loopback_is_reached_past_any_proxy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    Scripted.answers += [(200, b"1")]
    assert call(Api(url), "GET", "/x").body == 1
