"""``/moderations``: what kinds of harm a text or an image may hold.

Source: API reference, "Create moderation".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from penstock.api.channel import Call, Channel, given
from penstock.api.errors import UnusableBody
from penstock.api.objects import ApiObject, facts_of, parsed
from penstock.api.wire import WireResponse


class ModerationResult(ApiObject):
    """The verdict on one input, by category: ``violence``, ``self-harm/intent``, and so on."""

    flagged: bool
    categories: dict[str, bool | None]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[str]] = msgspec.field(default_factory=dict)


class Moderation(ApiObject):
    """The verdicts in the order of the inputs."""

    results: list[ModerationResult]
    id: str = ""
    model: str = ""


class Moderations:
    """Asks for verdicts."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def create(
        self,
        *,
        input: str | Sequence[str] | Sequence[Mapping[str, Any]],  # noqa: A002  # the API's name
        model: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> Moderation:
        """The verdict on a text, on each of several, or on one list of text and image parts together.

        Raises:
            ApiError: no answer, or one with fewer verdicts than inputs.
        """
        body = given(extra_body, input=input, model=model)
        # Parts of several kinds are one input.
        asked = len(input) if not isinstance(input, str) and all(isinstance(one, str) for one in input) else 1
        call = Call(method="POST", path="/moderations", body=body)
        return await self._channel.call(call, lambda response: _verdicts(response, asked))


def _verdicts(response: WireResponse, asked: int) -> Moderation:
    answer = parsed(Moderation, response)
    if len(answer.results) != asked:
        raise UnusableBody(f"{len(answer.results)} verdicts came for {asked} inputs", facts_of(response))
    return answer
