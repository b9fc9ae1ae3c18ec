"""The client of every resource, against a server that says anything; test_api_sandbox.py asks the sandbox."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from struct import pack
from typing import Any, TypeVar

import pytest

from penstock.api import Api, errors
from penstock.api.fine_tuning import FineTuningJob
from penstock.api.provider import Provider, RetryPolicy, Timeouts
from penstock.api.retrying import Retry
from penstock.errors import InputError
from penstock.secrets import Secret
from raw_http import RawServer, Reply, Seen, error, reply

T = TypeVar("T")
KEY = "sk-resource-0123456789"
MESSAGES = [{"role": "user", "content": "Hello!"}]
CHAT = {"id": "c", "model": "m", "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
FILE = {"id": "file-1", "object": "file", "bytes": 3, "created_at": 5, "filename": "a.jsonl", "purpose": "batch"}
JOB = {"id": "ftjob-1", "status": "queued", "model": "m", "training_file": "file-1", "error": {}, "hyperparameters": {}}
BATCH = {"id": "batch_1", "status": "validating", "endpoint": "/v1/embeddings", "input_file_id": "file-1"}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOURCE_TEST_KEY", KEY)


class Asked:
    """A server, and what was told about retries."""

    def __init__(self, answer: Callable[[Seen], Reply], **provider: Any) -> None:
        self.server = RawServer(answer)
        self.retries: list[Retry] = []
        self.provider = {"retry": RetryPolicy(3, 0.01), "timeouts": Timeouts(2, 1, 3), **provider}

    def __call__(self, use: Callable[[Api], Awaitable[T]]) -> T:
        async def main() -> T:
            provider = Provider("mine", self.server.url + "/v1", Secret("RESOURCE_TEST_KEY"), **self.provider)
            async with Api(provider, on_retry=self.retries.append) as api:
                return await use(api)

        with self.server:
            return asyncio.run(main())

    @property
    def seen(self) -> Seen:
        (only,) = self.server.seen
        return only


def always(status: int = 200, body: object = b"", **headers: str) -> Callable[[Seen], Reply]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: reply(status, body, named)


def in_turn(*replies: Reply) -> Callable[[Seen], Reply]:
    return lambda seen: replies[min(seen.number, len(replies) - 1)]


async def listed(pages: Any) -> list[Any]:
    return [one async for one in pages]


# ---- requests and answers


def test_arguments_that_are_none_are_not_sent_and_extra_fields_are() -> None:
    asked = Asked(always(body=CHAT, x_request_id="req_1"))
    answer = asked(
        lambda api: api.chat.create(model="m", messages=MESSAGES, n=1, extra_body={"think": True, "stop": None})
    )
    assert asked.seen.json == {"model": "m", "messages": MESSAGES, "n": 1, "think": True, "stop": None}
    assert (asked.seen.method, asked.seen.path) == ("POST", "/v1/chat/completions")
    assert asked.seen.headers["authorization"] == f"Bearer {KEY}"
    assert asked.seen.headers["content-type"] == "application/json"
    assert (answer.text, answer.request_id) == ("Hi", "req_1")


def test_unknown_fields_are_kept_and_missing_ones_are_no_error() -> None:
    asked = Asked(always(body={"id": "file-1", "shiny": {"new": [1]}, "bytes": None, "purpose": "x"} | {"bytes": 7}))
    found = asked(lambda api: api.files.retrieve("file-1"))
    assert (found.id, found.bytes, found.status) == ("file-1", 7, None)
    assert found.raw["shiny"] == {"new": [1]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>busy", "a web page came"),
        (b"\xef\xbb\xbf{}", "no JSON came"),
        (b'{"id": "fil', "no JSON came"),
        (b"[" * 20_000, "no JSON came"),
        (b"", "an empty body"),
        ([1], "no JSON object came"),
        ({"id": 7}, "not what was asked for"),
        ({"bytes": 7}, "missing required field `id`"),
    ],
)
def test_a_success_that_is_no_answer_is_unusable_and_asked_again(body: object, words: str) -> None:
    asked = Asked(always(body=body, x_request_id="req_9"))
    with pytest.raises(errors.UnusableBody, match=words) as got:
        asked(lambda api: api.files.retrieve("file-1"))
    assert got.value.request_id == "req_9"


def test_an_error_object_inside_a_success_is_that_error() -> None:
    asked = Asked(always(body={"error": {"message": "no money", "code": "insufficient_quota"}}))
    with pytest.raises(errors.QuotaExceeded, match="no money"):
        asked(lambda api: api.chat.create(model="m", messages=MESSAGES))


def test_an_error_says_everything_that_the_server_said_and_no_key() -> None:
    asked = Asked(lambda _: error(400, "too_long", f"bad {KEY}"))
    with pytest.raises(errors.BadRequest) as got:
        asked(lambda api: api.chat.create(model="m", messages=MESSAGES))
    failure = got.value
    assert (failure.status, failure.code, failure.type) == (400, "too_long", "invalid_request_error")
    assert (failure.request_id, failure.attempts) == ("req_1", 1)
    assert KEY not in str(failure)


def test_a_value_that_is_no_json_is_an_error_before_anything_is_sent() -> None:
    asked = Asked(always(body=CHAT))
    with pytest.raises(InputError, match="cannot be sent as JSON"):
        asked(lambda api: api.chat.create(model="m", messages=MESSAGES, extra_body={"x": object()}))
    assert not asked.server.seen


# ---- retries


@pytest.mark.parametrize(
    "failed", [error(500), error(503), error(429), error(408), Reply(then="close"), reply(200, b"<html>")]
)
def test_what_creates_nothing_is_tried_again(failed: Reply) -> None:
    asked = Asked(in_turn(failed, reply(200, FILE)))
    assert asked(lambda api: api.files.retrieve("file-1")).id == "file-1"
    assert len(asked.server.seen) == 2
    (told,) = asked.retries
    assert told.attempt == 1
    assert told.wait <= 0.01


def test_the_last_error_says_how_often_it_was_tried() -> None:
    asked = Asked(lambda _: error(500))
    with pytest.raises(errors.ServerFailed) as got:
        asked(lambda api: api.files.retrieve("file-1"))
    assert got.value.attempts == len(asked.server.seen) == 3


def test_the_server_says_how_long_to_wait_and_whether_at_all() -> None:
    for most, waited in {1.0: 0.03, 0.01: 0.01}.items():
        told = in_turn(error(429, headers={"retry-after-ms": "30"}), reply(200, FILE))
        asked = Asked(told, retry=RetryPolicy(2, most))
        asked(lambda api: api.files.retrieve("file-1"))
        assert [retry.wait for retry in asked.retries] == [waited]
    asked = Asked(lambda _: error(500, headers={"x-should-retry": "false"}))
    with pytest.raises(errors.ServerFailed) as got:
        asked(lambda api: api.files.retrieve("file-1"))
    assert got.value.attempts == 1


@pytest.mark.parametrize(
    "failed",
    [
        error(400),
        error(401),
        error(403),
        error(404),
        error(429, "insufficient_quota"),
        error(429, "insufficient_quota", headers={"x-should-retry": "true"}),
    ],
)
def test_what_asking_again_cannot_mend_is_asked_once(failed: Reply) -> None:
    asked = Asked(lambda _: failed)
    with pytest.raises(errors.StatusFailed):
        asked(lambda api: api.files.retrieve("file-1"))
    assert len(asked.server.seen) == 1


CREATING: dict[str, Callable[[Api, Path], Awaitable[Any]]] = {
    "image": lambda api, _: api.images.generate(prompt="a cat"),
    "file": lambda api, path: api.files.upload(path, "batch"),
    "job": lambda api, _: api.fine_tuning.create(training_file="file-1", model="m"),
    "batch": lambda api, _: api.batches.create(input_file_id="file-1", endpoint="/v1/embeddings"),
    "assistant": lambda api, _: api.assistants.create(model="m"),
}


@pytest.mark.parametrize("what", CREATING)
@pytest.mark.parametrize("failed", [error(500), error(503), Reply(then="close"), Reply(then="hold")])
def test_what_creates_is_not_sent_twice_when_it_may_have_arrived(what: str, failed: Reply, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n")
    asked = Asked(lambda _: failed, timeouts=Timeouts(1, 0.2, 0.5))
    with pytest.raises(errors.ApiError):
        asked(lambda api: CREATING[what](api, path))
    assert len(asked.server.seen) == 1


@pytest.mark.parametrize("what", CREATING)
def test_what_creates_is_sent_again_after_a_rate_limit(what: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n")
    created = {"id": "x", "status": "queued", "data": [{"url": "http://x"}]}
    asked = Asked(in_turn(error(429, "rate_limit_exceeded"), reply(200, created)))
    asked(lambda api: CREATING[what](api, path))
    first, second = asked.server.seen
    assert len(first.body) == len(second.body)


def test_what_creates_is_tried_again_where_there_was_no_connection() -> None:
    retries: list[Retry] = []

    async def main() -> None:
        provider = Provider("mine", "http://127.0.0.1:1/v1", retry=RetryPolicy(3, 0.01))
        async with Api(provider, on_retry=retries.append) as api:
            with pytest.raises(errors.ConnectionFailed, match="no connection to") as got:
                await api.images.generate(prompt="a cat")
        assert got.value.attempts == 3

    asyncio.run(main())
    assert len(retries) == 2


def test_silence_ends_by_a_deadline() -> None:
    asked = Asked(lambda _: Reply(then="hold"), timeouts=Timeouts(1, 5, 0.2), retry=RetryPolicy(1))
    with pytest.raises(errors.TimedOut):
        asked(lambda api: api.files.retrieve("file-1"))


# ---- chat


def streamed(*values: Any, end: str = "data: [DONE]\n\n", kind: str = "text/event-stream") -> Reply:
    body = ("".join(f"data: {json.dumps(value)}\n\n" for value in values) + end).encode()
    return reply(200, body, {"Content-Type": kind, "x-request-id": "req_s"})


def piece(text: str = "", finish: str | None = None) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


async def read(api: Api) -> tuple[str, Any]:
    async with api.chat.stream(model="m", messages=MESSAGES) as stream:
        text = "".join([chunk.text async for chunk in stream])
    return text, stream.answer


def test_a_streamed_answer_comes_in_chunks_and_as_a_whole() -> None:
    asked = Asked(always_reply(streamed(piece("Hel"), piece("lo"), piece(finish="stop"))))
    text, answer = asked(read)
    assert text == answer.text == "Hello"
    assert asked.seen.json["stream"] is True
    assert asked.seen.json["stream_options"] == {"include_usage": True}
    assert asked.seen.headers["accept"] == "text/event-stream"


def always_reply(answer: Reply) -> Callable[[Seen], Reply]:
    return lambda _: answer


def test_a_stream_is_begun_again_but_never_in_its_middle() -> None:
    whole = streamed(piece("Hello", "stop"))
    asked = Asked(in_turn(error(503), whole))
    assert asked(read)[0] == "Hello"
    cut = Reply(streamed(piece("Hel"), piece("lo", "stop")).data[:-60], then="close")
    asked = Asked(in_turn(cut, whole))
    with pytest.raises(errors.ConnectionFailed):
        asked(read)
    assert len(asked.server.seen) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (streamed(piece("short"), end=""), errors.ConnectionFailed),
        (streamed(piece("short"), {"error": {"message": "x", "type": "server_error"}}), errors.ServerFailed),
        (reply(200, CHAT), errors.UnusableBody),
        (reply(200, {"error": {"message": "x", "type": "invalid_request_error"}}), errors.BadRequest),
        (reply(200, b"<!doctype html>"), errors.UnusableBody),
        (error(401, "invalid_api_key"), errors.Unauthorized),
        (Reply(b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\n\r\n: still\n\n", "hold"), errors.TimedOut),
    ],
)
def test_a_stream_that_is_no_whole_answer_is_an_error(answer: Reply, kind: type[errors.ApiError]) -> None:
    asked = Asked(lambda _: answer, timeouts=Timeouts(1, 0.3, 1))
    with pytest.raises(kind):
        asked(read)


async def closed(writer: asyncio.StreamWriter) -> None:
    """A transport that the collector has to close is a warning in whatever test runs then."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def test_a_stream_that_only_keeps_alive_ends_by_the_deadline_of_the_whole() -> None:
    """Comments are no silence, so only the deadline for the whole request ends them."""

    async def main() -> None:
        over = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\n\r\n")
            while not writer.is_closing():
                writer.write(b": keep-alive\n\n")
                await asyncio.sleep(0.05)
            await closed(writer)
            over.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        provider = Provider("mine", f"http://127.0.0.1:{port}", timeouts=Timeouts(1, 0.5, 0.7))
        async with server:
            async with Api(provider) as api:
                with pytest.raises(errors.TimedOut, match="not whole in time"):
                    await api.chat.stream(model="m", messages=MESSAGES).read()
            await asyncio.wait_for(over.wait(), 20)

    asyncio.run(main())


def test_a_stream_left_early_closes_its_connection_and_has_no_answer() -> None:
    async def first(api: Api) -> None:
        async with api.chat.stream(model="m", messages=MESSAGES) as stream:
            async for chunk in stream:
                assert chunk.text == "a"
                break
        with pytest.raises(RuntimeError, match="not been read to its end"):
            _ = stream.answer

    Asked(always_reply(streamed(piece("a"), piece("b", "stop"))))(first)


# ---- vectors, verdicts, images


def vectors(*values: object) -> Callable[[Seen], Reply]:
    return always(body={"data": [{"index": at, "embedding": one} for at, one in enumerate(values)], "model": "m"})


def test_vectors_are_numbers_in_the_order_of_the_inputs_however_they_travel() -> None:
    packed = base64.b64encode(pack("<2f", 0.5, -1.0)).decode()
    body = {"data": [{"index": 1, "embedding": [1, 2]}, {"index": 0, "embedding": packed}], "model": "m"}
    asked = Asked(always(body=body))
    answer = asked(lambda api: api.embeddings.create(model="m", input=["a", "b"], dimensions=2))
    assert [one.embedding for one in answer.data] == [[0.5, -1.0], [1.0, 2.0]]
    assert asked.seen.json["encoding_format"] == "base64"


@pytest.mark.parametrize("given", ["text", [1, 2, 3]])
def test_one_text_or_its_token_ids_are_one_input(given: Any) -> None:
    assert len(Asked(vectors([1.0]))(lambda api: api.embeddings.create(model="m", input=given)).data) == 1


@pytest.mark.parametrize(
    "values", [[[1.0]], [[1.0], [1.0, 2.0]], [[0.0], [1.0]], [[[1.0]], [[2.0]]], ["###", [1.0]], [[], []]]
)
def test_vectors_that_are_not_what_was_asked_for_are_unusable(values: list[Any]) -> None:
    with pytest.raises(errors.UnusableBody):
        Asked(vectors(*values))(lambda api: api.embeddings.create(model="m", input=["a", "b"]))


VERDICT = {"flagged": True, "categories": {"violence": True}, "category_scores": {"violence": 0.9}}


def test_verdicts_come_in_the_order_of_the_inputs() -> None:
    asked = Asked(always(body={"id": "modr-1", "model": "m", "results": [VERDICT, VERDICT]}))
    answer = asked(lambda api: api.moderations.create(input=["a", "b"]))
    assert [one.flagged for one in answer.results] == [True, True]
    assert asked.seen.json == {"input": ["a", "b"]}
    with pytest.raises(errors.UnusableBody, match="2 verdicts came for 1 inputs"):
        Asked(always(body={"results": [VERDICT, VERDICT]}))(
            lambda api: api.moderations.create(input=[{"type": "text", "text": "a"}, {"type": "image_url"}])
        )


def test_an_image_comes_as_an_address_or_as_itself() -> None:
    body = {"created": 5, "data": [{"url": "http://x/1.png"}, {"b64_json": base64.b64encode(b"png").decode()}]}
    answer = Asked(always(body=body))(lambda api: api.images.generate(prompt="a cat", n=2, style=None))
    assert [one.content() for one in answer.data] == [None, b"png"]
    with pytest.raises(errors.UnusableBody, match="no image"):
        Asked(always(body={"data": [{}]}))(lambda api: api.images.generate(prompt="a cat"))


# ---- files in and out


def speak(path: Path) -> Callable[[Api], Awaitable[Path]]:
    return lambda api: api.speech.create(model="tts-1", input="Hello", voice="alloy", path=path)


def test_speech_becomes_a_file(tmp_path: Path) -> None:
    sound = bytes(range(256)) * 1000
    asked = Asked(always(body=sound, Content_Type="audio/mpeg"))
    path = asked(speak(tmp_path / "a.mp3"))
    assert path.read_bytes() == sound
    assert asked.seen.json == {"model": "tts-1", "input": "Hello", "voice": "alloy"}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Reply(b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nabc", "close"), errors.ConnectionFailed),
        (Reply(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "close"), errors.ConnectionFailed),
        (reply(200, b""), errors.UnusableBody),
        (reply(200, b"<html>"), errors.UnusableBody),
        (reply(200, {"ok": True}), errors.UnusableBody),
        (error(400, "bad_voice"), errors.BadRequest),
    ],
)
def test_a_file_is_there_whole_or_as_it_was_before(answer: Reply, kind: type[errors.ApiError], tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_text("before")
    with pytest.raises(kind):
        Asked(lambda _: answer)(speak(path))
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("a.mp3", "before")]


def test_a_file_that_cannot_be_written_is_an_error_before_anything_is_paid_for(tmp_path: Path) -> None:
    asked = Asked(always(body=b"abc"))
    with pytest.raises(InputError, match="does not exist"):
        asked(speak(tmp_path / "no" / "a.mp3"))
    with pytest.raises(InputError, match="is a folder"):
        asked(speak(tmp_path))
    assert not asked.server.seen


def parts(seen: Seen) -> dict[str, bytes]:
    """The form's fields by name, and the file's content."""
    boundary = seen.headers["content-type"].partition("boundary=")[2].encode()
    found = {}
    for part in seen.body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]+)"', head)
        assert name
        found[name[1].decode()] = content.removesuffix(b"\r\n")
    return found


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "talk.wav"
    path.write_bytes(b"RIFF\0\xff")
    return path


@pytest.mark.parametrize(
    ("kind", "answer", "text"),
    [
        (None, reply(200, {"text": "hello"}), "hello"),
        ("json", reply(200, {"text": "hello"}), "hello"),
        (
            "verbose_json",
            reply(200, {"text": "hello", "language": "english", "duration": 1.5, "segments": []}),
            "hello",
        ),
        ("text", reply(200, b"hello\n", {"Content-Type": "text/plain"}), "hello\n"),
        ("text", reply(200, {"text": "hello"}), "hello"),
        ("srt", reply(200, b"1\n00:00:00,000 --> 00:00:01,000\nhi\n"), "1\n00:00:00,000 --> 00:00:01,000\nhi\n"),
        ("vtt", reply(200, "WEBVTT\n\nh\u00e9".encode()), "WEBVTT\n\nh\u00e9"),
    ],
)
def test_a_recording_is_transcribed_in_each_format(kind: str | None, answer: Reply, text: str, recording: Path) -> None:
    asked = Asked(lambda _: answer)
    got = asked(lambda api: api.transcriptions.create(recording, model="whisper-1", response_format=kind))
    assert got.text == text
    sent = parts(asked.seen)
    assert sent.pop("file") == recording.read_bytes()
    assert sent == {"model": b"whisper-1"} | ({"response_format": kind.encode()} if kind else {})


def test_times_of_words_are_asked_for_and_given(recording: Path) -> None:
    body = {"text": "hi", "words": [{"word": "hi", "start": 0, "end": 0.5}], "segments": None}
    asked = Asked(always(body=body))
    got = asked(
        lambda api: api.transcriptions.create(
            recording,
            model="whisper-1",
            response_format="verbose_json",
            temperature=0.2,
            timestamp_granularities=["word", "segment"],
        )
    )
    assert got.words is not None
    assert [(word.word, word.start, word.end) for word in got.words] == [("hi", 0.0, 0.5)]
    assert asked.seen.body.count(b'name="timestamp_granularities[]"') == 2


def test_a_wrong_format_or_file_is_an_error_before_anything_is_sent(recording: Path, tmp_path: Path) -> None:
    asked = Asked(always(body={"text": "hello"}))
    with pytest.raises(InputError, match="one of json, text"):
        asked(lambda api: api.transcriptions.create(recording, model="m", response_format="docx"))
    (tmp_path / "empty").touch()
    with (tmp_path / "large").open("wb") as large:
        large.truncate(25 * 2**20 + 1)
    for name, words in {"none": "cannot be read", "empty": "is empty", ".": "is no file", "large": "at most"}.items():
        path = tmp_path / name
        with pytest.raises(InputError, match=words):
            asked(lambda api, path=path: api.transcriptions.create(path, model="m"))
    assert not asked.server.seen


def test_a_file_is_uploaded_with_its_purpose_and_tells_how_far_it_is(tmp_path: Path) -> None:
    path = tmp_path / 'na"me \u00e9.jsonl'
    path.write_bytes(b"0123456789" * 30_000)
    told: list[tuple[int, int | None]] = []
    asked = Asked(always(body=FILE))
    got = asked(
        lambda api: api.files.upload(
            path,
            "batch",
            expires_after={"anchor": "created_at", "seconds": 3600},
            progress=lambda sent, size: told.append((sent, size)),
        )
    )
    assert got.id == "file-1"
    sent = parts(asked.seen)
    assert sent.pop("file") == path.read_bytes()
    expiry = {"expires_after[anchor]": b"created_at", "expires_after[seconds]": b"3600"}
    assert sent == {"purpose": b"batch", **expiry}
    assert told[-1] == (300_000, 300_000)
    assert [sent for sent, _ in told] == sorted(sent for sent, _ in told)
    assert asked.seen.headers["content-length"] == str(len(asked.seen.body))


def test_a_large_file_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    """400 MB go to a server that only counts them, both ways."""
    size = 400_000_000
    path = tmp_path / "large.jsonl"
    with path.open("wb") as file:
        file.truncate(size)

    async def main() -> tuple[int, int]:
        received = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal received
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"POST"):
                length = re.search(rb"(?i)content-length: (\d+)", head)
                assert length
                while received < int(length[1]):
                    received += len(await reader.read(2**20))
                writer.write(reply(200, FILE).data)
            else:
                writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size)
                for _ in range(size // 10**6):
                    writer.write(bytes(10**6))
                    await writer.drain()
            await writer.drain()
            await closed(writer)
            closings.release()

        closings = asyncio.Semaphore(0)
        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**18)
        port = server.sockets[0].getsockname()[1]
        async with server, Api(Provider("mine", f"http://127.0.0.1:{port}", timeouts=Timeouts(total=1))) as api:
            tracemalloc.start()
            await api.files.upload(path, "batch")
            await api.files.content("file-1", tmp_path / "back")
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            for _ in ("upload", "content"):
                await asyncio.wait_for(closings.acquire(), 20)
        return received, peak

    received, peak = asyncio.run(main())
    assert received > size
    assert (tmp_path / "back").stat().st_size == size
    assert peak < 40_000_000


def test_a_file_that_becomes_shorter_on_the_way_is_an_error_and_not_a_short_upload(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(bytes(1_000_000))

    def cut(sent: int, size: int | None) -> None:
        path.write_bytes(b"x")

    with pytest.raises(InputError, match="became shorter"):
        Asked(always(body=FILE))(lambda api: api.files.upload(path, "batch", progress=cut))


# ---- lists


def listing(objects: list[dict[str, Any]], size: int) -> Callable[[Seen], Reply]:
    """Pages as the service gives them out."""

    def answer(seen: Seen) -> Reply:
        after = re.search(r"after=([^&]+)", seen.path)
        begin = next((at for at, one in enumerate(objects, 1) if after and one["id"] == after[1]), 0)
        found = objects[begin : begin + size]
        return reply(200, {"object": "list", "data": found, "has_more": begin + size < len(objects)})

    return answer


def test_a_list_goes_on_over_its_pages() -> None:
    asked = Asked(listing([FILE | {"id": f"file-{at}"} for at in range(7)], 3))
    found = asked(lambda api: listed(api.files.list(purpose="batch", limit=3)))
    assert [one.id for one in found] == [f"file-{at}" for at in range(7)]
    assert [seen.path for seen in asked.server.seen] == [
        "/v1/files?purpose=batch&limit=3",
        "/v1/files?purpose=batch&limit=3&after=file-2",
        "/v1/files?purpose=batch&limit=3&after=file-5",
    ]


def test_a_list_that_says_nothing_of_more_is_all_there_is() -> None:
    asked = Asked(always(body={"data": [FILE], "object": "list"}))
    assert len(asked(lambda api: listed(api.files.list()))) == 1


@pytest.mark.parametrize(
    "body", [{"data": [], "has_more": True}, {"data": [FILE], "has_more": True}, {"files": []}, {"data": [7]}]
)
def test_a_list_that_never_ends_or_is_none_is_an_error(body: object) -> None:
    with pytest.raises(errors.UnusableBody):
        Asked(always(body=body))(lambda api: listed(api.files.list()))


# ---- the calls, one by one

CALLS: dict[str, tuple[Callable[[Api], Awaitable[Any]], dict[str, Any], str, object]] = {
    "retrieve file": (lambda api: api.files.retrieve("file-1"), FILE, "GET /v1/files/file-1", None),
    "delete file": (
        lambda api: api.files.delete("file-1"),
        {"id": "file-1", "deleted": True},
        "DELETE /v1/files/file-1",
        None,
    ),
    "create job": (
        lambda api: api.fine_tuning.create(
            training_file="file-1", model="m", suffix="s", hyperparameters={"n_epochs": 3}, metadata={"a": "b"}
        ),
        JOB,
        "POST /v1/fine_tuning/jobs",
        {
            "training_file": "file-1",
            "model": "m",
            "suffix": "s",
            "hyperparameters": {"n_epochs": 3},
            "metadata": {"a": "b"},
        },
    ),
    "retrieve job": (lambda api: api.fine_tuning.retrieve("ftjob-1"), JOB, "GET /v1/fine_tuning/jobs/ftjob-1", None),
    "cancel job": (
        lambda api: api.fine_tuning.cancel("ftjob-1"),
        JOB,
        "POST /v1/fine_tuning/jobs/ftjob-1/cancel",
        None,
    ),
    "list jobs": (
        lambda api: listed(api.fine_tuning.list(limit=2)),
        {"data": [JOB]},
        "GET /v1/fine_tuning/jobs?limit=2",
        None,
    ),
    "events": (
        lambda api: listed(api.fine_tuning.events("ftjob-1")),
        {"data": [{"id": "e", "data": None}]},
        "GET /v1/fine_tuning/jobs/ftjob-1/events",
        None,
    ),
    "create batch": (
        lambda api: api.batches.create(input_file_id="file-1", endpoint="/v1/embeddings"),
        BATCH,
        "POST /v1/batches",
        {"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "24h"},
    ),
    "retrieve batch": (lambda api: api.batches.retrieve("batch_1"), BATCH, "GET /v1/batches/batch_1", None),
    "cancel batch": (lambda api: api.batches.cancel("batch_1"), BATCH, "POST /v1/batches/batch_1/cancel", None),
    "list batches": (lambda api: listed(api.batches.list()), {"data": [BATCH]}, "GET /v1/batches", None),
    "list models": (lambda api: listed(api.models.list()), {"data": [{"id": "m"}]}, "GET /v1/models", None),
    "retrieve model": (
        lambda api: api.models.retrieve("ft:m:org:s/x:1"),
        {"id": "m"},
        "GET /v1/models/ft:m:org:s%2Fx:1",
        None,
    ),
    "delete model": (
        lambda api: api.models.delete("ft:m:org::1"),
        {"id": "m", "deleted": True},
        "DELETE /v1/models/ft:m:org::1",
        None,
    ),
    "create assistant": (
        lambda api: api.assistants.create(model="m", name="n", tools=[{"type": "code_interpreter"}]),
        {"id": "asst_1"},
        "POST /v1/assistants",
        {"model": "m", "name": "n", "tools": [{"type": "code_interpreter"}]},
    ),
    "list assistants": (
        lambda api: listed(api.assistants.list(order="asc", before="asst_9")),
        {"data": [{"id": "asst_1"}]},
        "GET /v1/assistants?order=asc&before=asst_9",
        None,
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_each_call_has_its_method_path_and_body(name: str) -> None:
    use, body, line, sent = CALLS[name]
    asked = Asked(always(body=body))
    got = asked(use)
    assert f"{asked.seen.method} {asked.seen.path}" == line
    assert (asked.seen.json if asked.seen.body else None) == sent
    first = got[0] if isinstance(got, list) else got
    assert first.raw == (body["data"][0] if "data" in body and isinstance(got, list) else body)
    assert asked.seen.headers.get("openai-beta") == ("assistants=v2" if "assistant" in name else None)


@pytest.mark.parametrize("identifier", ["", " ", ".", ".."])
def test_an_id_that_would_be_another_path_is_refused(identifier: str) -> None:
    asked = Asked(always(body=FILE))
    with pytest.raises(InputError, match="is no id"):
        asked(lambda api: api.files.delete(identifier))
    assert not asked.server.seen


@pytest.mark.parametrize(
    "use", [lambda api: listed(api.assistants.list()), lambda api: api.assistants.create(model="m")]
)
def test_a_server_without_assistants_is_told_with_the_day_they_ended(use: Any) -> None:
    with pytest.raises(errors.NotFound, match="OpenAI ended it on 2026-08-26") as got:
        Asked(lambda _: error(404, None, "Unknown request URL"))(use)
    assert got.value.status == 404
    with pytest.raises(errors.NotFound, match="model_not_found: no"):
        Asked(lambda _: error(404, "model_not_found"))(lambda api: api.assistants.create(model="m"))


def test_a_job_is_watched_to_its_end_and_each_event_told_once() -> None:
    events = [{"id": f"e-{at}", "message": str(at)} for at in range(4)]

    def answer(seen: Seen) -> Reply:
        looks = sum("events" not in one.path for one in asked.server.seen)
        if "events" in seen.path:
            return reply(200, {"data": events[: looks + 1][::-1]})
        return reply(200, JOB | {"status": "succeeded" if looks == 3 else "running"})

    asked = Asked(answer)
    got = asked(lambda api: listed(api.fine_tuning.watch("ftjob-1", every=0.01)))
    assert [one.id for one in got] == ["e-0", "e-1", "e-2", "e-3", "ftjob-1"]
    assert isinstance(got[-1], FineTuningJob)
    assert got[-1].ended
