"""Lists in pages: ``limit``, ``order``, ``after`` and ``before`` of a query, and the fields of the answer.

Source: API reference, "List assistants", "List files", "List fine-tuning jobs".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.sandbox import errors, fields
from penstock.sandbox.errors import ApiError


def page(
    items: Sequence[Mapping[str, Any]],
    query: Mapping[str, str],
    *,
    least: int = 1,
    most: int = 100,
    default: int = 20,
    order: str = "desc",
) -> dict[str, Any]:
    """One page.

    Args:
        items: all of them, the oldest first, each with an ``id``.
        query: of the request.
        least: the smallest ``limit``.
        most: the largest ``limit``.
        default: the ``limit`` of a request that names none.
        order: the ``order`` of a request that names none.

    Raises:
        ApiError: 400, a wrong ``limit`` or ``order``, or a cursor that is not in the list.
    """
    limit = _limit(query, least, most, default)
    ordered = list(items)
    if (fields.read_choice(query, "order", ("asc", "desc")) or order) == "desc":
        ordered.reverse()
    start, end = 0, len(ordered)
    if after := query.get("after"):
        start = _position(ordered, "after", after) + 1
    if before := query.get("before"):
        end = _position(ordered, "before", before)
        if not after:
            # Without `after` the page is the one just before the cursor.
            start = max(0, end - limit)
    chosen = ordered[start : min(end, start + limit)]
    has_more = start > 0 if before and not after else start + limit < end
    return {
        "object": "list",
        "data": chosen,
        "first_id": chosen[0]["id"] if chosen else None,
        "last_id": chosen[-1]["id"] if chosen else None,
        "has_more": has_more,
    }


def _limit(query: Mapping[str, str], least: int, most: int, default: int) -> int:
    text = query.get("limit")
    if text is None:
        return default
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise errors.wrong_type("limit", "an integer", text)
    fields.within("limit", int(text), least, most, "integer")
    return int(text)


def _position(items: Sequence[Mapping[str, Any]], name: str, cursor: str) -> int:
    for index, item in enumerate(items):
        if item["id"] == cursor:
            return index
    raise ApiError(
        400, f"Invalid '{name}': no object with the id '{cursor}' is in the list.", param=name, code="invalid_value"
    )
