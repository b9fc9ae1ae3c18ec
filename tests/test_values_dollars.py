"""Dollars as people read them: an unknown price is never 0, and neither is a tiny one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.values import format_usd


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (None, "unknown"),
        (0.0, "$0.00"),
        (1.2e-7, "under $0.000001"),
        (0.000001, "$0.000001"),
        (0.000765, "$0.000765"),
        (0.9999999, "$1"),
        (0.25, "$0.25"),
        (12.3456, "$12.35"),
    ],
)
def test_dollars_are_shown_as_precisely_as_they_matter(usd: float | None, text: str) -> None:
    assert format_usd(usd) == text


@given(st.floats(min_value=0, max_value=1e6, exclude_min=True))
def test_money_that_was_spent_is_never_shown_as_nothing(usd: float) -> None:
    shown = format_usd(usd)
    assert shown == "under $0.000001" or float(shown.removeprefix("$")) > 0
