"""``/v1/fine_tuning/jobs`` through the official client: the lives of jobs by a clock of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from penstock.sandbox.app import make_app
from penstock.sandbox.launch import SandboxProcess, start
from penstock.sandbox.settings import Settings
from penstock.sandbox.state import Sandbox
from penstock.sandbox.training_data import BadTrainingFile, check_training_file

MINI = "gpt-4o-mini-2024-07-18"
GOOD = {"messages": [{"role": "user", "content": "Say hi"}, {"role": "assistant", "content": "hi"}]}


def lines(*examples: object, times: int = 1) -> bytes:
    return b"".join(json.dumps(example).encode() + b"\n" for example in examples * times)


class World:
    """One server without a network, and its clock."""

    def __init__(self, state: str | None = None, pace: float = 1.0) -> None:
        self.now = 1_700_000_000.0
        app = make_app(Settings(state=state, pace=pace), wall=lambda: self.now)
        self.sandbox: Sandbox = app.state.sandbox
        http: Any = httpx.AsyncClient(transport=httpx.ASGITransport(app=app))
        self.client = openai.AsyncOpenAI(
            base_url="http://localhost/v1", api_key="sk-sandbox", max_retries=0, http_client=http
        )

    async def wait(self, seconds: float) -> None:
        await self.sandbox.agenda.settle()
        self.now += seconds

    async def upload(self, content: bytes, purpose: Any = "fine-tune") -> str:
        return (await self.client.files.create(file=("train.jsonl", content), purpose=purpose)).id

    async def tune(self, content: bytes = b"", model: str = MINI, **fields: Any) -> FineTuningJob:
        file = await self.upload(content or lines(GOOD, times=12))
        return await self.client.fine_tuning.jobs.create(training_file=file, model=model, **fields)


@contextmanager
def world(**fields: Any) -> Iterator[World]:
    one = World(**fields)
    yield one
    one.sandbox.archive.close()


def play(scenario: Callable[[World], Awaitable[None]], **fields: Any) -> None:
    with world(**fields) as one:

        async def run() -> None:
            async with one.client:
                await scenario(one)
            await one.sandbox.agenda.settle()

        asyncio.run(run())


def test_a_job_goes_through_its_states_and_yields_a_model() -> None:
    async def scenario(world: World) -> None:
        jobs = world.client.fine_tuning.jobs
        job = await world.tune(suffix="my model", seed=7, metadata={"team": "a"})
        assert FineTuningJob.model_validate(job.model_dump(), strict=True) == job
        assert (job.status, job.model, job.created_at) == ("validating_files", MINI, 1_700_000_000)
        assert (job.fine_tuned_model, job.finished_at, job.trained_tokens, job.error) == (None,) * 4
        assert job.hyperparameters.n_epochs == job.hyperparameters.batch_size == "auto"
        assert (job.result_files, job.seed, job.metadata) == ([], 7, {"team": "a"})
        seen = []
        for _ in range(7):
            await world.wait(1)
            found = await jobs.retrieve(job.id)
            seen.append(found.status)
            assert (found.estimated_finish is None) == (found.status not in ("queued", "running"))
        assert seen == ["queued", "running", "running", "running", "succeeded", "succeeded", "succeeded"]
        assert (found.finished_at, found.created_at) == (1_700_000_005, 1_700_000_000)
        assert (found.hyperparameters.n_epochs, found.hyperparameters.batch_size) == (8, 1)
        assert found.method is not None
        assert found.method.supervised is not None
        assert found.method.supervised.hyperparameters is not None
        assert found.method.supervised.hyperparameters.n_epochs == 8
        assert found.trained_tokens is not None
        assert found.trained_tokens % (8 * 12) == 0
        assert found.fine_tuned_model is not None
        parts = found.fine_tuned_model.split(":")
        assert parts[:4] == ["ft", MINI, "sandbox", "my-model"]
        model = await world.client.models.retrieve(found.fine_tuned_model)
        assert (model.created, model.owned_by) == (1_700_000_005, "org-sandbox")
        assert found.fine_tuned_model in [one.id async for one in world.client.models.list()]
        table = (await world.client.files.content(found.result_files[0])).text.splitlines()
        assert table[0].startswith("step,train_loss")
        assert len(table) == 97
        assert (await world.client.files.retrieve(found.result_files[0])).purpose == "fine-tune-results"
        assert (await world.client.models.delete(found.fine_tuned_model)).deleted
        with pytest.raises(openai.NotFoundError):
            await world.client.models.retrieve(found.fine_tuned_model)

    play(scenario)


def test_a_tuned_model_answers_chat_until_it_is_deleted() -> None:
    async def scenario(world: World) -> None:
        job = await world.tune()
        await world.wait(9)
        name = str((await world.client.fine_tuning.jobs.retrieve(job.id)).fine_tuned_model)
        ask = world.client.chat.completions.create
        answer = await ask(model=name, messages=[{"role": "user", "content": "hello"}])
        assert (answer.model, answer.choices[0].finish_reason) == (name, "stop")
        await world.client.models.delete(name)
        with pytest.raises(openai.NotFoundError) as error:
            await ask(model=name, messages=[{"role": "user", "content": "hello"}])
        assert error.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            await world.client.models.delete(name)
        with pytest.raises(openai.PermissionDeniedError):
            await world.client.models.delete(MINI)

    play(scenario)


def test_events_come_newest_first_in_pages_and_not_before_their_time() -> None:
    async def scenario(world: World) -> None:
        job = await world.tune(validation_file=await world.upload(lines(GOOD)), hyperparameters={"n_epochs": 3})
        events = world.client.fine_tuning.jobs.list_events
        first = [event async for event in events(job.id)]
        assert [event.message for event in first] == [
            f"Validating validation file: {job.validation_file}",
            f"Validating training file: {job.training_file}",
            f"Created fine-tuning job: {job.id}",
        ]
        await world.wait(3.5)
        halfway = [event async for event in events(job.id, limit=2)]
        assert max(event.created_at for event in halfway) <= world.now
        steps = [event for event in halfway if event.type == "metrics"]
        assert 0 < len(steps) < 36
        await world.wait(10)
        every = [event async for event in events(job.id, limit=7)]
        assert len({event.id for event in every}) == len(every)
        assert [event.created_at for event in every] == sorted((event.created_at for event in every), reverse=True)
        assert [FineTuningJobEvent.model_validate(event.model_dump()) for event in every] == every
        steps = [event for event in every if event.type == "metrics"]
        assert len(steps) == 36
        assert isinstance(steps[0].data, dict)
        assert steps[0].data.keys() >= {"step", "train_loss", "valid_loss"}
        assert steps[0].message.startswith("Step 36/36: training loss=")
        assert every[0].message == "The job has successfully completed"
        checkpoints = [one async for one in world.client.fine_tuning.jobs.checkpoints.list(job.id, limit=1)]
        assert [one.step_number for one in checkpoints] == [24, 12]
        assert FineTuningJobCheckpoint.model_validate(checkpoints[0].model_dump()) == checkpoints[0]
        await world.client.models.retrieve(checkpoints[0].fine_tuned_model_checkpoint)

    play(scenario)


def chat(*messages: Any, **more: Any) -> bytes:
    return lines({"messages": list(messages), **more})


USER = {"role": "user", "content": "a"}
BOT = {"role": "assistant", "content": "b"}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (b"{no json\n", "Line 3 is not valid JSON. (HINT: line starts with: "),
        (b"\n", "Line 3 is not valid JSON. (HINT: the line is empty.)"),
        (b"\xef\xbb\xbf{}\n", "byte order mark"),
        (b"\xff\n", "Line 3 is not valid JSON"),
        (b"[]\n", "Line 3 is not a JSON object"),
        (lines({}), 'Example 3 is missing key "messages"'),
        (lines({"prompt": "a", "completion": "b"}), 'Example 3 has an unexpected key: "completion"'),
        (chat(), "at least one message"),
        (lines({"messages": "hi"}), "at least one message"),
        (chat("hi"), "message 1 is not an object"),
        (chat({"role": "robot", "content": "a"}), "role 'robot' is not one of"),
        (chat({"content": "a"}), "role None is not one of"),
        (chat({"role": []}), "role [] is not one of"),
        (chat({"role": "user"}, BOT), '"content" is missing'),
        (chat(USER, {"role": "assistant", "content": None}), '"content" is missing'),
        (chat(USER, {**BOT, "mood": "good"}), 'unexpected key: "mood"'),
        (chat(USER), "no message from the assistant"),
        (chat(USER, BOT, USER), "the last message must be from the assistant"),
        (chat(USER, {**BOT, "weight": 2}), '"weight" must be 0 or 1'),
        (chat(USER, {**BOT, "weight": 0}), "weight above 0"),
        (chat({**USER, "weight": 1}, BOT), '"weight" must be 0 or 1'),
        (chat({"role": "tool", "content": "a"}, BOT), 'must have a "tool_call_id"'),
        (chat(USER, {"role": "assistant", "tool_calls": [{"id": "1"}]}), "each tool call needs"),
        (chat(USER, {"role": "assistant", "tool_calls": []}), "at least one call"),
        (chat({"role": "user", "content": [{"type": "audio"}]}, BOT), "neither a text nor an image"),
        (chat({"role": "assistant", "content": "x<|fim_suffix|>"}), "invalid token: <|fim_suffix|>"),
        (chat(USER, BOT, tools=[{"type": "function"}]), '"tools" must be a list of functions'),
        (chat(USER, BOT, functions="f"), '"functions" must be a list of functions'),
    ],
)
def test_the_first_problem_of_a_training_file_is_named(tmp_path: Path, bad: bytes, said: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(lines(GOOD, times=2) + bad + lines(GOOD, times=10))
    with pytest.raises(BadTrainingFile) as problem:
        check_training_file(path, "supervised")
    assert said in problem.value.message
    assert problem.value.message.startswith("The job failed due to a file format error in the training file.")


def test_good_lines_of_all_kinds_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    rich = {
        "messages": [
            {"role": "system", "content": "x", "name": "y"},
            {"role": "user", "content": [{"type": "text", "text": "look"}, image]},
            {"role": "assistant", "tool_calls": [call], "weight": 0},
            {"role": "tool", "tool_call_id": "1", "content": "3"},
            {"role": "assistant", "content": "three", "weight": 1},
        ],
        "tools": [tool],
        "parallel_tool_calls": False,
    }
    path.write_bytes(lines(rich, GOOD, times=5))
    assert check_training_file(path, "supervised").examples == 10
    path.write_bytes(
        lines({"input": {"messages": [USER]}, "preferred_output": [BOT], "non_preferred_output": [BOT]}, times=10)
    )
    assert check_training_file(path, "dpo").examples == 10
    with pytest.raises(BadTrainingFile, match="unexpected key"):
        check_training_file(path, "supervised")
    path.write_bytes(lines({"prompt": "a", "completion": "b"}, times=10))
    assert check_training_file(path, "completions").tokens == 20
    with pytest.raises(BadTrainingFile, match='missing key "input"'):
        check_training_file(path, "dpo")


def test_a_bad_file_fails_the_job_with_a_code_and_an_event() -> None:
    async def scenario(world: World) -> None:
        job = await world.tune(lines(GOOD, times=9))
        short = await world.tune(lines(GOOD, times=12), validation_file=await world.upload(b"nonsense\n"))
        await world.wait(1)
        failed = await world.client.fine_tuning.jobs.retrieve(job.id)
        assert failed.status == "failed"
        assert failed.error is not None
        assert failed.error.model_dump() == {
            "code": "invalid_n_examples",
            "message": "Training file has 9 example(s), but must have at least 10 examples",
            "param": "training_file",
        }
        assert (failed.finished_at, failed.fine_tuned_model, failed.trained_tokens) == (1_700_000_001, None, None)
        last = (await world.client.fine_tuning.jobs.list_events(job.id)).data[0]
        assert (last.level, last.message) == ("error", failed.error.message)
        assert last.data == {"error_code": "invalid_n_examples", "error_param": "training_file"}
        other = await world.client.fine_tuning.jobs.retrieve(short.id)
        assert other.error is not None
        assert (other.error.code, other.error.param) == ("invalid_training_file", "validation_file")
        with pytest.raises(openai.BadRequestError, match="already failed"):
            await world.client.fine_tuning.jobs.cancel(job.id)

    play(scenario)


def test_a_cancelled_job_stays_so_and_tells_no_more() -> None:
    async def scenario(world: World) -> None:
        jobs = world.client.fine_tuning.jobs
        at_once = await world.tune()
        assert (await jobs.cancel(at_once.id)).status == "cancelled"
        job = await world.tune()
        await world.wait(3)
        await jobs.retrieve(job.id)
        cancelled = await jobs.cancel(job.id)
        assert (cancelled.status, cancelled.finished_at) == ("cancelled", 1_700_000_003)
        await world.wait(60)
        for one in (at_once, job):
            assert (await jobs.retrieve(one.id)).status == "cancelled"
            events = (await jobs.list_events(one.id)).data
            assert events[0].message == "The job has been cancelled by the user."
            assert max(event.created_at for event in events) <= 1_700_000_003
        with pytest.raises(openai.BadRequestError, match="already cancelled"):
            await jobs.cancel(job.id)
        assert [model.id async for model in world.client.models.list() if model.id.startswith("ft:")] == []

    play(scenario)


def test_jobs_are_listed_newest_first_in_pages() -> None:
    async def scenario(world: World) -> None:
        jobs = world.client.fine_tuning.jobs
        ids = [(await world.tune(metadata={"n": str(number % 2)})).id for number in range(5)]
        assert [job.id async for job in jobs.list(limit=2)] == ids[::-1]
        page = await jobs.list(limit=2, after=ids[3])
        assert ([job.id for job in page.data], page.has_more) == ([ids[2], ids[1]], True)
        assert [job.id async for job in jobs.list(metadata={"n": "1"})] == [ids[3], ids[1]]
        with pytest.raises(openai.BadRequestError, match="limit"):
            await jobs.list(limit=0)

    play(scenario)


def test_other_methods_and_models_are_trained_too() -> None:
    async def scenario(world: World) -> None:
        pair = {"input": {"messages": [USER]}, "preferred_output": [BOT], "non_preferred_output": [BOT]}
        dpo = await world.tune(
            lines(pair, times=10), method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2, "n_epochs": 2}}}
        )
        legacy = await world.tune(lines({"prompt": "a", "completion": "b"}, times=10), model="davinci-002")
        alias = await world.tune(model="gpt-4o-mini")
        assert alias.model == MINI
        await world.wait(9)
        for job in (dpo, legacy, alias):
            assert (await world.client.fine_tuning.jobs.retrieve(job.id)).status == "succeeded"
        done = await world.client.fine_tuning.jobs.retrieve(dpo.id)
        assert done.method is not None
        assert done.method.dpo is not None
        assert done.method.dpo.hyperparameters is not None
        assert (done.method.dpo.hyperparameters.beta, done.method.dpo.hyperparameters.n_epochs) == (0.2, 2)
        tuned = (await world.client.fine_tuning.jobs.retrieve(alias.id)).fine_tuned_model
        again = await world.tune(model=str(tuned))
        await world.wait(9)
        name = (await world.client.fine_tuning.jobs.retrieve(again.id)).fine_tuned_model
        assert str(name).startswith(f"ft:{MINI}:sandbox::")

    play(scenario)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"model": "text-embedding-3-small"}, {"code": "model_not_available"}),
        ({"model": "ft:gpt-4o-mini:sandbox::none"}, {"code": "model_not_available"}),
        ({"model": 7}, {"param": "model", "code": "invalid_type"}),
        ({"training_file": None}, {"param": "training_file", "code": "invalid_type"}),
        ({"training_file": "file-none"}, {"param": "training_file", "message": "invalid training_file: file-none"}),
        ({"validation_file": "file-none"}, {"param": "validation_file"}),
        ({"suffix": "s" * 65}, {"param": "suffix", "code": "string_above_max_length"}),
        ({"suffix": ""}, {"param": "suffix"}),
        ({"seed": -1}, {"param": "seed", "code": "integer_below_min_value"}),
        (
            {"hyperparameters": {"n_epochs": 0}},
            {"param": "hyperparameters.n_epochs", "code": "integer_below_min_value"},
        ),
        ({"hyperparameters": {"n_epochs": "many"}}, {"param": "hyperparameters.n_epochs", "code": "invalid_type"}),
        ({"hyperparameters": {"lr": 1}}, {"param": "hyperparameters.lr", "code": "unknown_parameter"}),
        ({"hyperparameters": []}, {"param": "hyperparameters", "code": "invalid_type"}),
        ({"method": {}}, {"param": "method.type", "code": "missing_required_parameter"}),
        ({"method": {"type": "magic"}}, {"param": "method.type", "code": "invalid_value"}),
        ({"method": {"type": "reinforcement"}}, {"code": "method_not_available"}),
        ({"method": {"type": "dpo", "supervised": {}}}, {"param": "method.supervised"}),
        ({"metadata": {"a": 1}}, {"param": "metadata.a", "code": "invalid_type"}),
        ({"integrations": [{"type": "other"}]}, {"param": "integrations[0].type", "code": "invalid_value"}),
        ({"colour": "red"}, {"param": "colour", "code": "unknown_parameter"}),
    ],
)
def test_what_the_service_refuses_is_refused(
    http: httpx.Client, training_file: str, fields: dict[str, Any], error: dict[str, Any]
) -> None:
    answer = http.post("/fine_tuning/jobs", json={"training_file": training_file, "model": MINI, **fields})
    assert answer.status_code == 400, answer.text
    assert error.items() <= answer.json()["error"].items()


@pytest.fixture(scope="module")
def training_file(server: SandboxProcess) -> str:
    with openai.OpenAI(base_url=server.url, api_key=server.key) as client:
        return client.files.create(file=("a.jsonl", lines(GOOD, times=10)), purpose="fine-tune").id


def test_files_of_another_purpose_and_unknown_jobs_are_told(server: SandboxProcess) -> None:
    with openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0) as client:
        file = client.files.create(file=("a.jsonl", lines(GOOD)), purpose="batch")
        with pytest.raises(openai.BadRequestError, match="has the purpose 'batch'"):
            client.fine_tuning.jobs.create(training_file=file.id, model=MINI)
        jobs = client.fine_tuning.jobs
        for call in (jobs.retrieve, jobs.cancel, jobs.list_events, jobs.checkpoints.list):
            with pytest.raises(openai.NotFoundError) as error:
                call("ftjob-none")
            assert error.value.body == {
                "message": "Could not find fine tune: ftjob-none",
                "type": "invalid_request_error",
                "param": "fine_tune_id",
                "code": "fine_tune_not_found",
            }


def test_with_real_time_a_job_is_done_within_seconds(server: SandboxProcess) -> None:
    with start(pace="50ms") as process, openai.OpenAI(base_url=process.url, api_key=process.key) as client:
        file = client.files.create(file=("a.jsonl", lines(GOOD, times=10)), purpose="fine-tune")
        job = client.fine_tuning.jobs.create(training_file=file.id, model=MINI)
        for _ in range(200):
            if client.fine_tuning.jobs.retrieve(job.id).status == "succeeded":
                break
            time.sleep(0.02)
        assert client.fine_tuning.jobs.retrieve(job.id).status == "succeeded"


def test_jobs_and_models_outlive_the_server_and_go_on(tmp_path: Path) -> None:
    ids: list[str] = []

    async def before(world: World) -> None:
        done = await world.tune()
        await world.wait(9)
        ids.append(str((await world.client.fine_tuning.jobs.retrieve(done.id)).fine_tuned_model))
        queued = await world.tune()
        await world.wait(1)
        await world.client.fine_tuning.jobs.retrieve(queued.id)
        fresh = await world.tune()
        ids.extend([queued.id, fresh.id])

    async def after(world: World) -> None:
        jobs = world.client.fine_tuning.jobs
        await world.client.models.retrieve(ids[0])
        world.now += 20
        assert (await jobs.retrieve(ids[1])).status == "succeeded"
        await jobs.retrieve(ids[2])
        await world.wait(0)
        assert (await jobs.retrieve(ids[2])).status == "succeeded"
        assert len([job async for job in jobs.list(limit=1)]) == 3
        await world.client.models.delete(ids[0])

    async def last(world: World) -> None:
        with pytest.raises(openai.NotFoundError):
            await world.client.models.retrieve(ids[0])

    for scenario in (before, after, last):
        play(scenario, state=str(tmp_path))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["model", "hyperparameters", "suffix", "validation_file", "integrations", "method", "metadata", "seed"]


@settings(max_examples=150, deadline=None)
@given(body=JSON | st.dictionaries(st.sampled_from([*FIELDS, "training_file"]), JSON), valid=st.booleans())
def test_any_json_gets_an_answer_or_a_wellformed_error(
    server: SandboxProcess, training_file: str, body: Any, valid: bool
) -> None:
    if valid and isinstance(body, dict):
        body = body | {"training_file": training_file, "model": MINI}
    answer = httpx.post(
        f"{server.url}/fine_tuning/jobs", json=body, headers={"Authorization": f"Bearer {server.key}"}, timeout=10
    )
    assert answer.status_code in (200, 400)
    if answer.status_code == 400:
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}


MESSAGE = st.dictionaries(
    st.sampled_from(["role", "content", "tool_calls", "weight"]), JSON | st.sampled_from(["user", "assistant"])
)
EXAMPLE = JSON | st.fixed_dictionaries({"messages": JSON | st.lists(MESSAGE, max_size=3)})


@pytest.mark.parametrize("method", ["supervised", "dpo", "completions"])
@settings(max_examples=150, deadline=None)
@given(example=EXAMPLE)
def test_any_line_is_judged(tmp_path_factory: pytest.TempPathFactory, method: str, example: Any) -> None:
    path = tmp_path_factory.getbasetemp() / f"line-{method}.jsonl"
    path.write_bytes(lines(example, times=10))
    with contextlib.suppress(BadTrainingFile):
        assert check_training_file(path, method).examples == 10
