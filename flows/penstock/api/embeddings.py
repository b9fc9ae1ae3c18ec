"""``/embeddings``: vectors of texts. (A pipeline's `embed` step has its own, faster way.)

Source: API reference, "Create embeddings".
"""

from __future__ import annotations

import base64
import binascii
import math
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.api.channel import Call, Channel, given
from penstock.api.errors import Facts, UnusableBody
from penstock.api.objects import ApiObject, Usage, built, facts_of, fields_of
from penstock.api.wire import WireResponse

EmbeddingInput = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]


class Embedding(ApiObject):
    """One vector, for the input at `index`."""

    index: int
    embedding: list[float]


class Embeddings(ApiObject):
    """The vectors in the order of the inputs."""

    data: list[Embedding]
    model: str = ""
    usage: Usage | None = None


class EmbeddingsApi:
    """Asks for vectors."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def create(
        self,
        *,
        model: str,
        input: EmbeddingInput,  # noqa: A002  # the API's name
        dimensions: int | None = None,
        encoding_format: str | None = "base64",
        user: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> Embeddings:
        """A vector for a text, for token ids, or for each of several.

        Args:
            encoding_format: how vectors travel; either way they are lists of numbers here. None does not say.

        Raises:
            ApiError: no answer, or one whose vectors are fewer, of different sizes, all zero or no numbers.
        """
        body = given(
            extra_body,
            model=model,
            input=input,
            dimensions=dimensions,
            encoding_format=encoding_format,
            user=user,
        )
        asked = _count(body["input"])
        call = Call(method="POST", path="/embeddings", body=body)
        return await self._channel.call(call, lambda response: _vectors(response, asked, dimensions))


def _vectors(response: WireResponse, asked: int, dimensions: int | None) -> Embeddings:
    fields, facts = fields_of(response), facts_of(response)
    decoded = {**fields, "data": _decoded(fields.get("data"), facts)}
    answer = built(Embeddings, decoded, response.headers)
    _check(answer, asked, dimensions, facts)
    return answer


def _count(asked: Any) -> int:
    """How many vectors are owed: one for a text or a list of token ids, else one for each part."""
    if isinstance(asked, str):
        return 1
    return 1 if asked and all(isinstance(one, int) for one in asked) else len(asked)


def _decoded(data: object, facts: Facts) -> object:
    if not isinstance(data, list):
        raise UnusableBody("the answer has no list of vectors", facts)
    return [
        {**one, "embedding": _floats(one["embedding"], facts)} if isinstance(one, dict) and "embedding" in one else one
        for one in data
    ]


def _floats(value: object, facts: Facts) -> object:
    """A vector as numbers, whichever way it came: some servers do not send what was asked for."""
    if not isinstance(value, str):
        return value
    vector = array("f")
    try:
        vector.frombytes(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        raise UnusableBody("a vector is no base64 of 32-bit numbers", facts) from None
    if sys.byteorder == "big":
        vector.byteswap()
    return vector.tolist()


def _check(answer: Embeddings, asked: int, dimensions: int | None, facts: Facts) -> None:
    answer.data.sort(key=lambda one: one.index)
    if [one.index for one in answer.data] != list(range(asked)):
        raise UnusableBody(f"{len(answer.data)} vectors came for {asked} inputs, or their numbers are wrong", facts)
    sizes = {len(one.embedding) for one in answer.data}
    if len(sizes) > 1 or (dimensions is not None and sizes - {dimensions}):
        raise UnusableBody(f"vectors of {sorted(sizes)} numbers came, for {dimensions or 'one number of'}", facts)
    for one in answer.data:
        if not any(one.embedding) or not all(map(math.isfinite, one.embedding)):
            raise UnusableBody(f"vector {one.index} is empty, all zero, or has something that is no number", facts)
