"""Waits and limits as servers write them into headers."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.api.headers import Allowance, parse_ratelimit, parse_reset, parse_retry_after, parse_should_retry

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds", "asked"),
    [
        ({"retry-after": "3"}, 3, 3),
        ({"retry-after": "0.5"}, 0.5, 0.5),
        ({"retry-after-ms": "250"}, 0.25, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9, 9),
        ({"retry-after": formatdate(NOW + 30, usegmt=True)}, 30, 30),
        ({"retry-after": formatdate(NOW - 30, usegmt=True)}, 0, 0),
        ({"retry-after": "-5"}, 0, 0),
        ({"retry-after": "410400"}, 120, 410400),
    ],
)
def test_a_wait_is_read_in_each_of_its_forms_and_capped(headers, seconds, asked):
    wait = parse_retry_after(headers, NOW)
    assert wait is not None
    assert (wait.seconds, wait.asked) == (pytest.approx(seconds), pytest.approx(asked))
    assert wait.capped is (asked > seconds)


@pytest.mark.parametrize("text", ["", "soon", "nan", "inf", "Mon, 99 Foo 2026"])
def test_what_is_no_wait_is_none(text):
    assert parse_retry_after({"retry-after": text}, NOW) is None


def test_should_retry_is_true_false_or_unsaid():
    assert parse_should_retry({"x-should-retry": "true"}) is True
    assert parse_should_retry({"x-should-retry": "False "}) is False
    assert parse_should_retry({"x-should-retry": "?"}) is None
    assert parse_should_retry({}) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6m0s", 360), ("12ms", 0.012), ("1s", 1), ("1h2m3s", 3723), ("59.94s", 59.94), ("10", 10), ("0", 0), ("1m", 60)],
)
def test_durations_are_read_as_the_service_writes_them(text, seconds):
    assert parse_reset(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["-1", "soon", "", "5x", "1s?", "2026-01-01T00:00:00Z"])
def test_other_durations_are_unknown(text):
    assert parse_reset(text) is None


def test_the_service_states_both_limits():
    told = parse_ratelimit(
        {
            "x-ratelimit-limit-requests": "5000",
            "x-ratelimit-remaining-requests": "4999",
            "x-ratelimit-reset-requests": "12ms",
            "x-ratelimit-limit-tokens": "2000000",
            "x-ratelimit-remaining-tokens": "-1",
            "x-ratelimit-reset-tokens": "6m0s",
        }
    )
    assert told is not None
    assert told.requests == Allowance(5000, 4999, 0.012)
    assert told.tokens == Allowance(2_000_000, None, 360)


def test_most_servers_state_none():
    assert parse_ratelimit({"content-type": "application/json"}) is None
    assert parse_ratelimit({"x-ratelimit-limit-requests": "-1", "x-ratelimit-limit-tokens": "unlimited"}) is None


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-limit-requests"]), st.text()))
def test_no_header_breaks_the_reader(headers):
    wait = parse_retry_after(headers, NOW)
    assert wait is None or 0 <= wait.seconds <= 120
    parse_ratelimit(headers)
