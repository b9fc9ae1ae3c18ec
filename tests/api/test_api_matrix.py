"""Every call of the client against the sandbox: its answer's type, its pages, and its error for each status."""

# ruff: noqa: ARG005  # all calls have one shape, whether they need an object that exists or not

from __future__ import annotations

import asyncio
import inspect
import json
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from penstock.api import Api, errors
from penstock.api.provider import Provider, RetryPolicy
from penstock.sandbox.launch import SandboxProcess, start
from penstock.sandbox.models.sound import to_wav
from penstock.secrets import Secret

HELLO = [{"role": "user", "content": "Say hello"}]
EXAMPLE = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
REQUEST = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "tiny", "input": "a"}}
BASE = "gpt-4o-mini-2024-07-18"


@dataclass
class Account:
    """A server, and objects of each kind on it: three of those that are listed in pages, all under way."""

    server: SandboxProcess
    folder: Path
    tuned: str
    files: list[str] = field(default_factory=list)
    requests: str = ""
    jobs: list[str] = field(default_factory=list)
    batches: list[str] = field(default_factory=list)
    assistants: list[str] = field(default_factory=list)

    def ask(self, call: Callable[[Api, Account], Any]) -> Any:
        """What the call gives; a list for lists and streams."""

        async def main() -> Any:
            async with self._api() as api:
                return await read(call(api, self))

        return asyncio.run(main())

    def errors_of(self, call: Callable[[Api, Account], Any]) -> dict[str, errors.ApiError]:
        """The error for each of `STATUSES`."""

        async def main() -> dict[str, errors.ApiError]:
            caught = {}
            async with self._api() as api:
                for fault in STATUSES:
                    self.server.change(faults=[f"{fault}:100%"])
                    with pytest.raises(errors.ApiError) as got:
                        await read(call(api, self))
                    caught[fault] = got.value
            return caught

        try:
            return asyncio.run(main())
        finally:
            self.server.change(faults=[])

    def _api(self) -> Api:
        return Api(Provider("sandbox", self.server.url, Secret("MATRIX_KEY"), retry=RetryPolicy(1)))


async def read(found: Any) -> Any:
    return await found if inspect.isawaitable(found) else [one async for one in found]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    folder = tmp_path_factory.mktemp("account")
    state = str(folder / "state")
    (folder / "train.jsonl").write_text((json.dumps(EXAMPLE) + "\n") * 12)
    (folder / "requests.jsonl").write_text(json.dumps(REQUEST))
    (folder / "silence.wav").write_bytes(to_wav(bytes(8_000), 16_000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MATRIX_KEY", "sk-sandbox")
        # A quick server makes a model; with a slow one after it, jobs and batches are under way for all tests.
        with start(pace=0.02, state=state, models=["tiny:2"]) as server:
            tuned = Account(server, folder, "").ask(tune)
        with start(pace=600, state=state, models=["tiny:2"]) as server:
            made = Account(server, folder, tuned)
            made.ask(fill)
            yield made


async def _tune(api: Api, account: Account) -> str:
    file = await api.files.upload(account.folder / "train.jsonl", "fine-tune")
    job = await api.fine_tuning.create(training_file=file.id, model=BASE)
    deadline = time.monotonic() + 30
    while not job.fine_tuned_model and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
        job = await api.fine_tuning.retrieve(job.id)
    return str(job.fine_tuned_model)


def tune(api: Api, account: Account) -> Any:
    return _tune(api, account)


async def _fill(api: Api, account: Account) -> None:
    account.requests = (await api.files.upload(account.folder / "requests.jsonl", "batch")).id
    for _ in range(3):
        file = (await api.files.upload(account.folder / "train.jsonl", "fine-tune")).id
        account.files.append(file)
        account.jobs.append((await api.fine_tuning.create(training_file=file, model=BASE)).id)
        batch = await api.batches.create(input_file_id=account.requests, endpoint="/v1/embeddings")
        account.batches.append(batch.id)
        account.assistants.append((await api.assistants.create(model="gpt-4o")).id)


def fill(api: Api, account: Account) -> Any:
    return _fill(api, account)


CALLS: dict[str, tuple[Callable[[Api, Account], Any], str]] = {
    "chat": (lambda api, a: api.chat.create(model="gpt-4o", messages=HELLO, frequency_penalty=0.5), "ChatCompletion"),
    "chat, streamed": (lambda api, a: api.chat.stream(model="gpt-4o", messages=HELLO), "ChatChunk"),
    "chat, assembled": (lambda api, a: api.chat.stream(model="gpt-4o", messages=HELLO).read(), "ChatCompletion"),
    "embeddings": (lambda api, a: api.embeddings.create(model="tiny", input="a"), "Embeddings"),
    "moderations": (lambda api, a: api.moderations.create(input="a"), "Moderation"),
    "images": (lambda api, a: api.images.generate(prompt="a", model="dall-e-2", size="256x256"), "Images"),
    "speech": (
        lambda api, a: api.speech.create(
            model="tts-1", voice="alloy", input="Hi", response_format="wav", path=a.folder / "hi.wav"
        ),
        "PosixPath",
    ),
    "transcriptions": (
        lambda api, a: api.transcriptions.create(a.folder / "silence.wav", model="whisper-1"),
        "Transcription",
    ),
    "files.upload": (lambda api, a: api.files.upload(a.folder / "train.jsonl", "fine-tune"), "FileObject"),
    "files.list": (lambda api, a: api.files.list(), "FileObject"),
    "files.retrieve": (lambda api, a: api.files.retrieve(a.files[0]), "FileObject"),
    "files.content": (lambda api, a: api.files.content(a.files[0], a.folder / "back"), "PosixPath"),
    "fine_tuning.create": (
        lambda api, a: api.fine_tuning.create(training_file=a.files[0], model=BASE),
        "FineTuningJob",
    ),
    "fine_tuning.list": (lambda api, a: api.fine_tuning.list(), "FineTuningJob"),
    "fine_tuning.retrieve": (lambda api, a: api.fine_tuning.retrieve(a.jobs[0]), "FineTuningJob"),
    "fine_tuning.events": (lambda api, a: api.fine_tuning.events(a.jobs[0]), "FineTuningEvent"),
    "fine_tuning.cancel": (lambda api, a: api.fine_tuning.cancel(a.jobs[2]), "FineTuningJob"),
    "batches.create": (
        lambda api, a: api.batches.create(input_file_id=a.requests, endpoint="/v1/embeddings"),
        "Batch",
    ),
    "batches.list": (lambda api, a: api.batches.list(), "Batch"),
    "batches.retrieve": (lambda api, a: api.batches.retrieve(a.batches[0]), "Batch"),
    "batches.cancel": (lambda api, a: api.batches.cancel(a.batches[2]), "Batch"),
    "models.list": (lambda api, a: api.models.list(), "Model"),
    "models.retrieve": (lambda api, a: api.models.retrieve("gpt-4o"), "Model"),
    "assistants.create": (lambda api, a: api.assistants.create(model="gpt-4o", temperature=0.5), "Assistant"),
    "assistants.list": (lambda api, a: api.assistants.list(), "Assistant"),
    "models.delete": (lambda api, a: api.models.delete(a.tuned), "Deleted"),
    "files.delete": (lambda api, a: api.files.delete(a.files[2]), "Deleted"),
}
"""Each call, and the type of what comes (of one item, for lists and streams); what deletes comes last."""

STATUSES: dict[str, type[errors.ApiError]] = {
    "400": errors.BadRequest,
    "401": errors.Unauthorized,
    "403": errors.Forbidden,
    "404": errors.NotFound,
    "408": errors.RequestTimedOut,
    "409": errors.Conflict,
    "413": errors.PayloadTooLarge,
    "422": errors.Unprocessable,
    "429": errors.RateLimited,
    "quota": errors.QuotaExceeded,
    "500": errors.ServerFailed,
    "502": errors.ServerFailed,
    "503": errors.ServerFailed,
    "529": errors.ServerFailed,
}


@pytest.mark.parametrize("name", CALLS)
def test_every_call_raises_the_class_of_each_status_with_its_facts(name: str, account: Account) -> None:
    caught = account.errors_of(CALLS[name][0])
    for fault, kind in STATUSES.items():
        error = caught[fault]
        assert type(error) is kind
        assert (error.status, error.attempts) == (429 if fault == "quota" else int(fault), 1)
        assert error.request_id or fault == "502"
        again = pickle.loads(pickle.dumps(error))  # noqa: S301
        assert (str(again), again.code, again.status) == (str(error), error.code, error.status)
        assert "sk-sandbox" not in repr(error) + str(error)


LISTS: dict[str, Callable[[Api, Account], Any]] = {
    "files": lambda api, a: api.files.list(purpose="fine-tune", limit=1, order="asc"),
    "jobs": lambda api, a: api.fine_tuning.list(limit=1),
    "batches": lambda api, a: api.batches.list(limit=1),
    "assistants": lambda api, a: api.assistants.list(limit=1, order="asc"),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_are_gone_through_page_by_page(name: str, account: Account) -> None:
    wanted = getattr(account, name)
    found = [one.id for one in account.ask(LISTS[name])]
    assert [one for one in found if one in wanted] in (wanted, wanted[::-1])
    assert len(found) == len(set(found))


def test_every_call_gives_its_type(account: Account) -> None:
    for name, (call, kind) in CALLS.items():
        found = account.ask(call)
        items = found if isinstance(found, list) else [found]
        assert items, name
        assert type(items[0]).__name__ == kind, name


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
def test_the_base_url_may_have_the_version_or_not(end: str, account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATRIX_KEY", account.server.key)

    async def main() -> str:
        base = account.server.url.removesuffix("/v1") + end
        async with Api(Provider("mine", base, Secret("MATRIX_KEY"))) as api:
            return (await api.models.retrieve("gpt-4o")).id

    assert asyncio.run(main()) == "gpt-4o"


def test_a_misspelt_argument_of_chat_is_an_error_before_anything_is_sent(account: Account) -> None:
    with pytest.raises(TypeError, match="no argument 'temprature'"):
        account.ask(lambda api, a: api.chat.create(model="gpt-4o", messages=HELLO, temprature=1))  # type: ignore[call-arg]
