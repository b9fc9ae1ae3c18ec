"""The tree of failed requests: each status has its class, each shape of error body its message."""

from __future__ import annotations

import json
import pickle

import pytest

from penstock.api import errors
from penstock.api.bodies import error_text, usage_in
from penstock.api.errors import ApiError, Facts, from_response
from penstock.errors import RequestFailed
from penstock.items import Cause, Usage
from penstock.secrets import remember

NOW = 1_800_000_000.0


def body(code: str | None = None, message: str = "no", **more: object) -> bytes:
    return json.dumps({"error": {"message": message, "code": code, "type": None, "param": None, **more}}).encode()


TABLE = {
    301: (errors.Redirected, False, Cause.INVALID_REQUEST),
    308: (errors.Redirected, False, Cause.INVALID_REQUEST),
    400: (errors.BadRequest, False, Cause.INVALID_REQUEST),
    401: (errors.Unauthorized, False, Cause.INVALID_REQUEST),
    402: (errors.QuotaExceeded, False, Cause.INVALID_REQUEST),
    403: (errors.Forbidden, False, Cause.INVALID_REQUEST),
    404: (errors.NotFound, False, Cause.NOT_FOUND),
    405: (errors.StatusFailed, False, Cause.INVALID_REQUEST),
    408: (errors.RequestTimedOut, True, Cause.TIMEOUT),
    409: (errors.Conflict, True, Cause.SERVER_ERROR),
    410: (errors.StatusFailed, False, Cause.INVALID_REQUEST),
    413: (errors.PayloadTooLarge, False, Cause.INVALID_REQUEST),
    418: (errors.StatusFailed, False, Cause.INVALID_REQUEST),
    422: (errors.Unprocessable, False, Cause.INVALID_REQUEST),
    425: (errors.TooEarly, True, Cause.SERVER_ERROR),
    429: (errors.RateLimited, True, Cause.RATE_LIMITED),
    451: (errors.StatusFailed, False, Cause.INVALID_REQUEST),
    500: (errors.ServerFailed, True, Cause.SERVER_ERROR),
    502: (errors.ServerFailed, True, Cause.SERVER_ERROR),
    503: (errors.ServerFailed, True, Cause.SERVER_ERROR),
    504: (errors.ServerFailed, True, Cause.SERVER_ERROR),
    529: (errors.ServerFailed, True, Cause.SERVER_ERROR),
}


@pytest.mark.parametrize("status", TABLE)
def test_each_status_has_its_class_and_the_class_knows_whether_to_retry(status):
    kind, retryable, cause = TABLE[status]
    got = from_response(status, {}, body(), now=NOW)
    assert type(got) is kind
    assert (got.retryable, got.cause, got.status) == (retryable, cause, status)
    assert isinstance(got, RequestFailed)


@pytest.mark.parametrize("code", sorted(errors.QUOTA_CODES))
@pytest.mark.parametrize("status", [429, 400, 403])
def test_no_money_left_is_never_taken_for_too_fast(status, code):
    assert type(from_response(status, {}, body(code), now=NOW)) is errors.QuotaExceeded
    assert type(from_response(status, {}, body(None, type=code), now=NOW)) is errors.QuotaExceeded


def test_a_request_larger_than_a_minute_is_too_large_not_too_early():
    text = "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000."
    assert type(from_response(429, {}, body("rate_limit_exceeded", text), now=NOW)) is errors.PayloadTooLarge


def test_the_server_may_overrule_whether_to_retry():
    assert not from_response(500, {"x-should-retry": "false"}, b"", now=NOW).worth_retrying
    assert from_response(400, {"x-should-retry": "true"}, b"", now=NOW).worth_retrying
    assert from_response(500, {"x-should-retry": "maybe"}, b"", now=NOW).worth_retrying


def test_all_facts_of_an_error_are_kept():
    headers = {"x-request-id": "req_9", "retry-after": "3", "x-ratelimit-limit-requests": "60"}
    got = from_response(429, headers, body("rate_limit_exceeded", "slow down", type="requests", param="model"), now=NOW)
    assert (got.code, got.type, got.param, got.request_id) == ("rate_limit_exceeded", "requests", "model", "req_9")
    assert got.retry_after == 3
    assert got.facts.limits is not None
    assert str(got) == "the server answered 429 rate_limit_exceeded: slow down"


SHAPES = {
    b'{"error": {"message": "deep", "code": "c", "type": "t"}}': ("deep", "c"),
    b'{"error": "flat"}': ("flat", None),
    b'{"message": "top", "code": 404}': ("top", None),
    b'{"object": "error", "message": "vllm", "type": "NotFoundError", "code": "404"}': ("vllm", None),
    b'{"detail": "fastapi"}': ("fastapi", None),
    b'{"detail": [{"loc": ["body"], "msg": "bad"}]}': ('[{"loc":["body"],"msg":"bad"}]', None),
    b'{"type": "about:blank", "title": "Problem", "status": 503}': ("Problem", None),
    b'[{"error": {"message": "in a list", "code": 400}}]': ("in a list", None),
    b'{"error": {}}': ("it begins '{\"error\": {}}'", None),
    b"<html><h1>502 Bad   Gateway</h1>": ("it begins '<html><h1>502 Bad Gateway</h1>'", None),
    b"upstream gone": ("it begins 'upstream gone'", None),
    b"\xff\xfe\x00": ("it begins '\ufffd\ufffd\\x00'", None),
    b"": ("an empty body", None),
    b"null": ("it begins 'null'", None),
}


@pytest.mark.parametrize("data", SHAPES)
def test_every_shape_of_error_body_gives_a_message(data):
    got = error_text(data)
    expected, code = SHAPES[data]
    assert (got.message, got.code) == (expected, code)


def test_a_message_is_cut_before_it_fills_a_table():
    assert len(error_text(body(None, "x" * 10_000)).message) < 500


def test_a_model_that_is_not_there_is_known_by_code_or_by_words():
    for data in (
        body("model_not_found"),
        body(None, "The model `x` does not exist or you do not have access to it."),
        b'{"error":"model \\"llama9\\" not found, try pulling it first"}',
        body(None, "no", param="model"),
    ):
        got = from_response(404, {}, data, now=NOW)
        assert isinstance(got, errors.NotFound)
        assert got.of_model
        assert not got.of_endpoint
    plain = from_response(404, {}, b'{"detail":"Not Found"}', now=NOW)
    assert isinstance(plain, errors.NotFound)
    assert plain.of_endpoint
    openai = from_response(404, {}, body(None, "Invalid URL (POST /embeddings)", type="invalid_request_error"), now=NOW)
    assert isinstance(openai, errors.NotFound)
    assert openai.of_endpoint


def test_errors_cross_process_borders_whole():
    for got in (
        from_response(429, {"retry-after": "1", "x-request-id": "r"}, body("c", "m"), now=NOW),
        errors.ConnectionFailed("no", Facts(), 3, never_sent=True),
        errors.TimedOut("late"),
        errors.UnusableBody("what", Facts(status=200)),
    ):
        back = pickle.loads(pickle.dumps(got))  # noqa: S301
        assert type(back) is type(got)
        assert (back.message, back.facts, back.attempts) == (got.message, got.facts, got.attempts)
        assert getattr(back, "never_sent", None) == getattr(got, "never_sent", None)


def test_no_message_holds_a_key():
    remember("very-secret-token-123")
    got = from_response(401, {}, body("invalid_api_key", "bad key very-secret-token-123 or sk-abcdefghijkl"), now=NOW)
    for text in (str(got), repr(got), got.message, repr(got.args)):
        assert "very-secret" not in text
        assert "sk-abc" not in text


def test_a_failed_request_may_still_tell_what_it_cost():
    data = (
        b'{"model":"m","usage":{"prompt_tokens":7,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":3}}}'
    )
    assert usage_in(data) == Usage("m", 7, 2, 3)
    assert usage_in(b'{"usage":{"total_tokens":5}}') == Usage(None, 5)
    assert usage_in(b'{"usage":null}') is None
    assert usage_in(b'{"usage":{"prompt_tokens":"x"}}') is None
    assert usage_in(b"<html>") is None
    assert from_response(500, {}, data, now=NOW).facts.usage == Usage("m", 7, 2, 3)


EVENTS = (
    b'data: {"choices":[]}\n\ndata: {"model":"m","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n'
)


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"\xef\xbb\xbf",
        b": keep alive\n\n",
        b"event: chunk\n",
        b"\n\n",
        b"retry: 10\nid: 4\n",
        b"\xef\xbb\xbf: hi\r\n\r\n",
    ],
    ids=["nothing", "a mark", "a comment", "a name", "blank lines", "other fields", "a mark and a comment"],
)
@pytest.mark.parametrize(
    "after", [b"", b"data: [DONE]\n\n", b'data: {"choi'], ids=["nothing", "the end", "a cut event"]
)
@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
def test_a_stream_tells_what_it_cost_however_it_begins_and_ends(before: bytes, after: bytes, ends: bytes):
    body = (before + EVENTS + after).replace(b"\r\n", b"\n").replace(b"\n", ends)
    assert usage_in(body) == usage_in(memoryview(body)) == Usage("m", 7, 2)


def test_an_event_of_several_lines_tells_what_it_cost():
    assert usage_in(b'event: a\ndata: {"model":"m",\n: why\ndata: "usage":{"prompt_tokens":7}}') == Usage("m", 7)


def test_a_body_behind_a_mark_or_blanks_tells_what_it_cost():
    told = b'{"usage":{"total_tokens":5}}'
    assert usage_in(b"\xef\xbb\xbf" + told) == usage_in(b" \n " + told) == Usage(None, 5)


def test_every_class_of_the_tree_is_drawn_in_its_docstring():
    def all_below(kind: type[ApiError]) -> set[str]:
        return {kind.__name__}.union(*(all_below(child) for child in kind.__subclasses__()))

    drawn = errors.__doc__ or ""
    assert all(name in drawn for name in all_below(ApiError))
