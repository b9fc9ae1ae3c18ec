"""``/audio/speech``: spoken text, as a file.

Source: API reference, "Create speech".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.api.channel import Call, Channel, given
from penstock.api.download import check_target, save
from penstock.api.errors import UnusableBody
from penstock.api.objects import fields_of
from penstock.api.upload import Progress
from penstock.api.wire import WireResponse


class Speech:
    """Has texts spoken."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def create(
        self,
        *,
        model: str,
        input: str,  # noqa: A002  # the API's name
        voice: str,
        path: str | Path,
        response_format: str | None = None,
        speed: float | None = None,
        instructions: str | None = None,
        progress: Progress | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write the spoken text to `path`, as it comes; the file is there whole or not at all.

        Args:
            response_format: mp3 (the service's default), opus, aac, flac, wav or pcm.
            progress: told how many bytes have come.

        Raises:
            ApiError: no answer, or it ended early.
            InputError: `path` cannot be written.
        """
        target = check_target(path)
        body = given(
            extra_body,
            model=model,
            input=input,
            voice=voice,
            response_format=response_format,
            speed=speed,
            instructions=instructions,
        )
        call = Call(method="POST", path="/audio/speech", body=body, headers={"accept": "*/*"})
        async with self._channel.opened(call) as incoming:
            if incoming.kind == "application/json":
                fields_of(WireResponse(incoming.status, incoming.headers, await incoming.read()))
                raise UnusableBody("JSON came instead of sound", incoming.facts())
            await save(incoming, target, progress)
        return target
