"""What strangers may do: rows name no place outside the output's folder, and no server makes a key be written down.

That YAML, templates and SQL of strangers read no file, call no code and stay within bounds is tested where they are
read: tests/spec/test_spec_positions.py, tests/expressions/test_template_bounds.py and test_expressions.py. Certificates
stand in tests/api/test_api_wire.py, host names in tests/sandbox/test_sandbox_gates.py, Prefect's database in
tests/flow/test_flow_command.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import psutil
import pytest
from execute_bench import Bench
from judging_server import EMBED, Judged, good, judged, texts_of

from penstock.errors import RunStopped
from penstock.execute.inline import run_inline
from penstock.sandbox.launch import SandboxProcess
from raw_http import Reply, Seen, error, reply

PLACES = [
    *("../../escaped", "/escaped", "..", ".", "a/../../b", "~/escaped", "C:\\escaped", "con", "a\nb"),
    *("%2e%2e%2fescaped", "\u202e\u2066turned", "-rf", "$(touch escaped)", ".hidden", "x" * 300, "escaped\u0000.wav"),
]
MARK = "sk-marked-0123456789abcdef-marked"


def tree(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if ".penstock" not in path.parts}


def test_no_value_of_a_row_names_a_file_outside_the_folder(bench: Bench) -> None:
    bench.rows([{"id": number, "text": f"words {number}", "place": place} for number, place in enumerate(PLACES)])
    bench.pipeline('uses: speak\ninput: "{{ text }}"\nfolder: out/spoken\nfile_name: "{{ place }}"\nformat: wav')
    before = tree(bench.folder.parent)
    record = bench.run()
    assert record.account is not None
    assert (record.account.written, record.account.failed) == (len(PLACES), 0)
    spoken = bench.folder / "out" / "spoken"
    files = [path for path in tree(bench.folder.parent) - before if path.suffix == ".wav"]
    assert len(files) == len(PLACES)
    assert {path.resolve().parent for path in files} == {spoken.resolve()}
    assert all(not path.name.startswith((".", "-")) and "\n" not in path.name for path in files)
    made = {path for path in tree(bench.folder.parent) - before if path.is_file()}
    assert {path for path in made if bench.folder / "out" not in path.parents} == set()
    assert not any("escaped" in path.name for path in [*Path("/").glob("escaped*"), *Path.home().glob("escaped*")])


def test_no_value_of_a_row_names_a_folder_outside_the_output(bench: Bench) -> None:
    places = [place for place in PLACES if len(place) < 200]
    bench.rows([{"id": number, "place": place} for number, place in enumerate(places)])
    path = bench.pipeline("uses: filter\nwhere: id >= 0")
    path.write_text(path.read_text().replace("path: out/result", "path: out/result\n    partition_by: [place]"))
    before = tree(bench.folder.parent)
    bench.run()
    made = {path for path in tree(bench.folder.parent) - before if path.is_file()}
    out = bench.folder / "out" / "result"
    assert all(out in path.parents and len(path.relative_to(out).parts) == 2 for path in made)
    assert set(pl.read_parquet(out, hive_partitioning=True)["place"]) == set(places)


@pytest.fixture
def echoing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Judged]:
    monkeypatch.setenv("BENCH_API_KEY", MARK)
    monkeypatch.delenv("PENSTOCK_STATE", raising=False)
    with judged(tmp_path) as found:
        yield found


def written(folder: Path) -> str:
    """All that stands in the files of a folder, tables as their rows."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.append(path.read_bytes().decode("latin-1"))
        if path.suffix == ".parquet":
            found.append(str(pl.read_parquet(path).to_dicts()))
    return "".join(found)


ECHOES = {
    "400": error(400, "bad", f"I do not like the header Authorization: Bearer {MARK}"),
    "500": error(500, None, f"trace: key={MARK}"),
    "page": reply(200, f"<html>{MARK}</html>".encode()),
    "success": reply(200, {"error": f"cannot use {MARK}"}),
    "request id": reply(422, {"detail": MARK}, {"x-request-id": MARK}),
    "cut": Reply(f"HTTP/1.1 200 OK\r\nx: {MARK}\r\n{MARK}\r\n\r\n".encode(), then="close"),
}


def test_a_key_that_the_server_echoes_reaches_no_file_and_no_message(
    echoing: Judged, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(0)

    def respond(seen: Seen) -> Reply:
        assert seen.headers["authorization"] == f"Bearer {MARK}"
        return ECHOES.get(texts_of(seen)[0]) or good(seen)

    echoing.answer(respond)
    echoing.pipeline(EMBED, ["fine", *ECHOES])
    record = echoing.bench.run()
    assert record.account is not None
    assert (record.account.written, record.account.failed) == (1, len(ECHOES))
    assert len(echoing.bench.errors(record)) == len(ECHOES)
    echoing.answer(lambda _: error(401, "invalid_api_key", f"Incorrect API key provided: {MARK}"))
    echoing.pipeline(EMBED, ["other"])
    with echoing.bench.open() as session, pytest.raises(RunStopped) as stopped:
        run_inline(session)
    said = written(echoing.bench.folder) + caplog.text + "".join(capfd.readouterr())
    chain: BaseException | None = stopped.value
    while chain is not None:
        said += repr(chain) + str(chain)
        chain = chain.__cause__ or chain.__context__
    assert "Incorrect API key provided" in said, "what is searched is what was written"
    assert MARK not in said


def test_the_sandbox_listens_to_this_machine_only(server: SandboxProcess) -> None:
    sockets = psutil.Process(server.pid).net_connections(kind="inet")
    listening = [one.laddr for one in sockets if one.status == psutil.CONN_LISTEN]
    assert listening
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1"}
