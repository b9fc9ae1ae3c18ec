"""The whole API of one provider, resource by resource, for use from Python.

::

    provider = Provider("openai", "https://api.openai.com/v1", Secret("OPENAI_API_KEY"))
    async with Api(provider) as api:
        answer = await api.chat.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello!"}])
        print(answer.text)
        async for file in api.files.list(purpose="batch"):
            print(file.id, file.filename)

For a whole data set use a pipeline: it knows limits, budgets and resuming, and is many times faster.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from penstock.api.assistants import Assistants
from penstock.api.batches import Batches
from penstock.api.channel import Channel
from penstock.api.chat import Chat
from penstock.api.embeddings import EmbeddingsApi
from penstock.api.files import Files
from penstock.api.fine_tuning import FineTuning
from penstock.api.images import ImagesApi
from penstock.api.models import Models
from penstock.api.moderations import Moderations
from penstock.api.provider import Provider
from penstock.api.retrying import Retry
from penstock.api.speech import Speech
from penstock.api.transcriptions import Transcriptions

if TYPE_CHECKING:
    import httpx


class Api:
    """One provider's API. Use it in one event loop; leaving the context closes its connections.

    Calls fail with the classes of `penstock.api.errors`, which carry status, code, param, request id and attempts.
    They are tried again as the provider's `retry` says, but a call that creates something (a file, a job, an image,
    a batch, an assistant) only where nothing can have been created.

    Args:
        provider: where to; its `base_url` has the version, ``https://api.openai.com/v1``.
        transport: an httpx transport of your own, for example for tests.
        on_retry: told before each wait.

    Raises:
        InputError: the environment variable of the key is not set.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        on_retry: Callable[[Retry], None] | None = None,
    ) -> None:
        self._channel = Channel(provider, transport=transport, on_retry=on_retry)
        self.chat = Chat(self._channel)
        self.embeddings = EmbeddingsApi(self._channel)
        self.moderations = Moderations(self._channel)
        self.images = ImagesApi(self._channel)
        self.speech = Speech(self._channel)
        self.transcriptions = Transcriptions(self._channel)
        self.files = Files(self._channel)
        self.fine_tuning = FineTuning(self._channel)
        self.batches = Batches(self._channel)
        self.models = Models(self._channel)
        self.assistants = Assistants(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._channel.aclose()
