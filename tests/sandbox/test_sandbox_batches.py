"""``/v1/batches`` through the official client: the lives of batches by a clock of the test's own."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import Batch

from penstock.faults import parse_faults
from penstock.sandbox.app import make_app
from penstock.sandbox.batch_lines import check_lines
from penstock.sandbox.launch import SandboxProcess, start
from penstock.sandbox.settings import Settings
from penstock.sandbox.state import Sandbox

SMALL = "text-embedding-3-small"
EMBEDDINGS: Any = "/v1/embeddings"


def request(number: object, text: Any = "hello", **fields: Any) -> dict[str, Any]:
    body = {"model": SMALL, "input": text, "dimensions": 2}
    return {"custom_id": f"row-{number}", "method": "POST", "url": EMBEDDINGS, "body": body | fields}


def lines(*requests: Any) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in requests)


class World:
    """One server without a network, and its clock."""

    def __init__(self, **settings: Any) -> None:
        self.now = 1_700_000_000.0
        app = make_app(Settings.parse(**settings), wall=lambda: self.now)
        self.sandbox: Sandbox = app.state.sandbox
        http: Any = httpx.AsyncClient(transport=httpx.ASGITransport(app=app))
        self.client = openai.AsyncOpenAI(
            base_url="http://localhost/v1", api_key="sk-sandbox", max_retries=0, http_client=http
        )

    async def wait(self, seconds: float, batch: Batch) -> Batch:
        """Let so much time go by in small steps; the batch as it is then."""
        while seconds > 0:
            await self.sandbox.agenda.settle()
            self.now += min(seconds, 0.125)
            seconds -= 0.125
            self.sandbox.agenda.run_due()
        await self.sandbox.agenda.settle()
        return await self.client.batches.retrieve(batch.id)

    async def submit(self, content: bytes, endpoint: Any = EMBEDDINGS, **fields: Any) -> Batch:
        file = await self.client.files.create(file=("in.jsonl", content), purpose="batch")
        return await self.client.batches.create(
            input_file_id=file.id, endpoint=endpoint, completion_window="24h", **fields
        )

    async def read(self, file_id: str | None) -> dict[str, dict[str, Any]]:
        assert file_id is not None
        found = [json.loads(line) for line in (await self.client.files.content(file_id)).text.splitlines()]
        return {line["custom_id"]: line for line in found}


def play(scenario: Callable[[World], Awaitable[None]], **fields: Any) -> None:
    world = World(**fields)

    async def run() -> None:
        async with world.client:
            await scenario(world)
        await world.sandbox.agenda.settle()

    asyncio.run(run())
    world.sandbox.archive.close()


def test_a_batch_goes_through_its_states_and_gives_what_online_calls_give() -> None:
    async def scenario(world: World) -> None:
        rows = [request(number, f"text {number}") for number in range(20)]
        batch = await world.submit(lines(*rows, request("bad", "")), metadata={"run": "1"})
        assert Batch.model_validate(batch.model_dump(), strict=True) == batch
        assert (batch.status, batch.created_at, batch.expires_at) == ("validating", 1_700_000_000, 1_700_086_400)
        assert (batch.endpoint, batch.completion_window, batch.metadata) == (EMBEDDINGS, "24h", {"run": "1"})
        assert (batch.errors, batch.output_file_id, batch.error_file_id, batch.in_progress_at) == (None,) * 4
        seen = []
        for _ in range(8):
            batch = await world.wait(0.5, batch)
            assert batch.request_counts is not None
            seen.append((batch.status, batch.request_counts.completed + batch.request_counts.failed))
        assert seen == [
            ("validating", 0),
            ("in_progress", 0),
            ("in_progress", 10),
            ("finalizing", 21),
            ("finalizing", 21),
            ("completed", 21),
            ("completed", 21),
            ("completed", 21),
        ]
        assert (batch.in_progress_at, batch.finalizing_at, batch.completed_at) == (
            1_700_000_001,
            1_700_000_002,
            1_700_000_003,
        )
        assert batch.request_counts is not None
        assert batch.request_counts.model_dump() == {"total": 21, "completed": 20, "failed": 1}
        assert batch.model == SMALL
        output = await world.read(batch.output_file_id)
        assert output.keys() == {row["custom_id"] for row in rows}
        assert list(output) != [row["custom_id"] for row in rows]
        online = await world.client.embeddings.with_raw_response.create(**rows[3]["body"], encoding_format="float")
        assert output["row-3"]["response"]["body"] == json.loads(online.text)
        assert (output["row-3"]["response"]["status_code"], output["row-3"]["error"]) == (200, None)
        failed = (await world.read(batch.error_file_id))["row-bad"]
        assert failed["response"]["status_code"] == 400
        assert failed["response"]["body"]["error"]["type"] == "invalid_request_error"
        assert batch.usage is not None
        assert (
            batch.usage.input_tokens
            == batch.usage.total_tokens
            == sum(line["response"]["body"]["usage"]["total_tokens"] for line in output.values())
        )
        shown = await world.client.files.retrieve(str(batch.output_file_id))
        assert (shown.purpose, shown.filename) == ("batch_output", f"{batch.id}_output.jsonl")
        assert world.sandbox.stats.report()["repeated_inputs"] == 1

    play(scenario)


def test_moderations_and_chat_are_carried_out_too() -> None:
    bodies: dict[str, dict[str, Any]] = {
        "/v1/moderations": {"input": "hello"},
        "/v1/chat/completions": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]},
    }

    async def scenario(world: World) -> None:
        for endpoint, body in bodies.items():
            row = {"custom_id": "a", "method": "POST", "url": endpoint, "body": body}
            batch = await world.wait(3, await world.submit(lines(row), endpoint))
            assert (await world.read(batch.output_file_id))["a"]["response"]["status_code"] == 200
            row["body"] = body | {"stream": True}
            batch = await world.wait(3, await world.submit(lines(row), endpoint))
            assert "Streaming" in (await world.read(batch.error_file_id))["a"]["response"]["body"]["error"]["message"]

    play(scenario)


def test_completed_may_mean_that_every_request_failed() -> None:
    async def scenario(world: World) -> None:
        batch = await world.wait(3, await world.submit(lines(request(1, "arsenic"), request(2, "arsenic"))))
        assert batch.request_counts is not None
        assert (batch.status, batch.request_counts.failed) == ("completed", 2)
        assert batch.output_file_id is None
        assert len(await world.read(batch.error_file_id)) == 2
        assert batch.usage is not None
        assert batch.usage.total_tokens == 0

    play(scenario, poison=("arsenic",))


@pytest.mark.parametrize(
    ("content", "errors"),
    [
        (b"\n \n", [("empty_file", None, None)]),
        (b"nonsense\n[]\n", [("invalid_json_line", 1, None), ("invalid_json_line", 2, None)]),
        (lines(request(1), {}), [("missing_required_parameter", 2, "custom_id")]),
        (lines(request(1) | {"body": None}), [("missing_required_parameter", 1, "body")]),
        (lines(request(1) | {"body": "x"}), [("invalid_type", 1, "body")]),
        (lines(request(1) | {"custom_id": 1}), [("invalid_type", 1, "custom_id")]),
        (lines(request(1), request(2), request(1)), [("duplicate_custom_id", 3, "custom_id")]),
        (lines(request(1) | {"method": "GET"}), [("invalid_method", 1, "method")]),
        (lines(request(1) | {"url": "/v1/moderations"}), [("url_mismatch", 1, "url")]),
        (lines(request(1, model="gpt-none")), [("model_not_found", 1, "body.model")]),
        (lines(request(1), request(2, model="text-embedding-3-large")), [("mismatched_model", 2, "body.model")]),
        (lines(*(request(n, ["a"] * 2048) for n in range(25))), [("too_many_inputs", None, None)]),
    ],
)
def test_a_bad_file_fails_the_batch_with_each_problem_and_its_line(
    content: bytes, errors: list[tuple[str, int | None, str | None]]
) -> None:
    async def scenario(world: World) -> None:
        batch = await world.wait(1, await world.submit(content))
        assert (batch.status, batch.failed_at) == ("failed", 1_700_000_001)
        assert batch.errors is not None
        assert batch.errors.object == "list"
        assert [(one.code, one.line, one.param) for one in batch.errors.data or []] == errors
        assert all(one.message for one in batch.errors.data or [])
        assert (batch.output_file_id, batch.error_file_id) == (None, None)

    play(scenario)


def test_more_than_50000_requests_are_too_many(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(
        b"".join(b'{"custom_id":"%d","method":"POST","url":"/v1/x","body":{}}\n' % n for n in range(50_001))
    )
    assert [error["code"] for error in check_lines(path, "/v1/x", ()).errors] == ["too_many_tasks"]


def test_a_cancelled_batch_keeps_what_is_done() -> None:
    async def scenario(world: World) -> None:
        batch = await world.submit(lines(*(request(number) for number in range(8))))
        await world.wait(1.5, batch)
        cancelling = await world.client.batches.cancel(batch.id)
        assert (cancelling.status, cancelling.cancelling_at) == ("cancelling", 1_700_000_001)
        assert (await world.client.batches.cancel(batch.id)).status == "cancelling"
        done = await world.wait(1, batch)
        assert (done.status, done.cancelled_at) == ("cancelled", 1_700_000_002)
        assert done.request_counts is not None
        assert done.request_counts.model_dump() == {"total": 8, "completed": 4, "failed": 4}
        output, errors = await world.read(done.output_file_id), await world.read(done.error_file_id)
        assert len(output) == len(errors) == 4
        assert output.keys().isdisjoint(errors)
        assert {line["error"]["code"] for line in errors.values()} == {"batch_cancelled"}
        with pytest.raises(openai.ConflictError, match="Cannot cancel a batch with status 'cancelled'"):
            await world.client.batches.cancel(batch.id)

    play(scenario)


@pytest.mark.parametrize("after", [0.0, 2.5])
def test_a_batch_can_be_cancelled_before_and_after_its_work(after: float) -> None:
    async def scenario(world: World) -> None:
        batch = await world.submit(lines(request(1)))
        await world.wait(after, batch)
        await world.client.batches.cancel(batch.id)
        done = await world.wait(2.5, batch)
        assert done.status == "cancelled"
        assert (done.output_file_id is None) == (after == 0)
        assert done.error_file_id is None

    play(scenario)


def test_a_batch_that_expires_keeps_what_is_done() -> None:
    async def scenario(world: World) -> None:
        asked = await world.submit(lines(*(request(n) for n in range(8))), metadata={"sandbox_outcome": "expired"})
        expired = await world.wait(4, asked)
        assert expired.request_counts is not None
        assert (expired.status, expired.request_counts.completed, expired.request_counts.failed) == ("expired", 4, 4)
        assert expired.expired_at is not None
        errors = await world.read(expired.error_file_id)
        assert {line["error"]["code"] for line in errors.values()} == {"batch_expired"}
        assert {line["response"] for line in errors.values()} == {None}
        assert len(await world.read(expired.output_file_id)) == 4
        late = await world.submit(lines(request(1)))
        await world.sandbox.agenda.settle()
        world.now += 90_000
        late = await world.wait(3, late)
        assert (late.status, late.output_file_id) == ("expired", None)

    play(scenario)


@pytest.mark.parametrize(
    ("fault", "status"), [("429", 429), ("500", 500), ("502", 502), ("504", 504), ("quota", 429), ("400", 400)]
)
def test_refusals_strike_the_lines_too_and_stand_in_the_error_file(fault: str, status: int) -> None:
    async def scenario(world: World) -> None:
        batch = await world.submit(lines(*map(request, range(3))))
        batch = await world.wait(1.01, batch)
        world.sandbox.change(parse_faults([f"{fault}:x2"]), (0, 0), (), 0)
        batch = await world.wait(3, batch)
        assert batch.request_counts
        assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("completed", 1, 2)
        failed = await world.read(batch.error_file_id)
        assert {line["response"]["status_code"] for line in failed.values()} == {status}
        assert len(failed | await world.read(batch.output_file_id)) == 3
        assert world.sandbox.stats.report()["faults"] == {fault: 2}

    play(scenario)


def test_bad_vectors_strike_the_lines_and_faults_of_the_connection_do_not() -> None:
    async def scenario(world: World) -> None:
        batch = await world.submit(lines(*map(request, range(4))))
        batch = await world.wait(1.01, batch)
        world.sandbox.change(parse_faults(["reset:x1", "html:x1", "wrong-dim:x1", "nan:x1"]), (0, 0), (), 0)
        batch = await world.wait(3, batch)
        done = await world.read(batch.output_file_id)
        vectors = [line["response"]["body"]["data"][0]["embedding"] for line in done.values()]
        assert sorted(map(len, vectors)) == [1, 2, 2, 2]
        assert sum(math.isnan(number) for vector in vectors for number in vector) == 1
        assert world.sandbox.stats.report()["faults"] == {"nan": 1, "wrong-dim": 1}

    play(scenario)


def test_a_batch_over_the_enqueued_tokens_fails_and_fits_when_the_others_have_ended() -> None:
    async def scenario(world: World) -> None:
        first = await world.submit(lines(*(request(n, "one two three four five") for n in range(4))))
        await world.wait(1.01, first)
        second = await world.submit(lines(request(9, "six")))
        second = await world.wait(1.01, second)
        assert second.status == "failed"
        assert second.errors
        assert second.errors.data
        assert second.errors.data[0].code == "token_limit_exceeded"
        assert "Limit: 20 enqueued tokens" in (second.errors.data[0].message or "")
        first = await world.wait(3, first)
        assert first.status == "completed"
        third = await world.wait(4, await world.submit(lines(request(9, "six"))))
        assert third.status == "completed"

    play(scenario, queue=20)


def test_batches_are_listed_newest_first_in_pages() -> None:
    async def scenario(world: World) -> None:
        ids = [(await world.submit(lines(request(1)))).id for _ in range(5)]
        assert [batch.id async for batch in world.client.batches.list(limit=2)] == ids[::-1]
        page = (await world.client.batches.list(limit=2, after=ids[3])).model_dump()
        assert ([one["id"] for one in page["data"]], page["has_more"]) == ([ids[2], ids[1]], True)
        assert (page["first_id"], page["last_id"]) == (ids[2], ids[1])
        with pytest.raises(openai.BadRequestError):
            await world.client.batches.list(limit=101)

    play(scenario)


def test_the_result_files_live_as_long_as_asked() -> None:
    async def scenario(world: World) -> None:
        batch = await world.submit(lines(request(1)), output_expires_after={"anchor": "created_at", "seconds": 3600})
        batch = await world.wait(3, batch)
        file = await world.client.files.retrieve(str(batch.output_file_id))
        assert file.expires_at == file.created_at + 3600

    play(scenario)


def test_a_deleted_input_file_fails_the_batch() -> None:
    async def scenario(world: World) -> None:
        batch = await world.submit(lines(request(1), request(2), request(3), request(4)))
        await world.wait(1, batch)
        await world.client.files.delete(batch.input_file_id)
        batch = await world.wait(1, batch)
        assert batch.errors is not None
        assert batch.errors.data is not None
        assert (batch.status, batch.errors.data[0].code) == ("failed", "file_not_found")

    play(scenario)


def test_batches_outlive_the_server_and_are_done_by_the_next(tmp_path: Path) -> None:
    ids: list[str] = []

    async def before(world: World) -> None:
        done = await world.submit(lines(request(1)))
        await world.wait(3, done)
        kept = {"anchor": "created_at", "seconds": 7200}
        half = await world.submit(lines(*(request(n) for n in range(8))), output_expires_after=kept)
        await world.wait(1.5, half)
        stopping = await world.submit(lines(request(1)))
        await world.client.batches.cancel(stopping.id)
        ids.extend([done.id, half.id, stopping.id])

    async def after(world: World) -> None:
        done = await world.client.batches.retrieve(ids[0])
        assert len(await world.read(done.output_file_id)) == 1
        assert (await world.client.batches.retrieve(ids[2])).status == "cancelled"
        world.now += 10
        half = await world.wait(3, await world.client.batches.retrieve(ids[1]))
        assert half.status == "completed"
        assert half.request_counts is not None
        assert half.request_counts.completed == len(await world.read(half.output_file_id)) == 8
        file = await world.client.files.retrieve(str(half.output_file_id))
        assert file.expires_at == file.created_at + 7200

    play(before, state=str(tmp_path))
    play(after, state=str(tmp_path))


@pytest.fixture(scope="module")
def input_file(server: SandboxProcess) -> str:
    with openai.OpenAI(base_url=server.url, api_key=server.key) as client:
        return client.files.create(file=("a.jsonl", lines(request(1))), purpose="batch").id


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"endpoint": "/v1/audio"}, {"param": "endpoint", "code": "invalid_value"}),
        ({"endpoint": 1}, {"param": "endpoint", "code": "invalid_type"}),
        ({"completion_window": "1h"}, {"param": "completion_window", "code": "invalid_value"}),
        ({"input_file_id": "file-none"}, {"param": "input_file_id"}),
        ({"input_file_id": None}, {"param": "input_file_id", "code": "invalid_type"}),
        ({"metadata": {"a" * 65: "b"}}, {"param": "metadata"}),
        ({"metadata": {str(n): "b" for n in range(17)}}, {"param": "metadata"}),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, {"code": "integer_below_min_value"}),
        ({"output_expires_after": {"seconds": 3600}}, {"param": "output_expires_after.anchor"}),
        ({"output_expires_after": 5}, {"param": "output_expires_after", "code": "invalid_type"}),
        ({"priority": "high"}, {"param": "priority", "code": "unknown_parameter"}),
    ],
)
def test_what_the_service_refuses_is_refused(
    http: httpx.Client, input_file: str, fields: dict[str, Any], error: dict[str, Any]
) -> None:
    body = {"input_file_id": input_file, "endpoint": EMBEDDINGS, "completion_window": "24h", **fields}
    answer = http.post("/batches", json=body)
    assert answer.status_code == 400, answer.text
    assert error.items() <= answer.json()["error"].items()


def test_other_purposes_missing_fields_and_unknown_batches_are_told(server: SandboxProcess) -> None:
    with openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0) as client:
        file = client.files.create(file=("a.jsonl", lines(request(1))), purpose="fine-tune")
        with pytest.raises(openai.BadRequestError, match="has the purpose 'fine-tune'"):
            client.batches.create(input_file_id=file.id, endpoint=EMBEDDINGS, completion_window="24h")
        with pytest.raises(openai.BadRequestError, match="Missing required parameter: 'input_file_id'"):
            client.post("/batches", body={}, cast_to=Batch)
        for call in (client.batches.retrieve, client.batches.cancel):
            with pytest.raises(openai.NotFoundError, match="No batch found with id 'batch_none'"):
                call("batch_none")


def test_with_real_time_a_batch_is_done_within_seconds() -> None:
    with start(pace="50ms") as process, openai.OpenAI(base_url=process.url, api_key=process.key) as client:
        file = client.files.create(file=("a.jsonl", lines(*(request(n) for n in range(500)))), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint=EMBEDDINGS, completion_window="24h")
        deadline = time.monotonic() + 20
        while batch.status != "completed" and time.monotonic() < deadline:
            time.sleep(0.05)
            batch = client.batches.retrieve(batch.id)
        assert batch.request_counts is not None
        assert (batch.status, batch.request_counts.completed) == ("completed", 500)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"]


@settings(max_examples=150, deadline=None)
@given(body=JSON | st.dictionaries(st.sampled_from(FIELDS), JSON), valid=st.booleans())
def test_any_json_gets_an_answer_or_a_wellformed_error(
    server: SandboxProcess, input_file: str, body: Any, valid: bool
) -> None:
    if valid and isinstance(body, dict):
        body = {"input_file_id": input_file, "endpoint": EMBEDDINGS, "completion_window": "24h"} | body
    answer = httpx.post(f"{server.url}/batches", json=body, headers={"Authorization": f"Bearer {server.key}"})
    assert answer.status_code in (200, 400)
    if answer.status_code == 400:
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}


@settings(max_examples=40, deadline=None)
@given(
    bodies=st.lists(
        st.dictionaries(st.sampled_from(["model", "input", "dimensions", "stream", "user"]), JSON | st.just(SMALL)),
        min_size=1,
        max_size=5,
    )
)
def test_each_request_of_a_running_batch_has_exactly_one_result(bodies: list[dict[str, Any]]) -> None:
    async def scenario(world: World) -> None:
        rows = [request(number) | {"body": body} for number, body in enumerate(bodies)]
        batch = await world.wait(3, await world.submit(lines(*rows)))
        if batch.status == "failed":
            assert batch.errors is not None
            return
        assert batch.status == "completed"
        results = [await world.read(one) for one in (batch.output_file_id, batch.error_file_id) if one]
        assert sorted(name for found in results for name in found) == sorted(row["custom_id"] for row in rows)

    play(scenario)
