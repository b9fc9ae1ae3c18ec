"""The account: rows that add up close it, and no single number can change unseen."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import AccountError
from penstock.runs.account import close_account, prove_part

CAUSES = ["timeout", "too_long", "source"]
Parts = list[tuple[str, list[dict[str, Any]]]]


@st.composite
def parts_that_add_up(draw: st.DrawFn) -> Parts:
    """Counts of one to three segments over one to four partitions, each row with a fate."""
    partitions = draw(st.integers(1, 4))
    rows = [draw(st.integers(0, 50)) for _ in range(partitions)]
    parts: Parts = []
    for segment in range(draw(st.integers(1, 3))):
        counts = []
        for index in range(partitions):
            read = rows[index]
            failures = {cause: draw(st.integers(0, read // 6)) for cause in draw(st.sets(st.sampled_from(CAUSES)))}
            filtered = {step: draw(st.integers(0, read // 6)) for step in draw(st.sets(st.sampled_from(["f", "g"])))}
            failed = sum(failures.values())
            rows[index] = read - failed - sum(filtered.values())
            counts.append(
                {
                    "segment": f"s{segment}",
                    "partition": index,
                    "read": read,
                    "written": rows[index],
                    "filtered": filtered,
                    "failed": failed,
                    "failures": failures,
                }
            )
        parts.append((f"s{segment}", counts))
    return parts


@given(parts_that_add_up())
def test_counts_that_add_up_close(parts: Parts) -> None:
    account = close_account(parts)
    assert account.read == sum(part["read"] for part in parts[0][1])
    assert account.written == sum(part["written"] for part in parts[-1][1])
    assert account.read == account.written + account.filtered + account.failed
    assert sum(account.failures.values()) == account.failed
    assert [segment.segment for segment in account.segments] == [name for name, _ in parts]


@given(parts_that_add_up(), st.data(), st.integers(-3, 3).filter(bool))
def test_any_single_change_is_found(parts: Parts, data: st.DataObject, by: int) -> None:
    changed = copy.deepcopy(parts)
    _, counts = data.draw(st.sampled_from(changed))
    part = data.draw(st.sampled_from(counts))
    places = [(part, name) for name in ("read", "written", "failed")]
    places += [(part[name], key) for name in ("filtered", "failures") for key in part[name]]
    where, name = data.draw(st.sampled_from(places))
    where[name] += by
    with pytest.raises(AccountError):
        close_account(changed)


@given(parts_that_add_up(), st.data())
def test_a_part_that_is_left_out_or_counted_twice_is_found(parts: Parts, data: st.DataObject) -> None:
    """In one of several segments, unless it has no rows."""
    if len(parts) == 1:
        return
    changed = copy.deepcopy(parts)
    place = data.draw(st.integers(0, len(parts) - 1))
    counts = changed[place][1]
    index = data.draw(st.integers(0, len(counts) - 1))
    linked = counts[index]["written"] if place == 0 else counts[index]["read"]
    if data.draw(st.booleans()):
        counts.append(counts[index])
    else:
        del counts[index]
    if linked:
        with pytest.raises(AccountError, match=r"wrote .* rows and"):
            close_account(changed)


def test_a_part_that_does_not_add_up_is_named() -> None:
    part = {"segment": "embed", "partition": 3, "read": 5, "written": 3, "filtered": {"f": 1}, "failed": 0}
    with pytest.raises(AccountError, match=r"'embed', partition 3: 5 rows came in and 3 written \+ 1 filtered"):
        prove_part(part)
