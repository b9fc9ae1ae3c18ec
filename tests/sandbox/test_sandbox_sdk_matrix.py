"""Every call of the official client, synchronous and asynchronous: its typed answer, its pages, its errors by class."""

# ruff: noqa: ARG005  # all calls have one shape, whether they need an object that exists or not

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest
from openai._legacy_response import HttpxBinaryResponseContent
from openai.pagination import AsyncCursorPage, AsyncPage, SyncCursorPage, SyncPage
from openai.types.chat import ParsedChatCompletion

from penstock.sandbox.launch import start
from penstock.sandbox.models.sound import to_wav

# The client says so of all calls of assistants.
pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")

HELLO: list[Any] = [{"role": "user", "content": "Say hello"}]
SILENCE = to_wav(bytes(8_000), 16_000)
EXAMPLE = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
TRAINING = (json.dumps(EXAMPLE) + "\n").encode() * 12
REQUEST = {
    "custom_id": "a",
    "method": "POST",
    "url": "/v1/embeddings",
    "body": {"model": "text-embedding-3-small", "input": "a"},
}
BASE = "gpt-4o-mini-2024-07-18"
BINARY = HttpxBinaryResponseContent
PAGES = (SyncPage, SyncCursorPage, AsyncPage, AsyncCursorPage)


class Person(pydantic.BaseModel):
    name: str


@dataclass
class Account:
    """A server, and objects of each kind on it: three of those that are listed in pages, all under way."""

    url: str
    key: str
    tuned: str = ""
    files: tuple[str, ...] = ()
    requests: str = ""
    jobs: tuple[str, ...] = ()
    batches: tuple[str, ...] = ()
    assistants: tuple[str, ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        return {"base_url": self.url, "api_key": self.key, "max_retries": 0}


@pytest.fixture
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    yield from _account(str(tmp_path_factory.mktemp("state")))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """One account for tests that change nothing in it."""
    yield from _account(str(tmp_path_factory.mktemp("state")))


def _account(state: str) -> Iterator[Account]:
    # A quick server makes a model; with a slow one after it, jobs and batches are under way for the whole test.
    with start(pace=0.02, state=state) as server, openai.OpenAI(base_url=server.url, api_key=server.key) as client:
        file = client.files.create(file=("t.jsonl", TRAINING), purpose="fine-tune")
        job = client.fine_tuning.jobs.create(training_file=file.id, model=BASE)
        while not job.fine_tuned_model:
            time.sleep(0.02)
            job = client.fine_tuning.jobs.retrieve(job.id)
        tuned = job.fine_tuned_model
    with start(pace=600, state=state) as server, openai.OpenAI(base_url=server.url, api_key=server.key) as client:
        put = client.files.create
        requests = put(file=("r.jsonl", json.dumps(REQUEST).encode()), purpose="batch").id
        begin = client.batches.create
        yield Account(
            server.url,
            server.key,
            tuned,
            tuple(put(file=(f"{at}.jsonl", TRAINING), purpose="fine-tune").id for at in range(3)),
            requests,
            tuple(client.fine_tuning.jobs.create(training_file=file.id, model=BASE).id for _ in range(3)),
            tuple(
                begin(input_file_id=requests, endpoint="/v1/embeddings", completion_window="24h").id for _ in range(3)
            ),
            tuple(client.beta.assistants.create(model="gpt-4o", name=str(at)).id for at in range(3)),
        )


CALLS: dict[str, tuple[Callable[[Any, Account], Any], str]] = {
    "chat": (lambda c, a: c.chat.completions.create(model="gpt-4o", messages=HELLO), "ChatCompletion"),
    "chat, streamed": (
        lambda c, a: c.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True),
        "ChatCompletionChunk",
    ),
    "chat, parsed": (
        lambda c, a: c.chat.completions.parse(
            model="gpt-4o", messages=[{"role": "user", "content": "name: Ann"}], response_format=Person
        ),
        "ParsedChatCompletion",
    ),
    "embeddings": (
        lambda c, a: c.embeddings.create(model="text-embedding-3-small", input=["a"]),
        "CreateEmbeddingResponse",
    ),
    "moderations": (lambda c, a: c.moderations.create(input="hello"), "ModerationCreateResponse"),
    "images": (lambda c, a: c.images.generate(prompt="a cat", size="1024x1024"), "ImagesResponse"),
    "speech": (
        lambda c, a: c.audio.speech.create(model="tts-1", voice="alloy", input="Hi", response_format="wav"),
        BINARY.__name__,
    ),
    "transcriptions": (
        lambda c, a: c.audio.transcriptions.create(model="whisper-1", file=("a.wav", SILENCE)),
        "Transcription",
    ),
    "transcriptions, verbose": (
        lambda c, a: c.audio.transcriptions.create(
            model="whisper-1", file=("a.wav", SILENCE), response_format="verbose_json"
        ),
        "TranscriptionVerbose",
    ),
    "transcriptions, streamed": (
        lambda c, a: c.audio.transcriptions.create(
            model="gpt-4o-mini-transcribe", file=("a.wav", SILENCE), stream=True
        ),
        "TranscriptionTextDoneEvent",
    ),
    "files.create": (lambda c, a: c.files.create(file=("a.jsonl", TRAINING), purpose="fine-tune"), "FileObject"),
    "files.list": (lambda c, a: c.files.list(), "FileObject"),
    "files.retrieve": (lambda c, a: c.files.retrieve(a.files[0]), "FileObject"),
    "files.content": (lambda c, a: c.files.content(a.files[0]), BINARY.__name__),
    "jobs.create": (
        lambda c, a: c.fine_tuning.jobs.create(training_file=a.files[0], model=BASE),
        "FineTuningJob",
    ),
    "jobs.list": (lambda c, a: c.fine_tuning.jobs.list(), "FineTuningJob"),
    "jobs.retrieve": (lambda c, a: c.fine_tuning.jobs.retrieve(a.jobs[0]), "FineTuningJob"),
    "jobs.list_events": (lambda c, a: c.fine_tuning.jobs.list_events(a.jobs[0]), "FineTuningJobEvent"),
    "jobs.checkpoints.list": (lambda c, a: c.fine_tuning.jobs.checkpoints.list(a.jobs[0]), ""),
    "jobs.cancel": (lambda c, a: c.fine_tuning.jobs.cancel(a.jobs[2]), "FineTuningJob"),
    "batches.create": (
        lambda c, a: c.batches.create(
            input_file_id=a.requests, endpoint="/v1/embeddings", completion_window="24h", metadata={"run": "7"}
        ),
        "Batch",
    ),
    "batches.list": (lambda c, a: c.batches.list(), "Batch"),
    "batches.retrieve": (lambda c, a: c.batches.retrieve(a.batches[0]), "Batch"),
    "batches.cancel": (lambda c, a: c.batches.cancel(a.batches[2]), "Batch"),
    "models.list": (lambda c, a: c.models.list(), "Model"),
    "models.retrieve": (lambda c, a: c.models.retrieve("gpt-4o"), "Model"),
    "assistants.create": (lambda c, a: c.beta.assistants.create(model="gpt-4o", name="x"), "Assistant"),
    "assistants.list": (lambda c, a: c.beta.assistants.list(), "Assistant"),
    "assistants.retrieve": (lambda c, a: c.beta.assistants.retrieve(a.assistants[0]), "Assistant"),
    "assistants.update": (lambda c, a: c.beta.assistants.update(a.assistants[0], name="y"), "Assistant"),
    "assistants.delete": (lambda c, a: c.beta.assistants.delete(a.assistants[2]), "AssistantDeleted"),
    "files.delete": (lambda c, a: c.files.delete(a.files[2]), "FileDeleted"),
    "models.delete": (lambda c, a: c.models.delete(a.tuned), "ModelDeleted"),
}
"""Each call, and the type of what comes (of one item, for lists and streams); what deletes comes last."""

STATUSES: dict[str, tuple[int, type[openai.APIStatusError]]] = {
    "400": (400, openai.BadRequestError),
    "401": (401, openai.AuthenticationError),
    "403": (403, openai.PermissionDeniedError),
    "404": (404, openai.NotFoundError),
    "409": (409, openai.ConflictError),
    "413": (413, openai.APIStatusError),
    "422": (422, openai.UnprocessableEntityError),
    "429": (429, openai.RateLimitError),
    "quota": (429, openai.RateLimitError),
    "500": (500, openai.InternalServerError),
    "502": (502, openai.InternalServerError),
    "503": (503, openai.InternalServerError),
}

Call = Callable[[Any, Account], Any]
Done = Callable[[Call, Account], Any]
Raised = Callable[[Call, Account], dict[str, openai.APIStatusError]]


def read(found: Any) -> Any:
    """What is left to read of a synchronous answer, as a list for lists and streams."""
    if isinstance(found, BINARY):
        return found.read()
    return list(found) if isinstance(found, (*PAGES, openai.Stream)) else found


async def aread(found: Any) -> Any:
    """`read` of an asynchronous answer."""
    if inspect.isawaitable(found):
        found = await found
    if isinstance(found, BINARY):
        return found.read()
    return [one async for one in found] if isinstance(found, (*PAGES, openai.AsyncStream)) else found


def synchronously(call: Call, account: Account) -> Any:
    with openai.OpenAI(**account.settings) as client:
        return read(call(client, account))


def asynchronously(call: Call, account: Account) -> Any:
    async def main() -> Any:
        async with openai.AsyncOpenAI(**account.settings) as client:
            return await aread(call(client, account))

    return asyncio.run(main())


def raised_synchronously(call: Call, account: Account) -> dict[str, openai.APIStatusError]:
    """The error for each of `STATUSES`."""
    caught = {}
    with openai.OpenAI(**account.settings) as client:
        for fault in STATUSES:
            with pytest.raises(openai.APIStatusError) as got:
                read(call(client.with_options(default_headers={"x-sandbox-fault": fault}), account))
            caught[fault] = got.value
    return caught


def raised_asynchronously(call: Call, account: Account) -> dict[str, openai.APIStatusError]:
    async def main() -> dict[str, openai.APIStatusError]:
        caught = {}
        async with openai.AsyncOpenAI(**account.settings) as client:
            for fault in STATUSES:
                with pytest.raises(openai.APIStatusError) as got:
                    await aread(call(client.with_options(default_headers={"x-sandbox-fault": fault}), account))
                caught[fault] = got.value
        return caught

    return asyncio.run(main())


def asynchronous_pages(call: Callable[[Any], Any], account: Account) -> list[Any]:
    async def main() -> list[Any]:
        async with openai.AsyncOpenAI(**account.settings) as client:
            return [one async for one in call(client)]

    return asyncio.run(main())


@pytest.mark.parametrize("do", [synchronously, asynchronously])
def test_every_call_gives_its_type_with_every_required_field(do: Done, account: Account) -> None:
    for name, (call, kind) in CALLS.items():
        found = do(call, account)
        if isinstance(found, bytes):
            assert kind == BINARY.__name__, name
            assert len(found) > 100, name
            continue
        items = found if isinstance(found, list) else [found]
        assert items or not kind, name
        for item in items[:1]:
            assert type(item).__name__.partition("[")[0] == kind, (name, type(item))
            # The client builds its objects unchecked; validating shows fields that are missing or of another type.
            checked = ParsedChatCompletion[Person] if kind == "ParsedChatCompletion" else type(item)
            checked.model_validate(item.model_dump(warnings=False))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("do", [raised_synchronously, raised_asynchronously])
def test_every_call_raises_the_class_of_each_status(do: Raised, name: str, shared: Account) -> None:
    caught = do(CALLS[name][0], shared)
    for fault, (status, kind) in STATUSES.items():
        error = caught[fault]
        assert (type(error), error.status_code) == (kind, status)
        if fault != "502":
            assert error.request_id, fault
            assert isinstance(error.body, dict)
            assert {"message", "type", "param", "code"} <= error.body.keys(), fault


LISTS: dict[str, Callable[[Any, Account], Any]] = {
    "files": lambda c, a: c.files.list(purpose="fine-tune", limit=1, order="asc"),
    "jobs": lambda c, a: c.fine_tuning.jobs.list(limit=1),
    "batches": lambda c, a: c.batches.list(limit=1),
    "assistants": lambda c, a: c.beta.assistants.list(limit=1, order="asc"),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_are_gone_through_page_by_page(name: str, shared: Account) -> None:
    wanted: tuple[str, ...] = getattr(shared, name)
    one_by_one = [one.id for one in synchronously(LISTS[name], shared)]
    assert [found for found in one_by_one if found in wanted] in (list(wanted), list(wanted[::-1]))
    assert len(one_by_one) == len(set(one_by_one))
    assert [one.id for one in asynchronous_pages(lambda c: LISTS[name](c, shared), shared)] == one_by_one


def test_without_a_key_and_with_another_one_every_call_is_refused(shared: Account) -> None:
    other = Account(**{**vars(shared), "key": "sk-other-0123456789"})
    for name, (call, _) in CALLS.items():
        with pytest.raises(openai.AuthenticationError) as caught:
            synchronously(call, other)
        assert caught.value.code == "invalid_api_key", name


def test_streamed_speech_and_stream_helpers_work_in_both_clients(shared: Account, tmp_path: Path) -> None:
    said: dict[str, Any] = {"model": "tts-1", "voice": "alloy", "input": "Hello", "response_format": "wav"}
    with openai.OpenAI(**shared.settings) as client:
        with client.audio.speech.with_streaming_response.create(**said) as answer:
            answer.stream_to_file(tmp_path / "a.wav")
        with client.chat.completions.stream(model="gpt-4o", messages=HELLO) as stream:
            assert [event.type for event in stream][-1] == "content.done"
            whole = stream.get_final_completion().choices[0].message.content
        raw = client.embeddings.with_raw_response.create(model="text-embedding-3-small", input="a")
        assert raw.headers["x-request-id"]
        assert len(raw.parse().data[0].embedding) == 1536

    async def main() -> str | None:
        async with openai.AsyncOpenAI(**shared.settings) as client:
            async with client.audio.speech.with_streaming_response.create(**said) as answer:
                await answer.stream_to_file(tmp_path / "b.wav")
            async with client.chat.completions.stream(model="gpt-4o", messages=HELLO) as stream:
                return (await stream.get_final_completion()).choices[0].message.content

    assert asyncio.run(main()) == whole == "hello"
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
