"""The Prefect API dies in the middle of a run."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from test_flow_command import command, pipeline, records, until_it_runs

from penstock.flow import embedded, server
from penstock.flow.connection import connect_prefect
from penstock.flow.rest import Api, ServerUnavailable, call

pytestmark = [pytest.mark.slow, pytest.mark.prefect]


@pytest.fixture
def own_server(home: Path) -> Iterator[embedded.ServerRecord]:
    """A server of the test's own, which it may kill."""
    yield embedded.start(idle=60)
    embedded.stop()


def killing(record: embedded.ServerRecord) -> Callable[[str, int], None]:
    """The work of tasks, in the second of which the server is killed."""
    calls = itertools.count(1)

    def work(segment: str, partition: int) -> None:
        if next(calls) == 2:
            os.kill(record.pid, signal.SIGKILL)
        time.sleep(0.5)

    return work


def test_an_embedded_server_that_is_killed_is_started_again_and_records_the_end_of_the_run(
    stand_in, own_server
) -> None:
    from penstock.flow.run import execute

    boot = server.begin()
    session, recorder = stand_in(killing(own_server), partitions=6)
    outcome = execute(session, boot.wait())
    assert outcome.state == "Completed"
    assert "started again" in outcome.warning
    assert len(recorder.calls) == len(set(recorder.calls)) == 12
    found = embedded.status().record
    assert found is not None
    assert (found.url, found.pid != own_server.pid) == (own_server.url, True)
    api = Api(found.url)
    assert (
        call(api, "GET", f"/flow_runs/{session.flow_run_id}", timeout=30, patience=30).body["state_type"] == "COMPLETED"
    )
    boot.release()


def test_a_server_of_the_users_that_dies_costs_its_record_and_nothing_else(
    stand_in, own_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from penstock.flow.run import execute

    monkeypatch.setenv("PREFECT_API_URL", own_server.url)
    connection = server.begin().wait()
    assert connection.kind == "configured"
    session, recorder = stand_in(killing(own_server), partitions=6)
    began = time.monotonic()
    outcome = execute(session, connection)
    assert time.monotonic() - began < 40
    assert outcome.state == "Completed"
    assert "stopped answering" in outcome.warning
    assert own_server.url in outcome.warning
    assert len(set(recorder.calls)) == 12
    assert session.finished == 1


def test_an_api_that_is_gone_before_the_run_begins_is_one_sentence(stand_in) -> None:
    from penstock.flow.run import execute

    session, recorder = stand_in(lambda *_: None)
    with pytest.raises(ServerUnavailable, match="does not answer"):
        execute(session, connect_prefect(Api("http://127.0.0.1:9/api"), "configured"))
    assert recorder.calls == []


def test_a_server_that_comes_back_in_the_middle_of_the_run_records_its_end(
    stand_in, own_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from penstock.flow.run import execute

    monkeypatch.setenv("PREFECT_API_URL", own_server.url)
    connection = server.begin().wait()
    calls = itertools.count(1)

    def work(segment: str, partition: int) -> None:
        if next(calls) == 2:
            os.kill(own_server.pid, signal.SIGKILL)
            time.sleep(1)
            embedded.start(idle=60, port=urlsplit(own_server.url).port or 0)

    session, recorder = stand_in(work, partitions=6)
    outcome = execute(session, connection)
    assert outcome.state == "Completed"
    assert len(set(recorder.calls)) == 12
    found = call(Api(own_server.url), "GET", f"/flow_runs/{session.flow_run_id}", timeout=30, patience=30).body
    assert found["state_type"] == "COMPLETED"


def test_a_command_whose_server_never_comes_back_ends_with_all_its_data_and_says_what_to_do(
    own_server, tmp_path: Path
) -> None:
    path = pipeline(tmp_path, {"uses": "sandbox", "latency": "3s"}, rows=300)
    process = command("run", path, PREFECT_API_URL=own_server.url)
    until_it_runs(tmp_path, process)
    os.kill(own_server.pid, signal.SIGKILL)
    began = time.monotonic()
    out, err = process.communicate(timeout=100)
    assert time.monotonic() - began < 60
    assert process.returncode == 0, out + err
    assert "Traceback" not in out + err
    assert f"the Prefect API at {own_server.url} stopped answering" in err
    assert "the run itself is complete" in err
    assert "start it again before the next run" in err
    (record,) = records(tmp_path)
    assert (record["status"], record["account"]["written"]) == ("completed", 300)
