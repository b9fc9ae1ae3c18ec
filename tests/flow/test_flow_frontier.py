from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_in import chain

from penstock.errors import AccountError
from penstock.flow.frontier import Frontier, key_of
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
    open_tasks: list[PlannedTask] = []
    handed: list[tuple[str, int]] = []
    finished: set[tuple[str, int]] = set()
    while True:
        while len(open_tasks) < window and (task := frontier.next()):
            assert set(task.after) & known <= finished
            open_tasks.append(task)
            handed.append(key_of(task))
        if not open_tasks:
            break
        done = open_tasks.pop(random.randrange(len(open_tasks)))
        finished.add(key_of(done))
        frontier.finish(key_of(done))
    assert sorted(handed) == sorted(known)


def test_a_partition_that_has_begun_goes_on_before_another_one_begins() -> None:
    frontier = Frontier(chain(3, ("a", "b")))
    first = frontier.next()
    assert first is not None
    frontier.finish(key_of(first))
    following = frontier.next()
    assert following is not None
    assert key_of(following) == ("b", 0)


def test_equally_far_tasks_keep_the_order_of_the_plan() -> None:
    frontier = Frontier(chain(4, ("a",)))
    assert [frontier.next().partition for _ in range(4)] == [0, 1, 2, 3]
    assert frontier.next() is None


def test_a_plan_in_the_wrong_order_is_a_defect() -> None:
    with pytest.raises(AccountError, match="before a task that it reads"):
        Frontier(tuple(reversed(chain(1, ("a", "b")))))
