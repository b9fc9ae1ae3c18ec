"""What other servers were seen to answer, byte for byte; docs/guide/compatible-servers.md says which and when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from penstock.api import Api, errors
from penstock.api.provider import Provider, RetryPolicy, Timeouts
from penstock.engine.judge import Action, Circumstances, judge
from penstock.errors import AccessDenied
from penstock.secrets import Secret
from penstock.steps.vectors import read_vectors
from raw_http import RawServer, Reply, reply

T = TypeVar("T")
MESSAGES = [{"role": "user", "content": "Hello!"}]
VERDICT = (
    b'{"id":"modr-1","model":"omni-moderation-latest","results":[{"categories":{"harassment":false,"self_harm":false,'
    b'"self-harm":false},"category_applied_input_types":null,"category_scores":{"harassment":0.0,"self_harm":0.0,'
    b'"self-harm":0},"flagged":false}]}'
)
NO_MODEL = (
    b'{"error":{"message":"/embeddings: Invalid model name passed in model=nope. Call `/v1/models` to view available '
    b'models for your key.","type":"invalid_request_error","param":null,"code":"400","provider_specific_fields":{}}}'
)
NO_KEY = b'{"error":{"message":"No connected db.","type":"no_db_connection","param":null,"code":"400"}}'
FLOATS = (
    b'{"model":"e","data":[{"embedding":[0.5,0.25],"index":0,"object":"embedding"},{"embedding":[-0.5,1],"index":1,'
    b'"object":"embedding"}],"object":"list","usage":{"completion_tokens":0,"prompt_tokens":0,"total_tokens":0,'
    b'"completion_tokens_details":null,"prompt_tokens_details":null}}'
)
# Neither a role of its own, nor a null for the finish reason, nor an event of the usage alone.
CHUNKS = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    b'{"role":"assistant","content":"Hel"}}]}\n\n'
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    b'{"content":"lo"}}]}\n\n'
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"finish_reason":"stop",'
    b'"index":0,"delta":{}}]}\n\ndata: [DONE]\n\n'
)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_TEST_KEY", "sk-other-0123456789")


def json_bytes(body: bytes, status: int = 200) -> Reply:
    return reply(status, body, {"Content-Type": "application/json"})


def asked(answer: Reply, use: Callable[[Api], Awaitable[T]]) -> tuple[T, int]:
    """What came of it, and how many requests it took."""

    async def main(url: str) -> T:
        limits = {"retry": RetryPolicy(3, 0.01), "timeouts": Timeouts(2, 1, 3)}
        async with Api(Provider("mine", f"{url}/v1", Secret("OTHER_TEST_KEY"), **limits)) as api:
            return await use(api)

    with RawServer(lambda _: answer) as server:
        return asyncio.run(main(server.url)), len(server.seen)


def judged(body: bytes, status: int = 400) -> tuple[Action, str]:
    """What the engine makes of an error body, for the first of 50 rows."""
    error = errors.from_response(status, {}, body, now=0)
    provider = Provider("mine", "https://gateway.example/v1", Secret("OTHER_TEST_KEY"))
    verdict = judge(error, Circumstances(provider, "/embeddings", "nope", items=50))
    assert verdict.reason is None or isinstance(verdict.reason, AccessDenied)
    return verdict.action, str(verdict.reason)


def test_a_null_where_a_field_may_be_left_out_is_a_field_left_out() -> None:
    """LiteLLM writes out what its own types know and the server behind it did not send."""
    answer, requests = asked(json_bytes(VERDICT), lambda api: api.moderations.create(input="a"))
    assert answer.results[0].category_applied_input_types == {}
    assert answer.results[0].categories == {"harassment": False, "self_harm": False, "self-harm": False}
    assert answer.raw == json.loads(VERDICT), "the raw answer is what came, with its nulls"
    assert requests == 1


def test_nulls_that_mean_something_stay_where_they_do() -> None:
    body = VERDICT.replace(b"null", b"{}").replace(b'"harassment":false', b'"harassment":null')
    answer, _ = asked(json_bytes(body), lambda api: api.moderations.create(input="a"))
    assert answer.results[0].categories["harassment"] is None


@pytest.mark.parametrize("field", ['"flagged":null', '"flagged":"perhaps"'])
def test_a_null_or_nonsense_where_an_answer_is_owed_is_no_answer(field: str) -> None:
    body = VERDICT.replace(b'"flagged":false', field.encode()).replace(b'types":null', b'types":{}')
    with pytest.raises(errors.UnusableBody, match=r"flagged"):
        asked(json_bytes(body), lambda api: api.moderations.create(input="a"))


def test_fewer_verdicts_than_texts_are_no_answer() -> None:
    """aimock gives one verdict for a list of texts; which text it is about nobody knows."""
    with pytest.raises(errors.UnusableBody, match="1 verdicts came for 2 inputs"):
        asked(json_bytes(VERDICT), lambda api: api.moderations.create(input=["a", "b"]))


def test_a_400_for_an_unknown_model_stops_a_run_at_once() -> None:
    """LiteLLM says so with 400 and without a code: halving 50 rows took 99 requests to find out."""
    action, reason = judged(NO_MODEL)
    assert action is Action.STOP
    assert "'nope' is not there" in reason
    assert "Invalid model name passed in model=nope" in reason
    with pytest.raises(errors.NotFound) as got:
        asked(json_bytes(NO_MODEL, 400), lambda api: api.chat.create(model="nope", messages=MESSAGES))
    assert got.value.status == 400
    assert got.value.of_model
    assert not got.value.of_endpoint


def test_a_400_with_the_code_of_an_unknown_model_stops_a_run_too() -> None:
    body = b'{"error":{"message":"no","type":"invalid_request_error","param":null,"code":"model_not_found"}}'
    assert judged(body)[0] is Action.STOP


def test_a_400_that_quotes_such_words_from_a_row_is_the_rows_own() -> None:
    body = json.dumps({"error": {"message": f"The text is not allowed here: {'word ' * 9}invalid model name"}})
    assert judged(body.encode())[0] is Action.HALVE


def test_a_400_for_an_unknown_key_stops_a_run_at_once() -> None:
    """LiteLLM without a database looks a key other than its own up there, and tells that it has none."""
    action, reason = judged(NO_KEY)
    assert action is Action.STOP
    assert "does not accept the key in OTHER_TEST_KEY" in reason
    assert "No connected db" in reason


def test_vectors_come_as_floats_though_base64_was_asked_for() -> None:
    answer, requests = asked(json_bytes(FLOATS), lambda api: api.embeddings.create(model="e", input=["a", "b"]))
    assert [one.embedding for one in answer.data] == [[0.5, 0.25], [-0.5, 1.0]]
    assert requests == 1
    vectors = read_vectors(FLOATS, 2, 2)
    assert len(vectors.data) == 16
    assert vectors.prompt_tokens == 0


def test_a_stream_without_nulls_and_without_usage_is_a_whole_answer() -> None:
    answer, _ = asked(
        reply(200, CHUNKS, {"Content-Type": "text/event-stream; charset=utf-8"}),
        lambda api: api.chat.stream(model="m", messages=MESSAGES).read(),
    )
    assert (answer.text, answer.choices[0].finish_reason, answer.usage) == ("Hello", "stop", None)


def test_an_error_without_json_is_quoted_and_tried_again() -> None:
    """LiteLLM answers some requests with the plain text of a crash."""
    plain = reply(500, b"Internal Server Error", {"Content-Type": "text/plain; charset=utf-8"})
    with pytest.raises(errors.ServerFailed, match="500: it begins 'Internal Server Error'") as got:
        asked(plain, lambda api: api.chat.create(model="m", messages=MESSAGES))
    assert got.value.attempts == 3
