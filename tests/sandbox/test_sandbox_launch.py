"""The process: it starts with what it was given, explains why it did not, and never outlives its parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import httpx
import psutil
import pytest
from sandbox_requests import embed

from penstock.errors import InputError
from penstock.sandbox import launch
from penstock.sandbox.launch import SandboxNotStarted, SandboxProcess, start

FLOWS = str(Path(__file__).resolve().parents[2] / "flows")


def gone(pid: int, within: float) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def parent_with_sandbox(code: str) -> tuple[subprocess.Popen[str], int]:
    program = "from penstock.sandbox.launch import start\n" + textwrap.dedent(code)
    parent = subprocess.Popen(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": FLOWS}, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_when_its_parent_is_killed(number: signal.Signals) -> None:
    parent, pid = parent_with_sandbox("s = start(); print(s.pid, flush=True); import time; time.sleep(60)")
    assert psutil.pid_exists(pid)
    parent.send_signal(number)
    parent.wait()
    assert gone(pid, 5)
    parent.stdout.close()  # type: ignore[union-attr]


def test_it_ends_although_a_forked_sibling_keeps_the_pipe_open() -> None:
    code = """
    import os, time
    s = start()
    if os.fork() == 0:
        time.sleep(8)
        os._exit(0)
    print(s.pid, flush=True)
    time.sleep(60)
    """
    parent, pid = parent_with_sandbox(code)
    children = psutil.Process(parent.pid).children()
    parent.kill()
    parent.wait()
    assert gone(pid, 5)
    for child in children:
        if child.is_running() and child.pid != pid:
            child.kill()
    parent.stdout.close()  # type: ignore[union-attr]


def test_it_stays_when_the_thread_that_started_it_ends() -> None:
    import threading

    started: list[SandboxProcess] = []
    thread = threading.Thread(target=lambda: started.append(start()))
    thread.start()
    thread.join()
    time.sleep(0.2)
    with started[0] as server:
        assert server.running
        assert server.stats()["total_requests"] == 0
    assert not server.running


def test_a_hanging_request_does_not_keep_it_alive() -> None:
    with start(models=["tiny:8"], faults=["hang:100%"]) as server, httpx.Client(base_url=server.url) as client:
        client.headers["Authorization"] = "Bearer sk-sandbox"
        with pytest.raises(httpx.ReadTimeout):
            client.post("/embeddings", json={"model": "tiny", "input": "a"}, timeout=0.1)
        started = time.monotonic()
        server.close()
        assert time.monotonic() - started < 1
        assert not server.running
        server.close()


def test_sigterm_ends_it_within_moments_even_with_a_request_that_hangs() -> None:
    with start(models=["tiny:8"], faults=["hang:100%"]) as server:
        link = socket.create_connection(("127.0.0.1", server.port))
        body = b'{"model": "tiny", "input": "a"}'
        link.sendall(
            b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-sandbox\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        while server.stats()["in_flight"] == 0:
            time.sleep(0.01)
        os.kill(server.pid, signal.SIGTERM)
        assert gone(server.pid, 3)
        assert server._process.wait() == 0
        server._stderr.seek(0)
        assert server._stderr.read() == b""
        link.close()


def test_all_settings_reach_the_process() -> None:
    with start(key="sk-k", faults=["500:x1"], latency=0.01, rpm=5, tpm=100, seed=9, poison=["p"], models=["m:4"]) as s:
        assert s.change() == {"faults": ["500:x1"], "latency": [0.01, 0.01], "poison": ["p"], "seed": 9}
        with httpx.Client(base_url=s.url, headers={"Authorization": "Bearer sk-k"}) as client:
            answers = [client.post("/embeddings", json={"model": "m", "input": "a"}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [500, 200]
        assert answers[1].headers["x-ratelimit-limit-requests"] == "5"
        assert answers[1].headers["x-ratelimit-limit-tokens"] == "100"
        assert "sk-k" not in " ".join(psutil.Process(s.pid).cmdline())
        assert "sk-k" not in repr(s)


def test_a_taken_port_is_explained(server: SandboxProcess) -> None:
    with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1, port {server.port}"):
        start(port=server.port)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"faults": ["nothing:5%"]}, "no fault named 'nothing'"),
        ({"latency": "soon"}, "write it like 200ms or 150ms..250ms"),
        ({"latency": "2s..1s"}, "ends before it begins"),
        ({"models": ["m"]}, "write it as NAME:SIZE"),
        ({"models": ["m:0"]}, "allowed are 1 to"),
        ({"models": ["a b:4"]}, "is not a model"),
        ({"port": 70000}, "not a port"),
        ({"key": "a b"}, "printable ASCII"),
        ({"rpm": 0}, "rpm is 0"),
        ({"poison": [""]}, "poison word is empty"),
    ],
)
def test_wrong_settings_are_refused_before_anything_starts(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        start(**settings)  # type: ignore[arg-type]


def test_a_start_that_fails_shows_what_the_process_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "uvicorn.py").write_text("raise SystemExit('this uvicorn is broken')")
    monkeypatch.setattr(launch, "child_environment", lambda: {"PYTHONPATH": f"{tmp_path}:{FLOWS}"})
    with pytest.raises(SandboxNotStarted, match=r"ended with code 1\. It said:\nthis uvicorn is broken"):
        start()


def test_a_start_that_takes_too_long_is_given_up() -> None:
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(SandboxNotStarted, match="not ready after"):
        start(startup_timeout=0.001)
    assert {child.pid for child in psutil.Process().children()} == before


def test_two_processes_give_the_same_bytes(server: SandboxProcess, http: httpx.Client) -> None:
    texts = ["the food was delicious", "süß", "東京"]
    with start(models=["tiny:8"]) as other, httpx.Client(base_url=other.url) as client:
        client.headers["Authorization"] = "Bearer sk-sandbox"
        assert embed(client, texts).content == embed(http, texts).content
