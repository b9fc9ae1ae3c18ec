"""Lists that a server gives out in pages, as one iterator.

Source: API reference, the `list` calls: ``after`` names the last object seen, ``has_more`` says whether to go on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import TypeVar

from penstock.api.channel import Call, Channel
from penstock.api.errors import Facts, UnusableBody
from penstock.api.objects import ApiObject, built, facts_of, fields_of
from penstock.api.wire import WireResponse
from penstock.errors import InputError

T = TypeVar("T", bound=ApiObject)


async def pages(
    channel: Channel,
    kind: type[T],
    path: str,
    *,
    params: Mapping[str, str | int | None] | None = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[T]:
    """Every object of the list at `path`, page after page, as far as the caller reads.

    Args:
        params: of the query; those that are None are not sent. ``limit`` is the size of a page, not of the list.

    Raises:
        ApiError: a page does not come, or is no list.
    """
    query = {name: value for name, value in (params or {}).items() if value is not None}
    if not int(query.get("limit", 1)) >= 1:
        raise InputError(f"limit is the size of a page, at least 1, and got {query['limit']}")
    seen: set[str] = set()
    while True:
        call = Call(method="GET", path=path, params=query, headers=headers or {})
        found, more, facts = await channel.call(call, partial(_page, kind))
        for one in found:
            yield one
        if not more:
            return
        cursor = found[-1].raw.get("id") if found else None
        if not isinstance(cursor, str) or cursor in seen:
            raise UnusableBody("the list says that it goes on, and gives no new object to go on from", facts)
        seen.add(cursor)
        # Going on backwards from `before` would give the same page again.
        query = {name: value for name, value in query.items() if name != "before"} | {"after": cursor}


def _page(kind: type[T], response: WireResponse) -> tuple[list[T], bool, Facts]:
    """The objects of one page, and whether there are more."""
    fields, facts = fields_of(response), facts_of(response)
    found = fields.get("data")
    if not isinstance(found, list):
        raise UnusableBody("the answer is no list: it has no `data`", facts)
    return [built(kind, one, response.headers) for one in found], bool(fields.get("has_more")), facts
