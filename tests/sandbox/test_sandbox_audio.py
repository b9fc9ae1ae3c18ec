"""``/v1/audio/speech`` and ``/v1/audio/transcriptions`` through the official client and by bare HTTP.

``tomorrow_afternoon.wav`` is a spoken sentence, by a speech synthesiser: 16 bits, one channel, 16 kHz.
"""

from __future__ import annotations

import asyncio
import difflib
import importlib.util
import io
import json
import re
import shutil
import struct
import subprocess
import time
import wave
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growth import growth
from penstock.sandbox import transcriptions
from penstock.sandbox.app import make_app
from penstock.sandbox.launch import SandboxProcess, start
from penstock.sandbox.models import sound
from penstock.sandbox.models.recognition import recognise
from penstock.sandbox.models.tones import PITCHES, RATE, speak
from penstock.sandbox.settings import Settings

FOX = "The quick brown fox jumped over the lazy dog."
SAID = "We'll see you tomorrow afternoon at five thirty."
SPOKEN = Path(__file__).with_name("tomorrow_afternoon.wav").read_bytes()
KEY = {"Authorization": "Bearer sk-sandbox"}
needs_audio = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="needs the extra `audio`")
needs_speech = pytest.mark.skipif(importlib.util.find_spec("pocketsphinx") is None, reason="needs the extra `speech`")


@pytest.fixture
def client(server: SandboxProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0) as client:
        yield client


def samples_of(wav: bytes) -> tuple[int, bytes]:
    with wave.open(io.BytesIO(wav)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return file.getframerate(), file.readframes(file.getnframes())


def ask_inside(path: str, **request: Any) -> httpx.Response:
    """One request to an application in this process."""

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app=make_app(Settings()))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost/v1", headers=KEY) as http:
            return await http.post(path, **request)

    return asyncio.run(run())


# Speech


def test_wav_is_a_real_file_and_pcm_its_samples(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "tts-1", "voice": "alloy", "input": FOX}
    wav = client.audio.speech.create(**asked, response_format="wav")
    assert wav.response.headers["content-type"] == "audio/wav"
    rate, samples = samples_of(wav.content)
    assert rate == 24_000
    pcm = client.audio.speech.create(**asked, response_format="pcm")
    assert pcm.response.headers["content-type"] == "audio/pcm"
    assert pcm.content == samples
    assert 2 < len(samples) / 2 / rate < 5


def test_the_answer_is_sent_in_chunks(client: openai.OpenAI, tmp_path: Path) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="nova", input=FOX, response_format="wav"
    ) as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        assert "content-length" not in answer.headers
        answer.stream_to_file(tmp_path / "speech.wav")
    assert samples_of((tmp_path / "speech.wav").read_bytes())[0] == 24_000


@needs_audio
@pytest.mark.parametrize(
    ("form", "media_type", "begin"),
    [
        ("mp3", "audio/mpeg", (b"ID3", b"\xff\xfb", b"\xff\xf3")),
        ("opus", "audio/ogg", (b"OggS",)),
        ("aac", "audio/aac", (b"\xff\xf1",)),
        ("flac", "audio/flac", (b"fLaC",)),
    ],
)
def test_the_other_formats_hold_the_same_sound(
    client: openai.OpenAI, form: Any, media_type: str, begin: tuple[bytes, ...]
) -> None:
    answer = client.audio.speech.create(model="tts-1-hd", voice="onyx", input=FOX, response_format=form)
    assert answer.response.headers["content-type"] == media_type
    assert answer.content.startswith(begin)
    seconds = len(sound.decode(answer.content)) / 2 / sound.HEARD
    assert abs(seconds - len(speak(FOX, "onyx", rich=True)) / 2 / RATE) < 0.15


@needs_audio
def test_mp3_is_the_default(http: httpx.Client) -> None:
    answer = http.post("/audio/speech", json={"model": "tts-1", "voice": "alloy", "input": "Hi"})
    assert answer.headers["content-type"] == "audio/mpeg"


def test_without_the_extra_the_answer_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "has_codecs", lambda: False)
    answer = ask_inside("/audio/speech", json={"model": "tts-1", "voice": "alloy", "input": "Hi"})
    assert answer.status_code == 400
    assert "penstock[audio]" in answer.json()["error"]["message"]
    assert "'wav' or 'pcm'" in answer.json()["error"]["message"]
    wav = ask_inside(
        "/audio/speech", json={"model": "tts-1", "voice": "alloy", "input": "Hi", "response_format": "wav"}
    )
    assert wav.status_code == 200


def test_each_voice_and_each_word_has_its_own_sound_which_is_always_the_same() -> None:
    sounds = {voice: speak(FOX, voice) for voice in PITCHES}
    assert len(set(sounds.values())) == len(PITCHES)
    assert speak(FOX, "nova") == sounds["nova"]
    assert speak("cat", "nova") != speak("dog", "nova")
    assert max(array("h", sounds["nova"])) > 5_000


def test_speed_divides_the_length() -> None:
    length = len(speak(FOX, "sage"))
    assert len(speak(FOX, "sage", speed=2.0)) == pytest.approx(length / 2, rel=0.06)
    assert len(speak(FOX, "sage", speed=0.25)) == pytest.approx(length * 4, rel=0.06)


def test_the_longest_input_takes_no_longer_than_its_length_says() -> None:
    assert len(speak("word " * 819, "alloy")) > 0
    # Eight times the words: work that grows with the square of them would take 64 times as long.
    assert growth(lambda: speak("word " * 102, "alloy"), lambda: speak("word " * 819, "alloy")) < 5 * 8


def test_the_newer_model_streams_events(http: httpx.Client) -> None:
    body = {"model": "gpt-4o-mini-tts", "voice": "cedar", "input": FOX, "response_format": "wav"}
    answer = http.post("/audio/speech", json=body | {"stream_format": "sse", "instructions": "Be glad."})
    assert answer.headers["content-type"] == "text/event-stream"
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    assert events[-1]["type"] == "speech.audio.done"
    assert events[-1]["usage"]["input_tokens"] == 10


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"model": None}, {"param": "model", "code": "invalid_type"}),
        ({"model": "tiny"}, {"param": "model", "code": "invalid_value"}),
        ({"input": ""}, {"param": "input", "code": "empty_string"}),
        ({"input": "x" * 4097}, {"param": "input", "code": "string_above_max_length"}),
        ({"voice": "bob"}, {"param": "voice", "code": "invalid_value"}),
        ({"voice": "cedar"}, {"param": "voice", "code": "invalid_value"}),
        ({"voice": {"id": "voice_1"}}, {"param": "voice"}),
        ({"speed": 0.2}, {"param": "speed", "code": "decimal_below_min_value"}),
        ({"speed": 4.1}, {"param": "speed", "code": "decimal_above_max_value"}),
        ({"speed": "1"}, {"param": "speed", "code": "invalid_type"}),
        ({"response_format": "ogg"}, {"param": "response_format", "code": "invalid_value"}),
        ({"stream_format": "sse"}, {"param": "stream_format", "code": "unsupported_value"}),
        ({"pitch": 1}, {"message": "Unknown parameter: 'pitch'."}),
    ],
)
def test_speech_that_the_service_refuses_is_refused(
    client: openai.OpenAI, fields: dict[str, Any], error: dict[str, Any]
) -> None:
    body = {"model": "tts-1", "input": FOX, "voice": "alloy", "response_format": "wav"} | fields
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/audio/speech", body=body, cast_to=object)
    assert isinstance(caught.value.body, dict)
    assert error.items() <= caught.value.body.items()


def test_all_of_speech_that_is_just_allowed_is_made(client: openai.OpenAI) -> None:
    for speed in (0.25, 4.0):
        answer = client.audio.speech.create(
            model="tts-1", voice="shimmer", input="x" * 4096, speed=speed, response_format="pcm"
        )
        assert len(answer.content) > 0


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.audio.speech.create(model="tts-9", voice="alloy", input="Hi")
    with pytest.raises(openai.NotFoundError):
        client.audio.transcriptions.create(model="whisper-9", file=("a.wav", SPOKEN))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
BODIES = JSON | st.fixed_dictionaries(
    {"model": st.just("gpt-4o-mini-tts") | JSON, "input": st.text(max_size=40) | JSON, "voice": st.just("ash") | JSON},
    optional={
        "speed": st.floats(0.25, 4) | JSON,
        "response_format": st.sampled_from(["wav", "pcm"]) | JSON,
        "stream_format": JSON,
        "instructions": JSON,
    },
)


@settings(max_examples=100, deadline=None)
@given(BODIES)
def test_any_json_gets_sound_or_a_well_formed_refusal(body: Any) -> None:
    answer = ask_inside(
        "/audio/speech", content=json.dumps(body).encode(), headers={"content-type": "application/json"}
    )
    if answer.status_code == 200:
        assert len(answer.content) > 0
    else:
        assert answer.status_code in (400, 404)
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


# Transcriptions


@needs_speech
def test_real_speech_is_recognised(client: openai.OpenAI) -> None:
    answer = client.audio.transcriptions.create(model="whisper-1", file=("speech.wav", SPOKEN))
    assert answer.text == SAID
    assert answer.usage is not None
    assert answer.usage.type == "duration"
    assert answer.usage.seconds == 3


@needs_speech
def test_a_file_on_disk_is_sent_by_the_asynchronous_client(server: SandboxProcess, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(SPOKEN)

    async def run() -> list[str]:
        async with openai.AsyncOpenAI(base_url=server.url, api_key=server.key, max_retries=0) as other:
            create = other.audio.transcriptions.create
            answers = await asyncio.gather(*(create(model="whisper-1", file=tmp_path / "a.wav") for _ in range(3)))
            return [answer.text for answer in answers]

    assert asyncio.run(run()) == [SAID] * 3


@needs_speech
def test_verbose_json_has_segments_and_words_with_their_times(client: openai.OpenAI) -> None:
    _, samples = samples_of(SPOKEN)
    twice = sound.to_wav(samples + bytes(2 * 16_000) + samples, 16_000)
    answer = client.audio.transcriptions.create(
        model="whisper-1",
        file=("twice.wav", twice),
        response_format="verbose_json",
        language="en",
        prompt="A plan.",
        temperature=0.2,
        timestamp_granularities=["word", "segment"],
    )
    assert answer.language == "english"
    assert answer.duration == pytest.approx(len(samples) / 16_000 + 1, abs=0.1)
    assert answer.segments is not None
    assert answer.words is not None
    first, second = answer.segments
    assert answer.text == f"{first.text} {second.text}".strip().replace("  ", " ")
    assert "tomorrow afternoon" in first.text
    assert "tomorrow afternoon" in second.text
    assert 0 <= first.start < first.end <= second.start < second.end <= answer.duration + 0.1
    assert second.start > 2.4
    assert (first.id, second.id, first.temperature) == (0, 1, 0.2)
    assert len(first.tokens) > 5
    times = [time for word in answer.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert [word.word for word in answer.words][1:5] == ["see", "you", "tomorrow", "afternoon"]


@needs_speech
@pytest.mark.parametrize(
    ("chosen", "present"), [([], {"segments"}), (["segment"], {"segments"}), (["word"], {"words"})]
)
def test_only_the_granularities_that_were_asked_for_are_there(
    http: httpx.Client, chosen: list[str], present: set[str]
) -> None:
    fields = {"model": "whisper-1", "response_format": "verbose_json", "timestamp_granularities[]": chosen}
    answer = http.post("/audio/transcriptions", data=fields, files={"file": ("a.wav", SPOKEN)}).json()
    assert answer.keys() - {"task", "language", "duration", "text", "usage"} == present


@needs_speech
def test_text_and_subtitles_are_well_formed(client: openai.OpenAI) -> None:
    answers = {}
    for form in ("text", "srt", "vtt"):
        answers[form] = client.audio.transcriptions.create(
            model="whisper-1", file=("a.wav", SPOKEN), response_format=form
        )
    assert answers["text"] == SAID + "\n"
    clock = r"\d\d:\d\d:\d\d"
    assert re.fullmatch(rf"1\n{clock},\d\d\d --> {clock},\d\d\d\n{re.escape(SAID)}\n\n", answers["srt"])
    assert re.fullmatch(rf"WEBVTT\n\n{clock}\.\d\d\d --> {clock}\.\d\d\d\n{re.escape(SAID)}\n\n", answers["vtt"])


@needs_speech
def test_the_newer_models_count_tokens_and_stream(client: openai.OpenAI) -> None:
    answer = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", SPOKEN))
    assert answer.text == SAID
    assert answer.usage is not None
    assert answer.usage.type == "tokens"
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    stream = client.audio.transcriptions.create(model="gpt-4o-mini-transcribe", file=("a.wav", SPOKEN), stream=True)
    events = list(stream)
    assert [event.type for event in events] == ["transcript.text.delta", "transcript.text.done"]
    assert events[-1].type == "transcript.text.done"
    assert events[-1].text == SAID


CALL_LINES = """\
hello my name is peter and i am calling about my last order
i have waited for three weeks and nobody has answered my letters
the delivery was fast and the quality of the product is very good
i want my money back and i want to speak to a manager
please call me back tomorrow morning between nine and eleven
we ordered twelve chairs but only ten of them were in the delivery
i cannot open the door of the washing machine
"""


@needs_speech
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("flite") is None, reason="needs the speech synthesiser flite")
@pytest.mark.parametrize(("voice", "share"), [("rms", 0.95), ("kal16", 0.9)])
def test_most_words_of_a_synthesised_call_are_heard(voice: str, share: float, tmp_path: Path) -> None:
    """The measured shares, with a little room: how good it is depends on the voice. The two take turns."""
    right = total = 0
    for line in CALL_LINES.splitlines()[voice == "kal16" :: 2]:
        path = tmp_path / "line.wav"
        subprocess.run(["flite", "-voice", voice, "-t", line, "-o", str(path)], check=True)
        heard = " ".join(each.text for each in recognise(sound.decode(path.read_bytes())))
        said = line.split()
        matches = difflib.SequenceMatcher(None, said, re.findall(r"[a-z']+", heard.lower())).get_matching_blocks()
        right += sum(block.size for block in matches)
        total += len(said)
    assert right / total >= share


@needs_speech
def test_other_requests_are_answered_while_it_listens(server: SandboxProcess, http: httpx.Client) -> None:
    """Recognition has its own process, so a long file holds up nobody."""
    rate, samples = samples_of(SPOKEN)
    long = sound.to_wav(samples * 2, rate)

    async def scenario() -> tuple[list[float], str]:
        async with openai.AsyncOpenAI(base_url=server.url, api_key=server.key) as client:
            listening = asyncio.create_task(client.audio.transcriptions.create(model="whisper-1", file=("a.wav", long)))
            waits: list[float] = []
            while not listening.done():
                began = time.perf_counter()
                await client.models.retrieve("gpt-4o")
                waits.append(time.perf_counter() - began)
                await asyncio.sleep(0.01)
            return waits, (await listening).text

    waits, text = asyncio.run(scenario())
    assert text.count("tomorrow afternoon") == 2
    assert len(waits) > 10
    assert sorted(waits)[len(waits) * 9 // 10] < 0.1


@needs_speech
def test_recognisers_end_with_the_server_and_are_replaced_when_they_die() -> None:
    with start() as process, openai.OpenAI(base_url=process.url, api_key=process.key, max_retries=0) as client:
        hear = lambda: client.audio.transcriptions.create(model="whisper-1", file=("a.wav", SPOKEN)).text  # noqa: E731
        assert [hear(), hear()] == [SAID, SAID]
        children = psutil.Process(process.pid).children()
        assert 1 <= len(children) <= 2
        for child in children:
            child.kill()
        assert [hear(), hear()] == [SAID, SAID]
        left = psutil.Process(process.pid).children()
        psutil.Process(process.pid).kill()
    _, alive = psutil.wait_procs(left, timeout=5)
    assert alive == []


@needs_speech
@needs_audio
@pytest.mark.parametrize("ending", ["flac", "mp3", "mp4", "mpeg", "mpga", "m4a", "ogg", "wav", "webm"])
def test_all_nine_formats_are_heard(client: openai.OpenAI, ending: str) -> None:
    file = (f"speech.{ending}", in_format(ending))
    text = client.audio.transcriptions.create(model="whisper-1", file=file).text
    # Lossy formats may cost a word at the end.
    assert text.startswith("We'll see you tomorrow")


def in_format(ending: str) -> bytes:
    """The spoken sentence in another container."""
    import av

    if ending == "wav":
        return SPOKEN
    mp4, mp3 = ("mp4", "aac"), ("mp3", "mp3")
    forms = {"flac": ("flac", "flac"), "ogg": ("ogg", "libopus"), "webm": ("webm", "libopus"), "mp4": mp4, "m4a": mp4}
    container, codec = forms.get(ending, mp3)
    target = io.BytesIO()
    with av.open(io.BytesIO(SPOKEN), "r") as source, av.open(target, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=48_000 if codec == "libopus" else 16_000, layout="mono")
        for frame in source.decode(audio=0):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return target.getvalue()


@needs_speech
@pytest.mark.parametrize("name", ["speech", "speech.dat", ""])
def test_a_file_is_known_by_its_content_too(http: httpx.Client, name: str) -> None:
    answer = http.post("/audio/transcriptions", data={"model": "whisper-1"}, files={"file": (name or "blob", SPOKEN)})
    assert answer.json()["text"] == SAID


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_every_kind_of_plain_wav_is_brought_to_16_khz(width: int, channels: int, rate: int) -> None:
    seconds = 0.5
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        level = 0x40 << 8 * (width - 1)
        one = bytes([0x80 + 0x40]) if width == 1 else level.to_bytes(width, "little", signed=True)
        file.writeframes(one * channels * round(rate * seconds))
    heard = array("h", sound.decode(target.getvalue()))
    assert abs(len(heard) - seconds * 16_000) <= 1
    assert all(abs(value - 0x4000) <= 1 for value in heard)


def transcribe(http: httpx.Client, content: bytes = SPOKEN, name: str = "a.wav", **fields: str) -> httpx.Response:
    return http.post("/audio/transcriptions", data={"model": "whisper-1"} | fields, files={"file": (name, content)})


@needs_speech
@pytest.mark.parametrize(
    ("content", "name", "error"),
    [
        (b"", "a.wav", {"code": "audio_too_short", "param": "file"}),
        (SPOKEN[:60], "a.wav", {"code": "audio_too_short", "param": "file"}),
        (b"this is no sound", "a.mp3", {"param": "file"}),
        (b"RIFF\0\0\0\0WAVEfmt ", "a.wav", {"message": "Audio file might be corrupted or unsupported"}),
        (b"RIFF" + bytes(range(256)) * 9, "a.wav", {"message": "Audio file might be corrupted or unsupported"}),
        (b"plain text", "a.txt", {"code": None}),
    ],
)
def test_a_file_without_sound_is_refused(http: httpx.Client, content: bytes, name: str, error: dict[str, Any]) -> None:
    answer = transcribe(http, content, name)
    assert answer.status_code == 400
    assert error.items() <= answer.json()["error"].items()


def test_an_unknown_format_is_refused_with_the_formats_there_are(http: httpx.Client) -> None:
    message = transcribe(http, b"plain text", "a.txt").json()["error"]["message"]
    assert message == (
        "Unrecognized file format. Supported formats: "
        "['flac', 'm4a', 'mp3', 'mp4', 'mpeg', 'mpga', 'oga', 'ogg', 'wav', 'webm']"
    )


@needs_speech
def test_silence_has_no_words(client: openai.OpenAI) -> None:
    silence = sound.to_wav(bytes(2 * 16_000), 16_000)
    answer = client.audio.transcriptions.create(
        model="whisper-1", file=("a.wav", silence), response_format="verbose_json"
    )
    assert (answer.text, answer.segments, answer.duration) == ("", [], 1.0)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"model": ""}, {"param": "model", "code": "empty_string"}),
        ({"model": "tiny"}, {"param": "model", "code": "invalid_value"}),
        ({"response_format": "xml"}, {"param": "response_format", "code": "invalid_value"}),
        ({"response_format": "srt", "model": "gpt-4o-transcribe"}, {"param": "response_format"}),
        ({"temperature": "1.5"}, {"param": "temperature", "code": "decimal_above_max_value"}),
        ({"temperature": "nan"}, {"param": "temperature"}),
        ({"temperature": "hot"}, {"param": "temperature", "code": "invalid_type"}),
        ({"language": "english"}, {"param": "language"}),
        ({"timestamp_granularities[]": "word"}, {"param": "timestamp_granularities", "code": "invalid_value"}),
        (
            {"timestamp_granularities[]": "letter", "response_format": "verbose_json"},
            {"param": "timestamp_granularities"},
        ),
        ({"speed": "2"}, {"message": "Unknown parameter: 'speed'."}),
    ],
)
def test_transcriptions_that_the_service_refuses_are_refused(
    http: httpx.Client, fields: dict[str, str], error: dict[str, Any]
) -> None:
    answer = transcribe(http, **fields)
    assert answer.status_code == 400
    assert error.items() <= answer.json()["error"].items()


def test_a_body_that_is_no_form_is_refused(http: httpx.Client) -> None:
    answer = http.post("/audio/transcriptions", json={"model": "whisper-1"})
    assert answer.status_code == 400
    assert "only accepts 'multipart/form-data'" in answer.json()["error"]["message"]
    for body in (b"", b"--x\r\n", b"what", b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1'):
        headers = {"content-type": "multipart/form-data; boundary=x"}
        answer = http.post("/audio/transcriptions", content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, "Could not parse multipart form")
    answer = http.post("/audio/transcriptions", data={"model": "whisper-1"}, files={"other": b"x"})
    assert answer.json()["error"] == {
        "message": "Missing required parameter: 'file'.",
        "type": "invalid_request_error",
        "param": "file",
        "code": "missing_required_parameter",
    }


def test_a_file_above_25_mb_is_too_large(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError, match="Maximum content size limit") as caught:
        client.audio.transcriptions.create(model="whisper-1", file=("a.wav", bytes(25 * 2**20 + 1)))
    assert caught.value.status_code == 413


def test_without_the_extras_the_answers_name_them(monkeypatch: pytest.MonkeyPatch) -> None:
    request: dict[str, Any] = {"data": {"model": "whisper-1"}, "files": {"file": ("a.mp3", b"ID3" + bytes(99))}}
    monkeypatch.setattr(transcriptions, "has_recogniser", lambda: True)
    monkeypatch.setattr(sound, "has_codecs", lambda: False)
    answer = ask_inside("/audio/transcriptions", **request)
    assert "penstock[audio]" in answer.json()["error"]["message"]
    monkeypatch.setattr(transcriptions, "has_recogniser", lambda: False)
    answer = ask_inside("/audio/transcriptions", **request)
    assert answer.status_code == 400
    assert "penstock[speech]" in answer.json()["error"]["message"]


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=300)
    | st.binary(max_size=80).map(lambda tail: SPOKEN[:44] + tail)
    | st.tuples(st.integers(0, 43), st.binary(min_size=1, max_size=4)).map(
        lambda edit: SPOKEN[: edit[0]] + edit[1] + SPOKEN[edit[0] + len(edit[1]) : 900]
    ),
    st.sampled_from(["a.wav", "a.mp3", "a.webm", "a.ogg"]),
)
def test_any_bytes_are_sound_or_refused(content: bytes, name: str) -> None:
    answer = ask_inside("/audio/transcriptions", data={"model": "whisper-1"}, files={"file": (name, content)})
    assert answer.status_code in (200, 400)


def test_the_head_of_a_wav_may_lie_about_its_length() -> None:
    lying = bytearray(SPOKEN)
    struct.pack_into("<I", lying, 40, 0xFFFFFFFF)
    assert len(sound.decode(bytes(lying))) == len(SPOKEN) - 44


def test_faults_reach_audio_too(client: openai.OpenAI) -> None:
    for fault, kind in (("429", openai.RateLimitError), ("500", openai.InternalServerError)):
        with pytest.raises(kind):
            client.audio.speech.create(
                model="tts-1",
                voice="alloy",
                input="Hi",
                response_format="wav",
                extra_headers={"x-sandbox-fault": fault},
            )
