"""The client of every resource against the sandbox: both sides of the API, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from penstock.api import Api, errors
from penstock.api.chat_objects import ChatCompletion
from penstock.api.embeddings import Embeddings
from penstock.api.fine_tuning import FineTuningJob
from penstock.api.provider import Provider, RetryPolicy, Timeouts
from penstock.faults import FAULTS
from penstock.sandbox.launch import SandboxProcess, start
from penstock.secrets import Secret

T = TypeVar("T")
Use = Callable[..., Any]
MESSAGES = [{"role": "user", "content": "Say hello"}]
RECORDING = Path(__file__).parents[1] / "sandbox" / "tomorrow_afternoon.wav"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with start(pace=0.02) as running:
        yield running


@pytest.fixture
def ask(sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Use]:
    monkeypatch.setenv("SANDBOX_TEST_KEY", sandbox.key)

    def asked(use: Callable[[Api], Awaitable[T]], **settings: Any) -> T:
        async def main() -> T:
            key = Secret("SANDBOX_TEST_KEY")
            provider = Provider("sandbox", sandbox.url, key, retry=RetryPolicy(1), **settings)
            async with Api(provider) as api:
                return await use(api)

        return asyncio.run(main())

    yield asked
    sandbox.change(faults=[])


async def listed(pages: Any) -> list[Any]:
    return [one async for one in pages]


def test_a_streamed_answer_is_the_whole_one(ask: Use) -> None:
    whole = ask(lambda api: api.chat.create(model="gpt-4o-mini", messages=MESSAGES, n=2))
    streamed = ask(lambda api: api.chat.stream(model="gpt-4o-mini", messages=MESSAGES, n=2).read())
    assert [choice.message.content for choice in whole.choices] == ["hello", "hello"]
    assert streamed.choices == whole.choices
    assert streamed.usage == whole.usage


@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_gives_anything_but_an_answer_or_an_error_of_the_tree(
    fault: str, ask: Use, sandbox: SandboxProcess
) -> None:
    """Each fault that the sandbox knows, for a whole answer, a streamed one, vectors and a list."""
    sandbox.change(faults=[f"{fault}:100%"])

    async def main(api: Api) -> list[Any]:
        return await asyncio.gather(
            api.chat.create(model="gpt-4o-mini", messages=MESSAGES),
            api.chat.stream(model="gpt-4o-mini", messages=MESSAGES).read(),
            api.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=8),
            listed(api.models.list()),
            return_exceptions=True,
        )

    answers = ask(main, timeouts=Timeouts(1, 0.4, 0.8))
    assert [one for one in answers if isinstance(one, BaseException) and not isinstance(one, errors.ApiError)] == []
    _, streamed, vectors, _ = answers
    if isinstance(streamed, ChatCompletion):
        (choice,) = streamed.choices
        assert choice.finish_reason
        # Never a part of an answer that says it is whole.
        assert choice.finish_reason != "stop" or choice.message.refusal or choice.message.content == "hello"
    if isinstance(vectors, Embeddings):
        assert [len(one.embedding) for one in vectors.data] == [8, 8]


def test_verdicts_images_and_vectors(ask: Use) -> None:
    verdicts = ask(lambda api: api.moderations.create(input=["I want to kill them.", "hello"]))
    assert [one.flagged for one in verdicts.results] == [True, False]
    images = ask(lambda api: api.images.generate(prompt="a cat", response_format="b64_json"))
    assert (images.data[0].content() or b"").startswith(b"\x89PNG")
    vectors = ask(lambda api: api.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=8))
    assert [len(one.embedding) for one in vectors.data] == [8, 8]
    with pytest.raises(errors.NotFound) as got:
        ask(lambda api: api.embeddings.create(model="nobody", input="a"))
    assert got.value.code == "model_not_found"


def test_speech_becomes_a_sound_file(ask: Use, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    ask(lambda api: api.speech.create(model="tts-1", input="Hello", voice="alloy", path=path, response_format="wav"))
    assert path.read_bytes().startswith(b"RIFF")


@pytest.mark.parametrize(
    ("kind", "begins"), [("json", ""), ("text", ""), ("srt", ""), ("verbose_json", ""), ("vtt", "WEBVTT\n")]
)
def test_a_recording_is_answered_in_each_format(kind: str, begins: str, ask: Use) -> None:
    got = ask(lambda api: api.transcriptions.create(RECORDING, model="whisper-1", response_format=kind))
    assert got.text.startswith(begins)
    assert (got.duration is not None) == (kind == "verbose_json")


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    lines = [
        {"messages": [{"role": "user", "content": f"q{at}"}, {"role": "assistant", "content": f"a{at}"}]}
        for at in range(12)
    ]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_files_go_there_are_listed_come_back_and_are_deleted(ask: Use, examples: Path, tmp_path: Path) -> None:
    async def main(api: Api) -> None:
        sent = [await api.files.upload(examples, "fine-tune", filename=f"{at}.jsonl") for at in range(3)]
        found = await listed(api.files.list(purpose="fine-tune", limit=2))
        assert {file.id for file in sent} <= {file.id for file in found}
        assert (await api.files.retrieve(sent[0].id)).filename == "0.jsonl"
        await api.files.content(sent[0].id, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == examples.read_bytes()
        assert (await api.files.delete(sent[0].id)).deleted
        with pytest.raises(errors.NotFound):
            await api.files.retrieve(sent[0].id)

    ask(main)


def test_a_job_is_watched_to_its_model_which_can_be_called_and_deleted(ask: Use, examples: Path) -> None:
    async def main(api: Api) -> None:
        file = await api.files.upload(examples, "fine-tune")
        job = await api.fine_tuning.create(training_file=file.id, model="gpt-4o-mini-2024-07-18", suffix="mine")
        seen = await listed(api.fine_tuning.watch(job.id, every=0.05))
        ended = seen[-1]
        assert isinstance(ended, FineTuningJob)
        assert (ended.status, len({one.id for one in seen})) == ("succeeded", len(seen))
        assert ended.fine_tuned_model
        assert (await api.chat.create(model=ended.fine_tuned_model, messages=MESSAGES)).text
        assert (await api.models.delete(ended.fine_tuned_model)).deleted
        with pytest.raises(errors.NotFound):
            await api.models.retrieve(ended.fine_tuned_model)
        assert job.id in [one.id for one in await listed(api.fine_tuning.list(limit=1))]
        with pytest.raises(errors.BadRequest):
            await api.fine_tuning.cancel(job.id)

    ask(main)


def test_a_batch_runs_to_its_output(ask: Use, tmp_path: Path) -> None:
    body = {"model": "text-embedding-3-small", "input": "a"}
    lines = [{"custom_id": f"r{at}", "method": "POST", "url": "/v1/embeddings", "body": body} for at in range(3)]
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    async def main(api: Api) -> None:
        file = await api.files.upload(path, "batch")
        batch = await api.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", metadata={"run": "7"})
        for _ in range(100):
            batch = await api.batches.retrieve(batch.id)
            if batch.ended:
                break
            await asyncio.sleep(0.05)
        assert (batch.status, batch.request_counts.completed) == ("completed", 3)
        assert batch.metadata == {"run": "7"}
        assert batch.output_file_id
        await api.files.content(batch.output_file_id, tmp_path / "out")
        answers = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
        assert sorted(answer["custom_id"] for answer in answers) == ["r0", "r1", "r2"]
        assert batch.id in [one.id for one in await listed(api.batches.list())]

    ask(main)


def test_assistants_are_made_and_listed_over_their_pages(ask: Use) -> None:
    async def main(api: Api) -> list[str]:
        made = [await api.assistants.create(model="gpt-4o", name=str(at)) for at in range(3)]
        found = await listed(api.assistants.list(limit=1, order="asc"))
        assert [one.id for one in found] == [one.id for one in made]
        return [one.name for one in found]

    assert ask(main) == ["0", "1", "2"]
