"""``/assistants``: models with instructions and tools.

OpenAI ended this API on 2026-08-26 and answers 404 since; other servers and the sandbox still have it.

Source: API reference, "Assistants".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from penstock.api.channel import Call, Channel, given
from penstock.api.errors import NotFound
from penstock.api.objects import ApiObject
from penstock.api.paging import pages

_PATH = "/assistants"
_BETA = {"openai-beta": "assistants=v2"}
ENDED_ON = "2026-08-26"
"""Since when OpenAI answers 404."""


class Assistant(ApiObject):
    """An assistant; `created_at` in seconds since the epoch."""

    id: str
    model: str = ""
    created_at: int = 0
    name: str | None = None
    description: str | None = None
    instructions: str | None = None
    tools: list[dict[str, Any]] = msgspec.field(default_factory=list)
    metadata: dict[str, str] | None = None
    temperature: float | None = None
    top_p: float | None = None


class Assistants:
    """Makes assistants and lists them."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def create(
        self,
        *,
        model: str,
        name: str | None = None,
        description: str | None = None,
        instructions: str | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_resources: Mapping[str, Any] | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        response_format: str | Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> Assistant:
        """Make an assistant; not tried again when it may have been made.

        Raises:
            NotFound: the server has no such API; OpenAI has ended it.
            ApiError: no answer.
        """
        body = given(
            extra_body,
            model=model,
            name=name,
            description=description,
            instructions=instructions,
            tools=tools,
            tool_resources=tool_resources,
            temperature=temperature,
            top_p=top_p,
            response_format=response_format,
            metadata=metadata,
        )
        call = Call(method="POST", path=_PATH, body=body, headers=_BETA, creates=True)
        with _told_when_ended():
            return await self._channel.ask(Assistant, call)

    async def list(
        self,
        *,
        limit: int | None = None,
        order: str | None = None,
        after: str | None = None,
        before: str | None = None,
    ) -> AsyncIterator[Assistant]:
        """All assistants; `limit` is the size of a page, `order` is asc or desc.

        Raises:
            NotFound: the server has no such API; OpenAI has ended it.
        """
        params = {"limit": limit, "order": order, "after": after, "before": before}
        with _told_when_ended():
            async for assistant in pages(self._channel, Assistant, _PATH, params=params, headers=_BETA):
                yield assistant


@contextmanager
def _told_when_ended() -> Iterator[None]:
    try:
        yield
    except NotFound as error:
        if error.of_model:
            raise
        text = (
            f"the server has no Assistants API: OpenAI ended it on {ENDED_ON} and answers 404 since. "
            f"Use the Responses API or chat completions there. ({error.message})"
        )
        raise NotFound(text, error.facts, error.attempts) from None
