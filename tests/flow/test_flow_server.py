from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from penstock.errors import InputError, StorageFailed
from penstock.flow import embedded, server
from penstock.flow.connection import Connection, connect_prefect, forget_own
from penstock.flow.rest import Api, ServerRefused, ServerUnavailable, call
from penstock.flow.server_folder import NEVER, ServerFolder, idle_limit, user_state_folder

FLOWS = str(Path(server.__file__).parents[2])


def client(code: str, **more: str) -> subprocess.Popen[str]:
    """Another process that uses the server; it prints one line and then waits for its standard input to end."""
    script = f"from penstock.flow.server import begin\n{code}\nimport sys; sys.stdin.read()"
    environment = {**os.environ, "PYTHONPATH": FLOWS, **more}
    environment.pop("PREFECT_API_URL", None)
    return subprocess.Popen(
        [sys.executable, "-c", script], env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=20)


def is_gone(home: Path, limit: float = 10.0) -> bool:
    """Whether the server of that home is gone, at the latest after `limit` seconds."""
    folder = ServerFolder(next(home.glob("prefect-*")))
    deadline = time.monotonic() + limit
    while folder.has_server() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not folder.has_server()


def processes_of(home: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"penstock.flow.server_process" in words and any(str(home).encode() in word for word in words):
            found.append(path.parent.name)
    return found


# -- what the user configured


def test_a_configured_api_that_is_dead_is_an_error_that_says_what_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/api"
        monkeypatch.setenv("PREFECT_API_URL", url)
        with pytest.raises(ServerUnavailable) as failure:
            server.begin()
    text = str(failure.value)
    assert url in text
    assert "environment variable PREFECT_API_URL" in text
    assert "prefect server start" in text
    assert not home.exists(), "no server of our own in silence"


@pytest.mark.prefect
def test_a_configured_api_that_lives_is_used(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", connection.url)
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path))
    found = server.begin().wait()
    assert (found.kind, found.url, found.ui_url) == ("configured", connection.url, connection.url.removesuffix("/api"))
    assert not list(tmp_path.iterdir())


# -- the folder and its settings


def test_the_state_folder_is_penstock_home_or_the_one_of_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("PENSTOCK_HOME", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert user_state_folder() == Path("/home/somebody/.local/state/penstock")
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    assert user_state_folder() == Path("/home/somebody/.local/state/penstock")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert user_state_folder() == Path("/state/penstock")
    monkeypatch.setenv("PENSTOCK_HOME", "~/mine")
    assert user_state_folder() == Path("/home/somebody/mine")


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "file"))
    with pytest.raises(StorageFailed, match="PENSTOCK_HOME"):
        ServerFolder.of_user().create()


def test_the_idle_limit_is_a_duration_or_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_SERVER_IDLE", raising=False)
    assert idle_limit() == 600
    monkeypatch.setenv("PENSTOCK_SERVER_IDLE", "30m")
    assert idle_limit() == 1800
    assert idle_limit("0") == 0
    assert idle_limit("never") == NEVER
    with pytest.raises(InputError, match="not a duration"):
        idle_limit("soon")


def test_the_server_sees_no_key_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "PREFECT_API_KEY", "AWS_SECRET_ACCESS_KEY", "MY_TOKEN"):
        monkeypatch.setenv(name, "a-marked-value")
    environment = embedded._environment(ServerFolder(tmp_path))
    assert "a-marked-value" not in environment.values()


def test_telemetry_is_off_unless_somebody_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    monkeypatch.delenv("PREFECT_SERVER_ANALYTICS_ENABLED", raising=False)
    environment = embedded._environment(ServerFolder(tmp_path))
    assert (environment["DO_NOT_TRACK"], environment["PREFECT_SERVER_ANALYTICS_ENABLED"]) == ("1", "false")
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "true")
    assert embedded._environment(ServerFolder(tmp_path))["PREFECT_SERVER_ANALYTICS_ENABLED"] == "true"


def test_an_embedded_address_in_the_environment_is_not_taken_for_the_users_choice(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PREFECT_API_URL", "PENSTOCK_EMBEDDED_API_URL", "NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("NO_PROXY", "intranet")
    connect_prefect(Api("http://127.0.0.1:1/api"), "embedded")
    assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:1/api"
    assert os.environ["NO_PROXY"] == "intranet,127.0.0.1"
    forget_own()
    assert "PREFECT_API_URL" not in os.environ


def test_server_modules_do_not_import_prefect() -> None:
    code = "import sys, penstock.flow.server, penstock.flow.flow_runs; assert 'prefect' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": FLOWS})


# -- the shared server


@pytest.mark.prefect
def test_the_next_run_finds_the_server_of_the_one_before(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    boot = server.begin()
    found = boot.wait()
    boot.release()
    assert not boot.is_starting
    assert (found.url, found.kind, found.ui_url) == (connection.url, "embedded", "")
    assert time.monotonic() - began < 2


@pytest.mark.prefect
def test_its_status_names_address_process_and_versions(connection: Connection) -> None:
    found = embedded.status()
    assert found.state == "running"
    assert found.record is not None
    assert found.record.url == connection.url
    assert b"server_process" in Path(f"/proc/{found.record.pid}/cmdline").read_bytes()


@pytest.mark.prefect
def test_another_server_on_its_port_is_not_taken_for_it(connection: Connection) -> None:
    from dataclasses import replace

    record = embedded.status().record
    assert record is not None
    assert embedded.answers(record)
    assert not embedded.answers(replace(record, token="somebody else's"))


@pytest.mark.prefect
def test_a_page_in_a_browser_cannot_reach_it_under_a_name_of_its_own(connection: Connection) -> None:
    with pytest.raises(ServerRefused, match="421"):
        call(Api(connection.url, headers={"Host": "evil.example"}), "POST", "/flows/count", {})


@pytest.mark.prefect
def test_no_web_page_may_read_its_answers(connection: Connection) -> None:
    answer = call(Api(connection.url, headers={"Origin": "https://evil.example"}), "GET", "/health")
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.prefect
def test_its_folder_is_the_users_alone(connection: Connection, server_home: Path) -> None:
    folder = next(server_home.glob("prefect-*"))
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "prefect" / "prefect.db").exists()


@pytest.mark.prefect
def test_starting_it_again_only_changes_its_idle_limit(connection: Connection) -> None:
    before = embedded.status()
    assert before.record is not None
    again = embedded.start(idle=3600)
    try:
        assert again.pid == before.record.pid
        assert embedded.status().idle == 3600
        boot = server.begin()
        boot.release()
        assert embedded.status().idle == 3600, "a limit that was asked for by name outlives ordinary runs"
    finally:
        before.folder.set_idle(before.idle)


# -- its life, each in a home of its own


@pytest.mark.slow
@pytest.mark.prefect
def test_two_clients_at_the_same_moment_end_with_one_server_that_ends_with_the_last(home: Path) -> None:
    code = "boot = begin(keep=False); print(boot.wait().url, flush=True)"
    one, other = client(code), client(code)
    assert line_of(one) == line_of(other) != ""
    assert len(processes_of(home)) == 1
    end(one)
    time.sleep(2.5)
    assert len(processes_of(home)) == 1, "the other client still needs it"
    end(other)
    assert is_gone(home)
    assert processes_of(home) == []


@pytest.mark.slow
@pytest.mark.prefect
def test_a_client_that_is_killed_leaves_no_server_when_none_was_asked_for(home: Path) -> None:
    process = client("boot = begin(); print(boot.wait().url, flush=True)", PENSTOCK_SERVER_KEEP="0")
    assert line_of(process).startswith("http://127.0.0.1:")
    process.kill()
    end(process)
    assert is_gone(home)
    assert processes_of(home) == []


@pytest.mark.slow
@pytest.mark.prefect
def test_a_client_that_is_killed_while_the_server_starts_leaves_none_either(home: Path) -> None:
    process = client("boot = begin(keep=False); print('begun', flush=True); boot.wait()")
    assert line_of(process) == "begun"
    process.kill()
    end(process)
    assert is_gone(home)
    assert processes_of(home) == []


@pytest.mark.slow
@pytest.mark.prefect
def test_a_kept_server_lives_on_answers_the_next_client_and_ends_when_idle(home: Path) -> None:
    code = "boot = begin(); print(boot.is_starting, boot.wait().url, flush=True)"
    first = client(code, PENSTOCK_SERVER_IDLE="4s")
    is_starting, url = line_of(first).split()
    assert is_starting == "True"
    end(first)
    second = client(code, PENSTOCK_SERVER_IDLE="4s")
    assert line_of(second).split() == ["False", url]
    time.sleep(5)
    assert call(Api(url), "GET", "/health").body is True, "a client that only waits still needs it"
    end(second)
    time.sleep(1.5)
    assert embedded.status().state == "running"
    assert is_gone(home)


@pytest.mark.slow
@pytest.mark.prefect
def test_stop_ends_it_and_the_next_start_finds_the_database_of_before(home: Path) -> None:
    record = embedded.start(idle=60)
    created = call(Api(record.url), "POST", "/flows/", {"name": "kept"}).body["id"]
    assert embedded.stop()
    assert not embedded.stop()
    assert processes_of(home) == []
    record = embedded.start(idle=60)
    assert call(Api(record.url), "GET", f"/flows/{created}").body["name"] == "kept"
    os.kill(record.pid, signal.SIGKILL)
    assert is_gone(home)
    assert embedded.status().state == "stopped"
    assert embedded.revive(record.url)
    assert not embedded.revive(record.url), "one that lives is left alone"
    revived = embedded.start(idle=60)
    assert revived.url == record.url
    assert call(Api(revived.url), "GET", f"/flows/{created}").body["name"] == "kept"
    assert embedded.stop()


@pytest.mark.slow
@pytest.mark.prefect
def test_a_server_that_dies_while_it_starts_is_told_with_the_end_of_its_log(home: Path) -> None:
    folder = ServerFolder.of_user()
    folder.create()
    (folder.prefect_home / "prefect.db").write_text("this is no database, and long enough to be read as one" * 100)
    with pytest.raises(ServerUnavailable, match="ended while it was starting") as failure:
        embedded.start(idle=60)
    assert "file is not a database" in str(failure.value)
    assert str(folder.log) in str(failure.value)
    assert processes_of(home) == []


@pytest.mark.slow
@pytest.mark.prefect
def test_a_port_that_is_taken_is_an_error(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ServerUnavailable, match="cannot be used"):
        embedded.start(idle=60, port=taken.getsockname()[1])
    assert processes_of(home) == []
    assert not ServerFolder.of_user().has_clients()


def test_a_record_of_a_dead_server_is_not_believed(home: Path) -> None:
    folder = ServerFolder.of_user()
    folder.create()
    from penstock.flow.server_folder import ServerRecord

    folder.write(ServerRecord("http://127.0.0.1:9/api", os.getpid(), "t", 0.0, "0", "0"))
    assert embedded.status().state == "stopped"
    assert embedded.stop() is False, "the pid is somebody else's by now"
    (folder.path / "server.json").write_text("{")
    assert folder.read() is None


def test_the_decision_is_taken_by_one_at_a_time(home: Path) -> None:
    folder = ServerFolder.of_user()
    folder.create()
    order: list[str] = []

    def other() -> None:
        with folder.deciding():
            order.append("other")

    with folder.deciding():
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.1)
        order.append("one")
    thread.join()
    assert order == ["one", "other"]


def test_status_of_the_command_line_is_json_for_programs(home: Path) -> None:
    import typer
    from typer.testing import CliRunner

    from penstock.cli import server as group

    app = typer.Typer()
    group.register(app)
    answer = CliRunner().invoke(app, ["server", "status", "--json"])
    assert answer.exit_code == 0, answer.output
    facts = json.loads(answer.stdout)
    assert facts["state"] == "stopped"
    assert facts["idle_limit_seconds"] == 600
    assert facts["log"].endswith("server.log")
    assert "no local Prefect server was running" in CliRunner().invoke(app, ["server", "stop"]).output
