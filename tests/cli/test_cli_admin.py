"""The administrative commands as a user types them, against a server in this process."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from penstock.cli.app import app
from penstock.cli.listing import moment, shown
from penstock.cli.transfer import Transfer
from penstock.sandbox.launch import SandboxProcess, start
from raw_http import RawServer, Reply, Seen, error, reply

KEY = "sk-admin-0123456789"
PENSTOCK = str(Path(sys.executable).with_name("penstock"))
FILES = [
    {
        "id": f"file-{at}",
        "bytes": 1500 * at,
        "created_at": 1_700_000_000,
        "filename": f"f{at}.jsonl",
        "purpose": "batch",
    }
    for at in range(3)
]
JOB = {"id": "ftjob-1", "status": "running", "model": "base", "training_file": "file-1", "created_at": 1_700_000_000}
BATCH = {
    "id": "batch_1",
    "status": "failed",
    "endpoint": "/v1/embeddings",
    "input_file_id": "file-1",
    "created_at": 1_700_000_000,
    "request_counts": {"total": 1200, "completed": 900, "failed": 300},
    "errors": {"object": "list", "data": [{"code": "x", "message": "not JSON", "line": 7}]},
    "metadata": {"run": "nightly"},
}


class Account:
    """A server that keeps what it was asked, and a command line that talks to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.replies: dict[str, Reply | Callable[[Seen], Reply]] = {}
        self.server = RawServer(self._answer)
        self.folder = folder
        self.monkeypatch = monkeypatch

    def _answer(self, seen: Seen) -> Reply:
        found = self.replies.get(f"{seen.method} {seen.path}", error(404, None, f"no {seen.method} {seen.path}"))
        return found(seen) if callable(found) else found

    def __call__(self, *words: str, stdin: str = "") -> Result:
        return CliRunner().invoke(app, list(words), input=stdin)

    def json(self, *words: str) -> Any:
        done = self(*words, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    @property
    def asked(self) -> list[str]:
        return [f"{seen.method} {seen.path}" for seen in self.server.seen]


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Account]:
    made = Account(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    with made.server:
        monkeypatch.setenv("OPENAI_BASE_URL", made.server.url + "/v1")
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.delenv("OPENAI_ORG_ID", raising=False)
        monkeypatch.delenv("OPENAI_PROJECT_ID", raising=False)
        # Set and taken away, so that what the command sets is taken away again too.
        monkeypatch.setenv("PENSTOCK_SANDBOX_KEY", "")
        monkeypatch.delenv("PENSTOCK_SANDBOX_KEY")
        yield made


def test_files_are_listed_in_a_table_and_as_json(account: Account) -> None:
    account.replies["GET /v1/files"] = reply(200, {"data": FILES, "has_more": False})
    done = account("files", "list")
    assert done.exit_code == 0
    head, first, *_ = done.stdout.splitlines()
    assert head.split() == ["file", "size", "created", "purpose", "status", "name"]
    assert first.split() == ["file-0", "0", "B", "2023-11-14", "22:13", "batch", "-", "f0.jsonl"]
    assert account.json("files", "list") == FILES
    assert account.server.seen[0].headers["authorization"] == f"Bearer {KEY}"


def test_a_list_says_when_there_is_more_and_when_there_is_nothing(account: Account) -> None:
    account.replies["GET /v1/files"] = reply(200, {"data": FILES})
    done = account("files", "list", "--most", "2")
    assert "file-2" not in done.stdout
    assert "these are the first 2; more with --most" in done.stdout
    account.replies["GET /v1/files?purpose=vision"] = reply(200, {"data": []})
    assert account("files", "list", "--purpose", "vision").stdout == "no file\n"


def test_a_file_goes_there_and_comes_back(account: Account) -> None:
    (account.folder / "f1.jsonl").write_text("{}\n")
    account.replies["POST /v1/files"] = reply(200, FILES[1])
    done = account("files", "upload", "f1.jsonl", "--purpose", "batch")
    assert done.stdout == "file-1  f1.jsonl  1.5 kB  batch\n"
    assert b'name="purpose"\r\n\r\nbatch' in account.server.seen[0].body
    account.replies["GET /v1/files/file-1"] = reply(200, FILES[1] | {"filename": "../../f1.jsonl"})
    account.replies["GET /v1/files/file-1/content"] = reply(200, b"new")
    taken = account("files", "download", "file-1")
    assert taken.exit_code == 2
    assert "f1.jsonl is there already; --force replaces it" in taken.stderr
    assert account.json("files", "download", "file-1", "--force") == {"id": "file-1", "path": "f1.jsonl", "bytes": 3}
    assert (account.folder / "f1.jsonl").read_text() == "new"
    assert account("files", "download", "file-1", "--to", "other").exit_code == 0
    assert "1.5 kB (1,500 bytes)" in account("files", "show", "file-1").stdout
    assert account.json("files", "show", "file-1")["id"] == "file-1"


def test_a_file_that_cannot_be_sent_is_a_usage_error(account: Account) -> None:
    done = account("files", "upload", "none.jsonl", "--purpose", "batch")
    assert done.exit_code == 2
    assert "none.jsonl cannot be read" in done.stderr
    assert not account.asked


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (("files", "delete", "file-1"), "DELETE /v1/files/file-1"),
        (("models", "delete", "ft:a:b::c"), "DELETE /v1/models/ft:a:b::c"),
        (("batches", "cancel", "batch_1"), "POST /v1/batches/batch_1/cancel"),
        (("finetune", "cancel", "ftjob-1"), "POST /v1/fine_tuning/jobs/ftjob-1/cancel"),
    ],
)
def test_what_cannot_be_undone_asks_first(words: tuple[str, ...], path: str, account: Account) -> None:
    account.replies[path] = reply(200, {"id": "x", "deleted": True, "status": "cancelling"})
    refused = account(*words, stdin="n\n")
    assert (refused.exit_code, account.asked) == (130, [])
    assert "nothing was changed" in refused.stderr
    nobody = account(*words)
    assert (nobody.exit_code, account.asked) == (2, [])
    assert "--yes goes on without asking" in nobody.stderr
    assert account(*words, stdin="y\n").exit_code == 0
    assert account(*words, "--yes").stdout.startswith("x ")
    assert account.json(*words, "--yes")["id"] == "x"
    assert account.asked == [path] * 3


def test_models_are_listed_found_and_shown(account: Account) -> None:
    models = [{"id": "b", "owned_by": "system", "created": 1_700_000_000}, {"id": "a-embed", "description": "new"}]
    account.replies["GET /v1/models"] = reply(200, {"data": models})
    account.replies["GET /v1/models/a-embed"] = reply(200, models[1])
    assert [line.split()[0] for line in account("models", "list").stdout.splitlines()] == ["model", "a-embed", "b"]
    assert [model["id"] for model in account.json("models", "list", "--find", "EMBED")] == ["a-embed"]
    assert "description  new" in account("models", "show", "a-embed").stdout
    assert account.json("models", "show", "a-embed") == models[1]


def test_batches_are_listed_and_shown_with_their_mistakes(account: Account) -> None:
    account.replies["GET /v1/batches"] = reply(200, {"data": [BATCH]})
    account.replies["GET /v1/batches/batch_1"] = reply(200, BATCH)
    line = account("batches", "list").stdout.splitlines()[1].split()
    assert line == ["batch_1", "failed", "2023-11-14", "22:13", "900/1,200", "300", "/v1/embeddings"]
    shown_batch = account("batches", "show", "batch_1").stdout
    assert "900 of 1,200 answered, 300 failed" in shown_batch
    assert "- not JSON (line 7)" in shown_batch
    assert "run=nightly" in shown_batch
    assert account.json("batches", "show", "batch_1") == BATCH
    assert account.json("batches", "list") == [BATCH]


def test_a_batch_starts_with_a_file_that_is_uploaded_first(account: Account) -> None:
    request = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {}}
    (account.folder / "requests.jsonl").write_text(json.dumps(request) + "\n")
    account.replies["POST /v1/files"] = reply(200, FILES[1])
    account.replies["POST /v1/batches"] = reply(200, BATCH | {"status": "validating"})
    assert account("batches", "create", "requests.jsonl", "--metadata", "run=7").stdout == "batch_1  validating\n"
    assert b'name="purpose"\r\n\r\nbatch' in account.server.seen[0].body
    sent = {"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "24h"}
    assert account.server.seen[1].json == sent | {"metadata": {"run": "7"}}
    account.server.seen.clear()
    assert account.json("batches", "create", "file-9", "--endpoint", "/v1/moderations")["id"] == "batch_1"
    assert account.server.seen[0].json["endpoint"] == "/v1/moderations"
    account.replies["POST /v1/batches"] = error(500)
    lost = account("batches", "create", "file-9", "--endpoint", "/v1/moderations")
    assert lost.exit_code == 3
    assert "look with `penstock batches list`" in lost.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("file-9",), "--endpoint is needed"),
        (("odd.jsonl",), "the first line of odd.jsonl is no request with a `url`"),
        (("file-9", "--endpoint", "/v1/embeddings", "--metadata", "run"), "--metadata takes NAME=VALUE"),
    ],
)
def test_a_batch_that_says_too_little_is_a_usage_error(words: tuple[str, ...], told: str, account: Account) -> None:
    (account.folder / "odd.jsonl").write_text("[1]\n")
    done = account("batches", "create", *words)
    assert done.exit_code == 2
    assert told in done.stderr
    assert not account.asked


def test_every_command_has_its_table_its_json_its_provider_and_examples(account: Account) -> None:
    commands = {
        "models": "list show delete",
        "files": "list upload show download delete",
        "finetune": "start list show events cancel watch",
        "batches": "create list show cancel",
        "assistants": "list create",
    }
    for group, names in commands.items():
        for name in names.split():
            told = account(group, name, "--help").stdout
            assert "--json" in told, (group, name)
            assert "--provider" in told, (group, name)
            assert "Example" in told, (group, name)


def test_a_job_starts_with_files_that_are_uploaded_first(account: Account) -> None:
    (account.folder / "train.jsonl").write_text("{}\n")
    account.replies["POST /v1/files"] = reply(200, FILES[1])
    account.replies["POST /v1/fine_tuning/jobs"] = reply(200, JOB)
    words = ("finetune", "start", "train.jsonl", "--model", "base", "--validation", "file-9", "--epochs", "3")
    assert account(*words).stdout == "ftjob-1  running\n"
    assert b'name="purpose"\r\n\r\nfine-tune' in account.server.seen[0].body
    sent = {"training_file": "file-1", "validation_file": "file-9", "model": "base", "hyperparameters": {"n_epochs": 3}}
    assert account.server.seen[1].json == sent


def test_a_job_is_listed_shown_and_cancelled(account: Account) -> None:
    failed = JOB | {"status": "failed", "error": {"code": "bad_file", "message": "line 3"}, "trained_tokens": 5000}
    account.replies["GET /v1/fine_tuning/jobs"] = reply(200, {"data": [JOB]})
    account.replies["GET /v1/fine_tuning/jobs/ftjob-1"] = reply(200, failed)
    account.replies["POST /v1/fine_tuning/jobs/ftjob-1/cancel"] = reply(200, JOB | {"status": "cancelled"})
    assert "ftjob-1" in account("finetune", "list").stdout
    assert account.json("finetune", "list") == [JOB]
    told = account("finetune", "show", "ftjob-1").stdout
    assert "bad_file line 3" in told
    assert "5,000" in told
    assert account.json("finetune", "show", "ftjob-1")["status"] == "failed"
    assert account("finetune", "cancel", "ftjob-1", "--yes").stdout == "ftjob-1  cancelled\n"


@pytest.mark.parametrize(("status", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 1)])
def test_watching_shows_each_event_once_and_ends_with_the_job(status: str, code: int, account: Account) -> None:
    events = [{"id": f"e{at}", "created_at": 1_700_000_000 + at, "message": f"step {at}"} for at in range(3)]

    def job(_: Seen) -> Reply:
        looks = account.asked.count("GET /v1/fine_tuning/jobs/ftjob-1")
        return reply(200, JOB | {"status": status if looks > 1 else "running"})

    def happened(_: Seen) -> Reply:
        looks = account.asked.count("GET /v1/fine_tuning/jobs/ftjob-1")
        return reply(200, {"data": events[: looks + 1][::-1]})

    account.replies["GET /v1/fine_tuning/jobs/ftjob-1"] = job
    account.replies["GET /v1/fine_tuning/jobs/ftjob-1/events"] = happened
    done = account("finetune", "watch", "ftjob-1", "--every", "0.1")
    assert done.exit_code == code
    steps = [line for line in done.stdout.splitlines() if "step" in line]
    assert steps == [f"2023-11-14 22:13:2{at}  info   step {at}" for at in range(3)]
    assert f"status    {status}" in done.stdout
    account.server.seen.clear()
    lines = account("finetune", "watch", "ftjob-1", "--every", "0.1", "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["e0", "e1", "e2", "ftjob-1"]
    assert "step 0" in account("finetune", "events", "ftjob-1").stdout
    assert [one["id"] for one in account.json("finetune", "events", "ftjob-1")] == ["e0", "e1", "e2"]


def test_assistants_are_made_and_listed_and_their_end_is_told(account: Account) -> None:
    ended = account("assistants", "list")
    assert ended.exit_code == 3
    assert "OpenAI ended it on 2026-08-26" in ended.stderr
    made = {"id": "asst_1", "model": "gpt-4o", "name": "Tutor", "created_at": 1_700_000_000}
    account.replies["POST /v1/assistants"] = reply(200, made)
    account.replies["GET /v1/assistants"] = reply(200, {"data": [made]})
    words = ("assistants", "create", "--model", "gpt-4o", "--name", "Tutor", "--tool", "code_interpreter")
    assert account(*words).stdout == "asst_1  Tutor  gpt-4o\n"
    seen = account.server.seen[-1]
    assert seen.json == {"model": "gpt-4o", "name": "Tutor", "tools": [{"type": "code_interpreter"}]}
    assert seen.headers["openai-beta"] == "assistants=v2"
    assert account.json("assistants", "list") == [made]
    assert "asst_1" in account("assistants", "list").stdout


# ---- where it goes, and what is told when it fails


def test_the_key_of_openai_goes_to_no_other_address_that_is_named(account: Account) -> None:
    account.replies["GET /v1/models"] = error(401, "invalid_api_key", "who are you")
    done = account("models", "list", "--base-url", account.server.url + "/v1")
    assert done.exit_code == 3
    assert "authorization" not in account.server.seen[-1].headers
    assert "no key was sent: name the environment variable that holds it with --key-variable" in done.stderr
    account.monkeypatch.setenv("LAB_KEY", "sk-lab-0123456789")
    done = account("models", "list", "--base-url", account.server.url + "/v1", "--key-variable", "LAB_KEY")
    assert account.server.seen[-1].headers["authorization"] == "Bearer sk-lab-0123456789"
    assert "sk-lab" not in done.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--provider", "azure"), "--provider is openai or sandbox, and got 'azure'"),
        (("--base-url", "localhost"), "--base-url: not a web address"),
        (("--key-variable", "sk-not a name"), "--key-variable: keys live in the environment"),
    ],
)
def test_wrong_options_are_usage_errors(words: tuple[str, ...], told: str, account: Account) -> None:
    done = account("models", "list", *words)
    assert done.exit_code == 2
    assert told in done.stderr
    assert not account.asked


def test_a_missing_key_is_a_usage_error(account: Account) -> None:
    account.monkeypatch.delenv("OPENAI_API_KEY")
    done = account("models", "list", "--json")
    assert done.exit_code == 2
    assert "OPENAI_API_KEY is not set" in json.loads(done.stdout)["message"]


def test_something_that_may_have_been_created_is_not_sent_twice_and_said(account: Account) -> None:
    account.replies["POST /v1/fine_tuning/jobs"] = error(500)
    done = account("finetune", "start", "file-1", "--model", "base")
    assert done.exit_code == 3
    assert "look with `penstock finetune list`" in done.stderr
    assert len(account.asked) == 1


def test_nobody_there_is_told_in_seconds_with_the_way_out(account: Account) -> None:
    done = account("models", "list", "--provider", "sandbox", "--base-url", "http://127.0.0.1:1/v1")
    assert done.exit_code == 3
    assert done.stderr.count("trying again in") == 3
    assert "start the sandbox in another terminal with `penstock sandbox`" in done.stderr


def test_a_wait_is_told(account: Account) -> None:
    waits = iter([error(429, "rate_limit_exceeded", headers={"retry-after-ms": "20"})])
    account.replies["GET /v1/models"] = lambda _: next(waits, reply(200, {"data": []}))
    done = account("models", "list")
    assert done.exit_code == 0
    assert "429 rate_limit_exceeded: no; trying again in 0.0s" in done.stderr


def test_text_from_a_server_commands_no_terminal() -> None:
    assert shown("a\x1b[2Jb\nc") == "a [2Jb c"
    assert shown(None) == "-"
    assert shown({"a": 1}) == "a=1"
    assert shown(["a", "b"]) == "a, b"


@pytest.mark.parametrize(("seconds", "text"), [(None, ""), (0, ""), (1_700_000_000, "2023-11-14 22:13"), (10**30, "")])
def test_moments_are_in_utc(seconds: int | None, text: str) -> None:
    assert moment(seconds) == text


def test_a_short_transfer_is_silent_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    transfer = Transfer("uploading a")
    transfer(50, 100)
    transfer(100, 100)
    transfer.end()
    assert capsys.readouterr().err == ""


def test_an_upload_on_a_terminal_shows_how_far_it_is(account: Account) -> None:
    (account.folder / "f1.jsonl").write_bytes(bytes(300_000))
    account.replies["POST /v1/files"] = reply(200, FILES[1])
    terminal, end = pty.openpty()
    done = subprocess.run(
        [PENSTOCK, "files", "upload", "f1.jsonl", "--purpose", "batch"],
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=end,
        timeout=60,
        check=False,
    )
    os.close(end)
    told = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert done.returncode == 0, told
    assert "uploading f1.jsonl: 100% of 300.0 kB" in told
    assert done.stdout == b"file-1  f1.jsonl  1.5 kB  batch\n"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with start() as running:
        yield running


def test_the_sandbox_is_reached_without_a_key_of_ones_own(sandbox: SandboxProcess, account: Account) -> None:
    done = account("models", "list", "--provider", "sandbox", "--base-url", sandbox.url)
    assert done.exit_code == 0, done.output
    assert "text-embedding-3-small" in done.stdout
    nobody = account("models", "show", "m", "--provider", "sandbox", "--base-url", "http://127.0.0.1:1/v1", "--help")
    assert nobody.exit_code == 0
