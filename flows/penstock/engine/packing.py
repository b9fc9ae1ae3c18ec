"""Items into requests: under all three limits, in their order, and one request at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from penstock.items import Item, Packing

T = TypeVar("T")


def packs(items: Iterable[Item], packing: Packing, *, max_tokens: int | None = None) -> Iterator[list[Item]]:
    """Consecutive runs of items, each as long as the limits allow.

    An item that is over a token limit by itself comes alone: its count may be an estimate, and the server judges it
    without harm to others.

    Args:
        max_tokens: a further limit on the tokens of a request, for example what is admitted per minute.
    """
    most_tokens = _smaller(packing.max_request_tokens, max_tokens)
    pack: list[Item] = []
    tokens = 0
    for item in items:
        alone = packing.max_item_tokens is not None and item.tokens > packing.max_item_tokens
        full = len(pack) >= packing.max_items or (most_tokens is not None and tokens + item.tokens > most_tokens)
        if pack and (full or alone):
            yield pack
            pack, tokens = [], 0
        pack.append(item)
        tokens += item.tokens
        if alone:
            yield pack
            pack, tokens = [], 0
    if pack:
        yield pack


def halves(items: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """Two parts of nearly equal length, together all; at least two items are needed."""
    middle = (len(items) + 1) // 2
    return items[:middle], items[middle:]


def _smaller(one: int | None, other: int | None) -> int | None:
    given = [limit for limit in (one, other) if limit is not None]
    return min(given) if given else None
