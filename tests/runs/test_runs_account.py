"""The account: rows that add up close it, and no single number can change unseen."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import AccountError
from penstock.runs.account import SegmentParts, close_account, prove_part

CAUSES = ["timeout", "too_long", "source"]


@st.composite
def parts_that_add_up(draw: st.DrawFn) -> tuple[list[SegmentParts], list[str]]:
    """Counts of a tree of one to four segments over one to three partitions, each row with a fate, and its outputs."""
    partitions = draw(st.integers(1, 3))
    source = [draw(st.integers(0, 50)) for _ in range(partitions)]
    written: dict[str | None, list[int]] = {}
    parts: list[SegmentParts] = []
    for number in range(draw(st.integers(1, 4))):
        name = f"s{number}"
        reads = draw(st.sampled_from([one.segment for one in parts])) if parts else None
        written[name] = []
        counts = []
        for index in range(partitions):
            read = written[reads][index] if reads else source[index]
            failures = {cause: draw(st.integers(0, read // 9)) for cause in draw(st.sets(st.sampled_from(CAUSES)))}
            filtered = {step: draw(st.integers(0, read // 9)) for step in draw(st.sets(st.sampled_from(["f", "g"])))}
            merged = {"m": draw(st.integers(0, read // 9))} if draw(st.booleans()) else {}
            added = {"c": draw(st.integers(0, 9))} if draw(st.booleans()) else {}
            failed = sum(failures.values())
            gone = failed + sum(filtered.values()) + sum(merged.values())
            written[name].append(read + sum(added.values()) - gone)
            counts.append(
                {
                    "segment": name,
                    "partition": index,
                    "read": read,
                    "added": added,
                    "written": written[name][-1],
                    "filtered": filtered,
                    "merged": merged,
                    "failed": failed,
                    "failures": failures,
                }
            )
        parts.append(SegmentParts(name, reads, counts))
    taken = {one.reads for one in parts}
    ends = [one.segment for one in parts if one.segment not in taken]
    ends += draw(st.lists(st.sampled_from([one.segment for one in parts]), max_size=2))
    return parts, ends


Tree = tuple[list[SegmentParts], list[str]]


@given(parts_that_add_up())
def test_counts_that_add_up_close(tree: Tree) -> None:
    parts, ends = tree
    account = close_account(parts, ends)
    assert account.read == sum(part["read"] for part in parts[0].counts)
    written = {one.segment: sum(part["written"] for part in one.counts) for one in parts}
    assert account.outputs == [written[end] for end in ends]
    came = account.read + account.added + account.branched
    assert came == account.written + account.filtered + account.merged + account.failed
    assert sum(account.failures.values()) == account.failed
    assert [segment.segment for segment in account.segments] == [one.segment for one in parts]


@given(parts_that_add_up(), st.data(), st.integers(-3, 3).filter(bool))
def test_any_single_change_is_found(tree: Tree, data: st.DataObject, by: int) -> None:
    changed, ends = copy.deepcopy(tree)
    part = data.draw(st.sampled_from(data.draw(st.sampled_from(changed)).counts))
    places = [(part, name) for name in ("read", "written", "failed")]
    places += [(part[name], key) for name in ("filtered", "failures", "merged", "added") for key in part[name]]
    where, name = data.draw(st.sampled_from(places))
    where[name] += by
    with pytest.raises(AccountError):
        close_account(changed, ends)


@given(parts_that_add_up(), st.data())
def test_a_part_that_is_left_out_or_counted_twice_is_found(tree: Tree, data: st.DataObject) -> None:
    """In a segment that reads another one, unless it has no rows."""
    changed, ends = copy.deepcopy(tree)
    if len(changed) == 1:
        return
    one = data.draw(st.sampled_from(changed[1:]))
    counts = list(one.counts)
    index = data.draw(st.integers(0, len(counts) - 1))
    linked = counts[index]["read"]
    if data.draw(st.booleans()):
        counts.append(counts[index])
    else:
        del counts[index]
    changed = [SegmentParts(one.segment, one.reads, counts) if one is other else other for other in changed]
    if linked:
        with pytest.raises(AccountError, match=r"wrote .* rows and"):
            close_account(changed, ends)


def test_a_part_that_does_not_add_up_is_named() -> None:
    part = {
        "segment": "embed", "partition": 3, "read": 5, "added": {}, "written": 3, "filtered": {"f": 1}, "merged": {},
        "failed": 0,
    }  # fmt: skip
    with pytest.raises(AccountError, match=r"'embed', partition 3: 5 rows came in, 0 were added, and 3 written \+"):
        prove_part(part)
