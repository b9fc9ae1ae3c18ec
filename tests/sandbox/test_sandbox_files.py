"""``/v1/files`` through the official client, and what happens to uploads that are large, wrong or cut off."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types import FileObject

from penstock.errors import InputError
from penstock.sandbox.app import make_app
from penstock.sandbox.launch import SandboxProcess, start
from penstock.sandbox.settings import Settings

LINE = b'{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}\n'


@pytest.fixture
def client(server: SandboxProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0) as client:
        yield client


def put(client: openai.OpenAI, name: str = "mydata.jsonl", content: bytes = LINE, **fields: Any) -> FileObject:
    return client.files.create(file=(name, content), **({"purpose": "fine-tune"} | fields))


def test_a_file_goes_up_is_shown_comes_down_and_is_deleted(client: openai.OpenAI) -> None:
    before = time.time()
    file = put(client)
    assert FileObject.model_validate(file.model_dump()) == file
    assert re.fullmatch(r"file-[A-Za-z0-9]{22}", file.id)
    assert (file.bytes, file.filename, file.purpose, file.object) == (len(LINE), "mydata.jsonl", "fine-tune", "file")
    assert file.status == "processed"
    assert int(before) <= file.created_at <= time.time()
    assert client.files.retrieve(file.id) == file
    content = client.files.content(file.id)
    assert content.read() == LINE
    assert content.response.headers["content-length"] == str(len(LINE))
    assert content.response.headers["content-disposition"] == 'attachment; filename="mydata.jsonl"'
    assert client.files.wait_for_processing(file.id).id == file.id
    deleted = client.files.delete(file.id)
    assert deleted.model_dump() == {"id": file.id, "object": "file", "deleted": True}
    for gone in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError) as error:
            gone(file.id)
        assert error.value.body == {
            "message": f"No such File object: {file.id}",
            "type": "invalid_request_error",
            "param": "id",
            "code": None,
        }


def test_the_asynchronous_client_does_the_same(server: SandboxProcess) -> None:
    async def run() -> None:
        async with openai.AsyncOpenAI(base_url=server.url, api_key=server.key, max_retries=0) as client:
            file = await client.files.create(file=("a.jsonl", LINE), purpose="batch")
            assert file.expires_at == file.created_at + 30 * 86_400
            assert (await client.files.content(file.id)).read() == LINE
            assert file.id in [one.id async for one in client.files.list(limit=1, purpose="batch")]
            assert (await client.files.delete(file.id)).deleted

    asyncio.run(run())


def test_lists_are_paged_filtered_and_ordered(client: openai.OpenAI) -> None:
    ids = [put(client, f"{number}.txt", b"x", purpose="evals").id for number in range(5)]
    assert [file.id for file in client.files.list(purpose="evals")] == ids[::-1]
    assert [file.id for file in client.files.list(purpose="evals", order="asc", limit=2)] == ids
    page = client.files.list(purpose="evals", limit=2)
    raw = page.model_dump()
    assert (raw["object"], raw["has_more"], raw["first_id"], raw["last_id"]) == ("list", True, ids[4], ids[3])
    last = client.files.list(purpose="evals", after=ids[1], limit=2).model_dump()
    assert ([one["id"] for one in last["data"]], last["has_more"]) == ([ids[0]], False)
    assert client.files.list(purpose="vision").data == []
    for file_id in ids:
        client.files.delete(file_id)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"limit": 0}, {"param": "limit", "code": "integer_below_min_value"}),
        ({"limit": 10_001}, {"param": "limit", "code": "integer_above_max_value"}),
        ({"limit": "many"}, {"param": "limit", "code": "invalid_type"}),
        ({"order": "up"}, {"param": "order", "code": "invalid_value"}),
        ({"after": "file-none"}, {"param": "after", "code": "invalid_value"}),
    ],
)
def test_a_wrong_query_is_refused(http: httpx.Client, query: dict[str, Any], error: dict[str, Any]) -> None:
    answer = http.get("/files", params=query)
    assert answer.status_code == 400
    assert error.items() <= answer.json()["error"].items()


@pytest.mark.parametrize(
    ("name", "content", "fields", "error"),
    [
        ("a.jsonl", LINE, {}, {"param": "purpose", "code": "missing_required_parameter"}),
        ("a.jsonl", LINE, {"purpose": "tuning"}, {"param": "purpose", "code": "invalid_value"}),
        ("a.jsonl", LINE, {"purpose": "batch_output"}, {"param": "purpose", "code": "invalid_value"}),
        ("a.txt", LINE, {"purpose": "batch"}, {"message": "Invalid file format for Batch API. Must be .jsonl"}),
        ("a.jsonl", b"", {"purpose": "fine-tune"}, {"message": "File is empty."}),
        ("a.jsonl", LINE, {"purpose": "batch", "x": "1"}, {"message": "Unrecognized request argument supplied: x"}),
        (
            "a.jsonl",
            LINE,
            {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "10"},
            {"param": "expires_after.seconds", "code": "integer_below_min_value"},
        ),
        (
            "a.jsonl",
            LINE,
            {"purpose": "batch", "expires_after[anchor]": "now", "expires_after[seconds]": "3600"},
            {"param": "expires_after.anchor", "code": "invalid_value"},
        ),
        (
            "a.jsonl",
            LINE,
            {"purpose": "batch", "expires_after[seconds]": "3600"},
            {"param": "expires_after.anchor", "code": "missing_required_parameter"},
        ),
    ],
)
def test_wrong_uploads_are_refused(
    http: httpx.Client, name: str, content: bytes, fields: dict[str, str], error: dict[str, Any]
) -> None:
    answer = http.post("/files", data=fields, files={"file": (name, content)})
    assert answer.status_code == 400
    assert error.items() <= answer.json()["error"].items()


def test_bodies_that_are_no_form_are_refused(http: httpx.Client) -> None:
    for content, kind in [(b"{}", "application/json"), (b"abc", "multipart/form-data"), (b"", "")]:
        answer = http.post("/files", content=content, headers={"content-type": kind})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_content_type")
    for content in (b"", b"no boundary", b"--b\r\ncontent-disposition: form-data; name=file\r\n\r\nhalf"):
        answer = http.post("/files", content=content, headers={"content-type": "multipart/form-data; boundary=b"})
        assert answer.status_code == 400
        assert "multipart" in answer.json()["error"]["message"]
    missing = http.post("/files", data={"purpose": "batch"}, files={"other": ("a.jsonl", b"x")})
    assert missing.status_code == 400


def test_some_purposes_cannot_be_downloaded_as_with_the_service(client: openai.OpenAI) -> None:
    file = put(client, "a.txt", b"text", purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="Not allowed to download files of purpose: user_data"):
        client.files.content(file.id)
    client.files.delete(file.id)


def test_names_keep_their_letters_and_lose_their_folders(client: openai.OpenAI) -> None:
    file = put(client, "C:\\data\\Ärger naïve.jsonl")
    assert file.filename == "Ärger naïve.jsonl"
    assert client.files.content(file.id).read() == LINE


def test_a_large_upload_goes_through_little_memory(tmp_path: Path) -> None:
    size = 400 * 2**20
    source = tmp_path / "large.bin"
    with source.open("wb") as file:
        file.truncate(size)
    state = tmp_path / "state"
    with start(state=str(state)) as process, openai.OpenAI(base_url=process.url, api_key=process.key) as client:
        watched = psutil.Process(process.pid)
        with source.open("rb") as file:
            stored = client.files.create(file=file, purpose="evals")
        assert stored.bytes == size
        with client.files.with_streaming_response.content(stored.id) as answer:
            assert sum(len(piece) for piece in answer.iter_bytes(2**20)) == size
        peak = int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{watched.pid}/status").read_text()).group(1)) * 1024  # type: ignore[union-attr]
        assert peak < 150e6
        client.files.delete(stored.id)
        assert list((state / "files").iterdir()) == []


def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with start(state=str(tmp_path)) as process, openai.OpenAI(base_url=process.url, api_key=process.key) as client:
        place = urlsplit(process.url)
        with socket.create_connection((place.hostname, place.port)) as link:
            link.sendall(
                b"POST /v1/files HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer sk-sandbox\r\n"
                b"content-type: multipart/form-data; boundary=b\r\ncontent-length: 90000000\r\n\r\n"
                b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n' + b"x" * 3_000_000
            )
            deadline = time.monotonic() + 10
            while not list((tmp_path / "uploads").iterdir()) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert list((tmp_path / "uploads").iterdir())
        while list((tmp_path / "uploads").iterdir()) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert list((tmp_path / "uploads").iterdir()) == []
        assert client.files.list().data == []


def test_files_outlive_the_server_in_a_state_folder_and_only_there(tmp_path: Path) -> None:
    with start(state=str(tmp_path)) as process, openai.OpenAI(base_url=process.url, api_key=process.key) as client:
        files = [put(client, f"{number}.jsonl") for number in range(3)]
        with pytest.raises(InputError, match="in use by another sandbox"):
            start(state=str(tmp_path))
        psutil.Process(process.pid).kill()
    (tmp_path / "files" / files[1].id).unlink()
    (tmp_path / "files" / "file-orphan").write_bytes(b"x")
    with start(state=str(tmp_path)) as process, openai.OpenAI(base_url=process.url, api_key=process.key) as client:
        assert [file.id for file in client.files.list(order="asc")] == [files[0].id, files[2].id]
        assert client.files.retrieve(files[0].id) == files[0]
        assert client.files.content(files[2].id).read() == LINE
    assert not (tmp_path / "files" / "file-orphan").exists()


def test_a_temporary_folder_goes_with_its_server_or_with_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with start() as process, openai.OpenAI(base_url=process.url, api_key=process.key) as client:
        assert list(tmp_path.iterdir()) == []
        put(client)
        assert len(list(tmp_path.iterdir())) == 1
    deadline = time.monotonic() + 5
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(tmp_path.iterdir()) == []
    with start() as process, openai.OpenAI(base_url=process.url, api_key=process.key) as client:
        put(client)
        psutil.Process(process.pid).kill()
    (left,) = tmp_path.iterdir()
    with start() as process, openai.OpenAI(base_url=process.url, api_key=process.key) as client:
        put(client)
        assert left not in tmp_path.iterdir()


def test_a_state_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be used"):
        start(state=str(tmp_path / "file"))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "state.sqlite3").write_text("no database at all " * 100)
    with pytest.raises(InputError, match="cannot be read"):
        start(state=str(tmp_path / "bad"))


def test_a_file_is_gone_when_its_time_is_over() -> None:
    now = 1_700_000_000.0
    app = make_app(Settings(), wall=lambda: now)

    async def run() -> None:
        nonlocal now
        transport = httpx.ASGITransport(app=app)
        headers = {"Authorization": "Bearer sk-sandbox"}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost/v1", headers=headers) as http:
            fields = {"purpose": "evals", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
            file = (await http.post("/files", data=fields, files={"file": ("a", b"x")})).json()
            assert (file["created_at"], file["expires_at"]) == (now, now + 3600)
            now += 3599
            assert (await http.get(f"/files/{file['id']}")).status_code == 200
            now += 1
            assert (await http.get(f"/files/{file['id']}")).status_code == 404
            assert (await http.get("/files")).json()["data"] == []

    asyncio.run(run())
    app.state.sandbox.archive.close()


def test_files_above_the_limit_are_refused_and_do_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock.sandbox import files

    monkeypatch.setattr(files, "LARGEST_FILE", 1000)
    app = make_app(Settings(state=str(tmp_path)))

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        headers = {"Authorization": "Bearer sk-sandbox"}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost/v1", headers=headers) as http:
            return await http.post("/files", data={"purpose": "evals"}, files={"file": ("a", b"x" * 1001)})

    answer = asyncio.run(run())
    assert answer.status_code == 413
    assert "Maximum file size" in answer.json()["error"]["message"]
    assert list((tmp_path / "uploads").iterdir()) == []
    app.state.sandbox.archive.close()


FRAGMENTS = st.sampled_from(
    [
        b"--b",
        b"--b--",
        b"\r\n",
        b"\r\n\r\n",
        b'content-disposition: form-data; name="file"; filename="a.jsonl"',
        b'content-disposition: form-data; name="purpose"',
        b"content-disposition: form-data",
        b"content-type: \xff; charset=x",
        b"batch",
        b"--b\r\ncontent-disposition: form-data; name=purpose\r\n\r\nevals\r\n",
        b"--b\r\ncontent-disposition: form-data; name=file; filename=a\r\n\r\nx\r\n",
        b"--b--\r\n",
    ]
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(FRAGMENTS | st.binary(max_size=8), max_size=12))
def test_any_body_gets_an_answer_or_a_wellformed_error_and_leaves_nothing(tmp_path: Path, pieces: list[bytes]) -> None:
    app = make_app(Settings(state=str(tmp_path)))

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        headers = {"Authorization": "Bearer sk-sandbox", "content-type": "multipart/form-data; boundary=b"}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost/v1", headers=headers) as http:
            return await http.post("/files", content=b"".join(pieces))

    answer = asyncio.run(run())
    assert answer.status_code in (200, 400)
    assert "error" in answer.json() or answer.json()["object"] == "file"
    assert list((tmp_path / "uploads").iterdir()) == []
    app.state.sandbox.archive.close()


def test_an_answer_that_is_lost_leaves_a_file_behind_as_with_any_server(
    http: httpx.Client, client: openai.OpenAI
) -> None:
    before = len(client.files.list().data)
    with pytest.raises(httpx.HTTPError):
        http.post(
            "/files",
            data={"purpose": "evals"},
            files={"file": ("a", b"x")},
            headers={"x-sandbox-fault": "cut"},
        )
    assert len(client.files.list().data) == before + 1


def test_the_command_keeps_files_with_state(tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("penstock")),
        "sandbox",
        "--port",
        "0",
        "--json",
        "--state",
        str(tmp_path / "s"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        with openai.OpenAI(base_url=ready["url"], api_key="sk-sandbox") as client:
            file = put(client)
        assert (tmp_path / "s" / "files" / file.id).read_bytes() == LINE
    finally:
        process.terminate()
        process.communicate(timeout=10)
