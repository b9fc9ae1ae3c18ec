"""``/models``: what a server offers.

Source: API reference, "Models".
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from penstock.api.channel import Call, Channel, segment
from penstock.api.objects import ApiObject, Deleted
from penstock.api.paging import pages


class Model(ApiObject):
    """A model; `created` in seconds since the epoch."""

    id: str
    created: int = 0
    owned_by: str = ""


class Models:
    """Finds models, and deletes fine-tuned ones."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def list(self) -> AsyncIterator[Model]:
        """All models that the key may see."""
        return pages(self._channel, Model, "/models")

    async def retrieve(self, model: str) -> Model:
        """One model."""
        return await self._channel.ask(Model, Call(method="GET", path=f"/models/{segment(model)}"))

    async def delete(self, model: str) -> Deleted:
        """Delete a fine-tuned model; only its organization's owners may."""
        return await self._channel.ask(Deleted, Call(method="DELETE", path=f"/models/{segment(model)}"))
