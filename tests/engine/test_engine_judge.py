"""The table "judging an answer", row by row."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from penstock.api import errors
from penstock.api.errors import ApiError, Facts, from_response
from penstock.api.provider import Provider, RetryPolicy
from penstock.engine.judge import Action, Circumstances, judge
from penstock.errors import AccessDenied, NoSuccess, QuotaExhausted
from penstock.secrets import Secret

PROVIDER = Provider("mine", "https://api.example/v1", Secret("MY_KEY"), retry=RetryPolicy(attempts=3, max_wait=5))
AT = Circumstances(PROVIDER, "/embeddings", "model-x")


def failed(status: int, code: str | None = None, message: str = "no", **headers: str) -> ApiError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps({"error": {"message": message, "code": code, "type": "t"}}).encode()
    return from_response(status, named, body, now=0.0)


AGAIN = [failed(status) for status in (408, 409, 425, 500, 502, 503, 504, 529)] + [
    errors.ConnectionFailed("cut"),
    errors.TimedOut("late"),
    errors.UnusableBody("html"),
]


@pytest.mark.parametrize("error", AGAIN, ids=repr)
def test_what_may_pass_is_tried_again_until_the_attempts_are_used_up(error):
    for attempts in (1, 2):
        verdict = judge(error, replace(AT, attempts=attempts, items=5))
        assert verdict.action is Action.RETRY
        assert 0 <= verdict.wait <= 5
    last = judge(error, replace(AT, attempts=3, items=1, had_success=True))
    assert last.action is Action.FAIL


def test_a_wait_that_is_told_is_kept():
    assert judge(failed(503, retry_after="7"), AT).wait == 7
    assert judge(failed(503, retry_after="410400"), AT).wait == 120


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_what_may_be_one_items_fault_is_halved_until_it_stands_alone(status):
    assert judge(failed(status, "c"), replace(AT, items=2)).action is Action.HALVE
    assert judge(failed(status, "c"), replace(AT, items=1)).action is Action.FAIL


def test_an_unusable_packed_answer_that_persists_is_halved():
    error = errors.UnusableBody("what")
    assert judge(error, replace(AT, attempts=3, items=4)).action is Action.HALVE


def test_one_attempt_means_one_also_for_the_halves_of_an_unusable_answer():
    once = replace(AT, provider=replace(PROVIDER, retry=RetryPolicy(attempts=1)), items=4)
    assert judge(errors.UnusableBody("what"), once).action is Action.FAIL
    assert judge(failed(400, "c"), once).action is Action.HALVE, "a refusal costs nothing, and it is no second try"


def test_a_server_that_fails_is_never_asked_more_by_halving():
    for error in (failed(500), errors.TimedOut("late"), errors.ConnectionFailed("cut")):
        assert judge(error, replace(AT, attempts=3, items=4, had_success=True)).action is Action.FAIL


def test_too_fast_pauses_all_and_is_bounded():
    assert judge(failed(429, "rate_limit_exceeded"), replace(AT, attempts=99)).action is Action.PAUSE
    assert judge(failed(429), replace(AT, refused_for=1801)).action is Action.FAIL
    assert judge(failed(429, x_should_retry="false"), AT).action is Action.FAIL


STOPS = [
    (
        failed(401, "invalid_api_key", "Incorrect key"),
        AccessDenied,
        ["MY_KEY", "Incorrect key", "https://api.example/v1"],
    ),
    (failed(403, None, "Country not supported"), AccessDenied, ["MY_KEY", "Country not supported"]),
    (failed(404, "model_not_found"), AccessDenied, ["'model-x'", "MY_KEY"]),
    (failed(403, "model_not_found"), AccessDenied, ["'model-x'"]),
    (failed(429, "insufficient_quota"), QuotaExhausted, ["MY_KEY", "quota"]),
    (failed(400, "billing_hard_limit_reached"), QuotaExhausted, ["MY_KEY"]),
    (failed(402), QuotaExhausted, ["MY_KEY"]),
    (from_response(307, {"location": "https://other/"}, b"", now=0), AccessDenied, ["base_url", "https://other/"]),
]


@pytest.mark.parametrize(("error", "kind", "words"), STOPS, ids=lambda value: getattr(value, "message", None))
def test_what_no_item_can_help_stops_the_run_and_says_what_to_do(error, kind, words):
    verdict = judge(error, replace(AT, items=5, had_success=True))
    assert verdict.action is Action.STOP
    assert type(verdict.reason) is kind
    assert all(word in str(verdict.reason) for word in words), str(verdict.reason)


def test_an_address_without_the_api_stops_the_run_unless_it_has_answered_before():
    error = from_response(404, {}, b'{"detail":"Not Found"}', now=0)
    verdict = judge(error, AT)
    assert verdict.action is Action.STOP
    assert "knows no /embeddings" in str(verdict.reason)
    assert "/v1" in str(verdict.reason)
    assert judge(error, replace(AT, had_success=True)).action is Action.FAIL


def test_a_server_that_was_never_there_stops_the_run_instead_of_failing_rows():
    error = errors.ConnectionFailed("refused", Facts(), never_sent=True)
    assert judge(error, replace(AT, attempts=1)).action is Action.RETRY
    verdict = judge(error, replace(AT, attempts=3))
    assert isinstance(verdict.reason, NoSuccess)
    assert "cannot be reached, 3 attempts: refused" in str(verdict.reason)
    assert judge(error, replace(AT, attempts=3, had_success=True)).action is Action.FAIL
