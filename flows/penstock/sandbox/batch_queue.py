"""The limit of batches: how many tokens may wait in them at one time, for each model.

Source: the service's guide on batches, "Rate limits": the tokens of a batch count until it has ended; one that would
go over the limit fails with ``token_limit_exceeded``, and may be sent again when others have ended.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.sandbox.errors import ApiError
from penstock.sandbox.exchange import prepare_inside
from penstock.sandbox.limits import ORGANIZATION

if TYPE_CHECKING:
    from penstock.sandbox.state import Sandbox

_TURN = 64
"""Lines that are counted before other requests get their turn."""


class BatchQueue:
    """The tokens of all batches that have not ended."""

    def __init__(self) -> None:
        self._tokens: dict[str, tuple[str, int]] = {}

    def enter(self, batch_id: str, model: str, tokens: int, limit: int) -> dict[str, Any] | None:
        """Count a batch in, or the error, as a batch shows it, when there is no room."""
        waiting = sum(count for name, count in self._tokens.values() if name == model)
        if waiting + tokens <= limit:
            self._tokens[batch_id] = (model, tokens)
            return None
        message = (
            f"Enqueued token limit reached for {model} in organization {ORGANIZATION}. Limit: {limit:,} enqueued "
            "tokens. Please try again once some in_progress batches have been completed."
        )
        return {"code": "token_limit_exceeded", "message": message, "param": None, "line": None}

    def leave(self, batch_id: str) -> None:
        """The batch has ended."""
        self._tokens.pop(batch_id, None)


async def count_tokens(sandbox: Sandbox, endpoint: str, path: Path, offsets: list[int]) -> int:
    """The tokens of all requests of a file, as the limits count them; those that will be refused have none."""
    total = 0
    with path.open("rb") as file:
        for number, offset in enumerate(offsets, 1):
            file.seek(offset)
            body = msgspec.json.encode(msgspec.json.decode(file.readline())["body"])
            try:
                total += prepare_inside(sandbox, "POST", endpoint, body).tokens
            except ApiError:
                continue
            if number % _TURN == 0:
                await asyncio.sleep(0)
    return total
