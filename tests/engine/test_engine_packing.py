"""Laws of packing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.pack import Pack
from penstock.engine.packing import halves, packs
from penstock.items import Item, Packing, Usage

LIMIT = st.none() | st.integers(1, 60)
SIZES = st.lists(st.integers(0, 80), max_size=60)
PACKINGS = st.builds(Packing, st.integers(1, 12), LIMIT, LIMIT)


@given(SIZES, PACKINGS, LIMIT)
def test_every_item_is_packed_once_in_order_and_within_all_limits(sizes, packing, most):
    given_items = [Item(number, None, size) for number, size in enumerate(sizes)]
    made = list(packs(given_items, packing, max_tokens=most))
    assert list(chain.from_iterable(made)) == given_items
    for pack in made:
        assert 1 <= len(pack) <= packing.max_items
        if len(pack) > 1:
            total = sum(item.tokens for item in pack)
            assert total <= min(packing.max_request_tokens or 10**9, most or 10**9)
            assert all(item.tokens <= (packing.max_item_tokens or 10**9) for item in pack)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=60), PACKINGS)
def test_no_pack_ends_early(sizes, packing):
    made = list(packs([Item(n, None, size) for n, size in enumerate(sizes)], packing))
    for pack, following in pairwise(made):
        alone = [i for i in (pack[-1], following[0]) if i.tokens > (packing.max_item_tokens or 10**9)]
        over = sum(i.tokens for i in pack) + following[0].tokens > (packing.max_request_tokens or 10**9)
        assert alone or over or len(pack) == packing.max_items


def test_items_are_pulled_one_request_at_a_time():
    pulled = []

    def source() -> Iterator[Item]:
        for number in range(100):
            pulled.append(number)
            yield Item(number, None, 1)

    next(packs(source(), Packing(max_items=5)))
    assert len(pulled) == 6


@given(st.lists(st.integers(), min_size=2))
def test_halves_are_all_of_it_and_nearly_equal(values):
    left, right = halves(values)
    assert [*left, *right] == values
    assert 0 <= len(left) - len(right) <= 1


@given(st.integers(2, 20), st.integers(0, 1000), st.integers(0, 50), st.none() | st.floats(0, 10))
def test_halving_and_sharing_lose_no_token_and_no_dollar(count, prompt, completion, usd):
    pack = Pack.of([Item(n, None, 1) for n in range(count)])
    pack.charge(Usage("m", prompt, completion), usd)
    left, right = pack.halved(8, tried_out=False)
    for parts in (
        [(part.spent, part.usd) for part in (left, right)],
        pack.shares(),
        left.shares() + right.shares(),
    ):
        assert sum(usage.prompt_tokens for usage, _ in parts) == prompt
        assert sum(usage.completion_tokens for usage, _ in parts) == completion
        if usd is None:
            assert any(part is None for _, part in parts)
        else:
            assert abs(sum(part or 0.0 for _, part in parts) - usd) < 1e-9


def test_halves_of_what_was_tried_out_get_only_a_last_few_attempts():
    pack = Pack.of([Item(n, None, 1) for n in range(4)])
    assert [part.attempts for part in pack.halved(8, tried_out=True)] == [6, 6]
    assert [part.attempts for part in pack.halved(8, tried_out=False)] == [0, 0]
    assert [part.attempts for part in pack.halved(1, tried_out=True)] == [0, 0]
