"""``/chat/completions``: a model's answer to a conversation, whole or streamed.

Source: API reference, "Create chat completion" and "Streaming".
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from penstock.api.bodies import first_bytes
from penstock.api.channel import Call, Channel, Incoming, given, refuse_web_page
from penstock.api.chat_objects import ChatChunk, ChatCompletion
from penstock.api.chat_parameters import ChatParameters
from penstock.api.chat_stream import ChatAssembler
from penstock.api.errors import UnusableBody
from penstock.api.objects import facts_of, fields_of, parsed
from penstock.api.sse import SseParser
from penstock.api.wire import WireResponse

_PATH = "/chat/completions"

Messages = Sequence[Mapping[str, Any]]


class Chat:
    """Asks for chat completions."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def create(
        self,
        *,
        model: str,
        messages: Messages,
        extra_body: Mapping[str, Any] | None = None,
        **parameters: Unpack[ChatParameters],
    ) -> ChatCompletion:
        """Ask once; arguments that are None are not sent.

        Args:
            extra_body: further fields, also those that this method does not know.
            parameters: see `ChatParameters`.

        Raises:
            ApiError: no answer, after the retries of the provider.
        """
        _check_names(parameters)
        body = given(extra_body, model=model, messages=messages, **parameters)
        return await self._channel.call(Call(method="POST", path=_PATH, body=body), _completion)

    def stream(
        self,
        *,
        model: str,
        messages: Messages,
        include_usage: bool = True,
        extra_body: Mapping[str, Any] | None = None,
        **parameters: Unpack[ChatParameters],
    ) -> ChatStream:
        """Ask once, and get the answer as it is written; the arguments are those of `create`.

        Nothing is sent before the stream is iterated over::

            async with api.chat.stream(model="gpt-4o-mini", messages=messages) as stream:
                async for chunk in stream:
                    print(chunk.text, end="")
            print(stream.answer.usage)

        Args:
            include_usage: ask for the tokens, which come in a last chunk without choices. A few servers refuse it.
        """
        _check_names(parameters)
        options = {"include_usage": True} if include_usage else None
        body = given(extra_body, model=model, messages=messages, **parameters, stream_options=options)
        call = Call(method="POST", path=_PATH, body=body | {"stream": True}, headers={"accept": "text/event-stream"})
        return ChatStream(self._channel, call, choices=parameters.get("n") or 1)


class ChatStream:
    """A streamed answer: iterate over it once for its chunks; then `answer` is the whole.

    As a context manager it closes the connection when the loop is left early.
    """

    def __init__(self, channel: Channel, call: Call, *, choices: int) -> None:
        self._channel = channel
        self._call = call
        self._choices = choices
        self._incoming: Incoming | None = None
        self._chunks = self._read()
        self._answer: ChatCompletion | None = None

    @property
    def answer(self) -> ChatCompletion:
        """The whole answer, as if it had not been streamed.

        Raises:
            RuntimeError: the stream was not read to its end.
        """
        if self._answer is None:
            raise RuntimeError("the stream has not been read to its end, so there is no whole answer")
        return self._answer

    def __aiter__(self) -> AsyncIterator[ChatChunk]:
        """The chunks as they come.

        Raises:
            ApiError: the server refuses, an event is an error, or the stream ends before the answer does.
        """
        return self._chunks

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def read(self) -> ChatCompletion:
        """Read to the end and return the whole answer."""
        async for _ in self._chunks:
            pass
        return self.answer

    async def aclose(self) -> None:
        """Close the connection; does nothing once the stream has ended."""
        await self._chunks.aclose()
        await self._close()

    async def _read(self) -> AsyncGenerator[ChatChunk, None]:
        self._incoming = incoming = await self._channel.begin(self._call)
        try:
            parser, assembler = SseParser(), ChatAssembler(incoming.headers, choices=self._choices)
            async for piece in _pieces(incoming):
                for event in parser.close() if piece is None else parser.feed(piece):
                    if (chunk := assembler.take(event)) is not None:
                        yield chunk
                if assembler.done:
                    break
            self._answer = assembler.finish()
        finally:
            await self._close()

    async def _close(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            await incoming.aclose()


def _check_names(parameters: ChatParameters) -> None:
    """TypeError for a name that Python would refuse too, were all of them written out."""
    if unknown := sorted(parameters.keys() - ChatParameters.__annotations__.keys()):
        raise TypeError(f"chat completions have no argument {unknown[0]!r}; extra_body takes further fields")


def _completion(response: WireResponse) -> ChatCompletion:
    answer = parsed(ChatCompletion, response)
    if not answer.choices:
        raise UnusableBody("the answer has no choices", facts_of(response))
    return answer


async def _pieces(incoming: Incoming) -> AsyncIterator[bytes | None]:
    """The bytes of an event stream, and None at its end."""
    if incoming.kind in {"application/json", "application/problem+json"}:
        whole = await incoming.read()
        fields_of(WireResponse(incoming.status, incoming.headers, whole))
        raise UnusableBody(f"the server does not stream: {first_bytes(whole)}", incoming.facts())
    first = True
    async for chunk in incoming.chunks():
        if first:
            refuse_web_page(incoming, chunk)
            first = False
        yield chunk
    yield None
