"""``/images/generations``: images from descriptions.

Source: API reference, "Create image".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from penstock.api.channel import Call, Channel, given
from penstock.api.errors import UnusableBody
from penstock.api.objects import ApiObject, facts_of, parsed
from penstock.api.wire import WireResponse


class Image(ApiObject):
    """One image: where it can be fetched for an hour (`url`), or itself (`b64_json`)."""

    url: str | None = None
    b64_json: str | None = None
    revised_prompt: str | None = None

    def content(self) -> bytes | None:
        """The image file, None when only a `url` came.

        Raises:
            UnusableBody: what came is no base64.
        """
        try:
            return None if self.b64_json is None else base64.b64decode(self.b64_json, validate=True)
        except (binascii.Error, ValueError):
            raise UnusableBody("the image is no base64") from None


class Images(ApiObject):
    """The images of one request."""

    data: list[Image]
    created: int = 0


class ImagesApi:
    """Asks for images."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def generate(
        self,
        *,
        prompt: str,
        model: str | None = None,
        n: int | None = None,
        quality: str | None = None,
        response_format: str | None = None,
        size: str | None = None,
        style: str | None = None,
        user: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> Images:
        """Have images made. Each is paid for, so it is not tried again when it may have been done.

        Raises:
            ApiError: no answer, or one without images.
        """
        body = given(
            extra_body,
            prompt=prompt,
            model=model,
            n=n,
            quality=quality,
            response_format=response_format,
            size=size,
            style=style,
            user=user,
        )
        call = Call(method="POST", path="/images/generations", body=body, creates=True)
        return await self._channel.call(call, _images)


def _images(response: WireResponse) -> Images:
    answer = parsed(Images, response)
    if not any(image.url or image.b64_json for image in answer.data):
        raise UnusableBody("the answer has no image", facts_of(response))
    return answer
