"""Durations, sizes, counts and shares as people write them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.values import (
    format_duration,
    format_size,
    parse_count,
    parse_duration,
    parse_share,
    parse_size,
)

PARSERS: list[Callable[[object], float]] = [parse_duration, parse_size, parse_count, parse_share]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("120s", 120),
        ("200ms", 0.2),
        ("15m", 900),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("2d", 172800),
        (90, 90),
        ("90", 90),
        ("1_000s", 1000),
        (0.5, 0.5),
        ("1.5h", 5400),
        (" 5S ", 5),
        (0, 0),
    ],
)
def test_durations(written: object, seconds: float) -> None:
    assert parse_duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("25MB", 25000000),
        ("25MiB", 26214400),
        ("512KiB", 524288),
        ("2_000_000", 2000000),
        (7, 7),
        ("1.5kB", 1500),
        ("0.1MB", 100000),
        ("1GiB", 2**30),
        ("2t", 2 * 10**12),
        ("8b", 8),
    ],
)
def test_sizes(written: object, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize(
    ("written", "count"),
    [
        ("2_000_000", 2_000_000),
        ("50M", 50_000_000),
        ("200k", 200_000),
        (5000, 5000),
        (5.0, 5),
        ("2.5k", 2500),
        ("1b", 10**9),
    ],
)
def test_counts(written: object, count: int) -> None:
    assert parse_count(written) == count


@pytest.mark.parametrize(
    ("written", "share"), [("5%", 0.05), (0.05, 0.05), ("0.05", 0.05), (1, 1), ("100 %", 1), (0, 0)]
)
def test_shares(written: object, share: float) -> None:
    assert parse_share(written) == pytest.approx(share)


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    "value", [True, None, [], {}, "", "-5", -1, math.nan, math.inf, 10**400, "9" * 400, "1,5", "x", b"5"]
)
def test_what_is_no_value_is_refused_in_one_sentence(parse: Callable[[object], Any], value: object) -> None:
    with pytest.raises(ValueError, match=r"is not|too l|not allowed") as caught:
        parse(value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("parse", "value"), [(parse_count, "1.5"), (parse_size, "0.5"), (parse_count, 2.5), (parse_share, "101%")]
)
def test_parts_of_a_whole_are_refused(parse: Callable[[object], Any], value: object) -> None:
    with pytest.raises(ValueError, match="is not"):
        parse(value)


def test_a_duration_of_more_than_ten_years_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at most ten years"):
        parse_duration("4000d")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
NEARLY = st.text(alphabet="0123456789_.,%kKmMgGtTiIbBsShHdD -+e٣", max_size=80)


@pytest.mark.parametrize("parse", PARSERS)
@given(value=ANYTHING | NEARLY)
@example(value="0I")
@example(value="5\u017f")
@example(value="5\u212a")
@example(value=10**5000)
@example(value=[10**5000])
def test_parsing_gives_a_finite_number_from_0_on_or_a_value_error(
    parse: Callable[[object], float], value: object
) -> None:
    try:
        number = parse(value)
    except ValueError:
        return
    assert 0 <= number < math.inf


@given(st.integers(0, 10**15), st.sampled_from(["", "k", "M"]))
def test_counts_are_exact(number: int, unit: str) -> None:
    times = {"": 1, "k": 1000, "M": 10**6}[unit]
    if number * times <= 10**18:
        assert parse_count(f"{number}{unit}") == number * times


@given(st.integers(0, 10**6), st.integers(0, 59), st.integers(0, 59))
def test_the_parts_of_a_duration_add_up(hours: int, minutes: int, seconds: int) -> None:
    if hours < 80_000:
        assert parse_duration(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


@given(st.integers(10, 3600 * 500))
def test_a_shown_duration_reads_back_to_the_minute(seconds: int) -> None:
    back = parse_duration(format_duration(seconds))
    assert back == seconds if seconds < 3600 else abs(back - seconds) < 60


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3_400_000, "3.4 MB"), (2 * 10**12, "2.0 TB")]
)
def test_sizes_are_shown_with_their_unit(size: float, shown: str) -> None:
    assert format_size(size) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(0.42, "0.4s"), (12, "12s"), (200, "3m20s"), (7500, "2h05m")])
def test_durations_are_shown_as_people_read_them(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown
