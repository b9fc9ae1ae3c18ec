from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_in import chain

from penstock.errors import AccountError
from penstock.flow.frontier import Bundle, Frontier, key_of
from penstock.plan.model import PlannedTask


@st.composite
def plans(draw: st.DrawFn) -> tuple[PlannedTask, ...]:
    """Any plan whose tasks come after those they read, some of which may be finished and no part of it."""
    size = draw(st.integers(0, 25))
    keys = [(f"s{index % 3}", index) for index in range(size)]
    inputs = [
        draw(st.lists(st.sampled_from([*keys[:index], ("gone", 0)]), unique=True, max_size=3)) for index in range(size)
    ]
    return tuple(PlannedTask(*key, after=tuple(before)) for key, before in zip(keys, inputs, strict=True))


@given(plans(), st.randoms(use_true_random=False), st.integers(1, 5))
def test_every_task_is_handed_out_once_and_after_its_inputs(plan, random, window) -> None:
    frontier = Frontier(plan)
    known = {key_of(task) for task in plan}
    together = {"s0": 1, "s1": 2, "s2": 5}
    open_bundles: list[Bundle] = []
    handed: list[tuple[str, int]] = []
    finished: set[tuple[str, int]] = set()
    while True:
        while len(open_bundles) < window and (bundle := frontier.next(together)):
            assert all(set(task.after) & known <= finished for task in bundle)
            assert len({task.segment for task in bundle}) == 1
            assert len(bundle) <= together[bundle[0].segment]
            open_bundles.append(bundle)
            handed += map(key_of, bundle)
        if not open_bundles:
            break
        done = open_bundles.pop(random.randrange(len(open_bundles)))
        finished |= set(map(key_of, done))
        frontier.finish(done)
    assert sorted(handed) == sorted(known)


def test_a_partition_that_has_begun_goes_on_before_another_one_begins() -> None:
    frontier = Frontier(chain(3, ("a", "b")))
    frontier.finish(frontier.next({}))
    assert [key_of(task) for task in frontier.next({})] == [("b", 0)]


def test_equally_far_tasks_keep_the_order_of_the_plan() -> None:
    frontier = Frontier(chain(4, ("a",)))
    assert [task.partition for _ in range(4) for task in frontier.next({})] == [0, 1, 2, 3]
    assert not frontier.next({})


def test_tasks_of_a_segment_are_handed_out_together_up_to_the_number_asked_for() -> None:
    frontier = Frontier(chain(5, ("a", "b")))
    first = frontier.next({"a": 2, "b": 9})
    assert list(map(key_of, first)) == [("a", 0), ("a", 1)]
    frontier.finish(first)
    assert list(map(key_of, frontier.next({"a": 2, "b": 9}))) == [("b", 0), ("b", 1)]
    assert [len(frontier.next({"a": 2})) for _ in range(3)] == [2, 1, 0]


def test_branches_take_turns_with_as_many_tasks_together_as_asked_for() -> None:
    tasks = [PlannedTask(name, index) for index in range(6) for name in ("a", "b")]
    frontier = Frontier(tasks)
    together = {"a": 4, "b": 3}
    handed = [[key_of(task) for task in frontier.next(together)] for _ in range(4)]
    assert handed == [
        [("a", 0), ("a", 1), ("a", 2), ("a", 3)],
        [("b", 0), ("b", 1), ("b", 2)],
        [("b", 3), ("b", 4), ("b", 5)],
        [("a", 4), ("a", 5)],
    ]


def test_tasks_whose_worker_died_are_handed_out_again() -> None:
    frontier = Frontier(chain(2, ("a",)))
    lost = frontier.next({"a": 2})
    assert not frontier.next({})
    frontier.again(lost)
    assert list(map(key_of, frontier.next({"a": 2}))) == [("a", 0), ("a", 1)]


def test_a_plan_in_the_wrong_order_is_a_defect() -> None:
    with pytest.raises(AccountError, match="before a task that it reads"):
        Frontier(tuple(reversed(chain(1, ("a", "b")))))
