"""`speak`: bodies, long texts in parts, joined sounds, and every answer a server may send."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from step_calls import answered, asked, combined

from penstock.errors import InvalidAnswer, UnusableAnswer
from penstock.items import Answer, Cause, Usage
from penstock.sandbox.launch import SandboxProcess, start
from penstock.steps.speak import Speak
from penstock.steps.speaking import check_sound, joined, parts_of

LONG = "One sentence is here. " * 30


def step(**settings: Any) -> Speak:
    given_ = {"uses": "speak", "input": "{{ body }}", "folder": "out", "file_name": "{{ id }}", **settings}
    return Speak.model_validate(given_)


def sound_of(content: bytes) -> tuple[int, float]:
    """Rate and seconds of a file, as FFmpeg decodes it."""
    import av

    with av.open(io.BytesIO(content)) as file:
        frames = list(file.decode(audio=0))
        return frames[0].sample_rate, sum(frame.samples for frame in frames) / frames[0].sample_rate


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxProcess]:
    with start() as process:
        yield process


def test_the_new_columns_are_path_and_bytes_under_any_beginning() -> None:
    assert step().columns_after({"body": None}) == {"body": None, "path": "String", "bytes": "Int64"}
    other = step(output="speech", format="wav")
    assert other.added_schema().names == ["speech_path", "speech_bytes", "speak_usage"]
    assert (other.saved[0].folder, other.saved[0].name, other.saved[0].ending) == ("out", "{{ id }}", ".wav")
    with pytest.raises(ValueError, match=r"the columns 'path', 'bytes' exist already"):
        step().columns_after({"path": None, "bytes": None})


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": "midi"}, {"speed": 0.1}, {"speed": 5}, {"input": ""}, {"voice": ""}, {"folder": ""},
        {"file_name": ""}, {"max_characters": 5000}, {"instructions": "Slowly."},
    ],
)  # fmt: skip
def test_settings_out_of_bounds_are_mistakes(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        step(**wrong)


def test_the_body_holds_what_was_set_and_nothing_else() -> None:
    assert json.loads(step().body(["Hi"])) == {
        "model": "tts-1", "input": "Hi", "voice": "alloy", "response_format": "mp3",
    }  # fmt: skip
    more = step(model="gpt-4o-mini-tts", speed=1.5, instructions="Softly.", extra_body={"voice": "ash"})
    assert json.loads(more.body(["Hi"])) == {
        "model": "gpt-4o-mini-tts", "input": "Hi", "voice": "ash", "response_format": "mp3", "speed": 1.5,
        "instructions": "Softly.",
    }  # fmt: skip


def test_a_long_text_is_cut_at_sentences_and_no_word_is_lost() -> None:
    (payloads,) = step(max_characters=100).payloads(pl.DataFrame({"body": [LONG]})).to_list()
    assert all(len(text) <= 100 and text.endswith(".") for text in payloads)
    assert " ".join(payloads).split() == LONG.split()


@given(st.text(max_size=900), st.integers(100, 300))
def test_parts_of_any_text_are_short_enough_and_hold_all_of_it(text: str, most: int) -> None:
    parts = parts_of(text, most)
    assert all(len(part) <= most for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


@pytest.mark.parametrize("form", ["opus", "flac"])
def test_a_long_text_in_a_format_that_cannot_be_joined_is_an_error_row(form: str) -> None:
    speak = step(format=form, max_characters=100)
    assert speak.payloads(pl.DataFrame({"body": [LONG, "short"]})).to_list() == [None, ["short"]]
    fault = speak.payload_error({"body": LONG})
    assert fault.cause is Cause.TOO_LONG
    assert "aac, mp3, pcm, wav" in fault.message


def test_a_template_that_fails_on_a_row_is_an_error_of_that_row() -> None:
    speak = step(input="{{ body }}{{ 1 / count }}")
    frame = pl.DataFrame({"body": ["a", "b"], "count": [0, 1]})
    assert speak.payloads(frame).to_list() == [None, ["b1.0"]]
    assert speak.payload_error({"body": "a", "count": 0}).cause is Cause.EXPRESSION


def test_characters_are_counted_and_costs_are_shared_by_tokens() -> None:
    assert step().read(b"ID3\x04rest", ["héllo"]).usage == Usage(characters=5)
    assert step().tokens(["a", ""], lambda texts: [len(text) for text in texts]) == [1, 1]


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b'{"error": {"message": "no"}}', b"  {}"])
def test_what_is_no_sound_is_unusable(form: str, body: bytes) -> None:
    with pytest.raises(UnusableAnswer):
        step(format=form).read(body, ["Hi"])


@given(st.binary(max_size=40), st.sampled_from(["mp3", "opus", "aac", "flac", "wav", "pcm"]))
def test_any_bytes_are_an_answer_or_unusable(body: bytes, form: str) -> None:
    try:
        found = step(format=form).read(body, ["Hi"])
    except UnusableAnswer:
        return
    assert isinstance(found, Answer)
    assert found.columns.column(0).to_pylist() == [body]


@given(st.lists(st.binary(max_size=60), min_size=2, max_size=3), st.sampled_from(["mp3", "aac", "wav", "pcm"]))
def test_any_sounds_are_joined_or_refused(sounds: list[bytes], form: str) -> None:
    try:
        whole = joined(sounds, form)
    except InvalidAnswer:
        return
    if form in {"aac", "pcm"}:
        assert whole == b"".join(sounds)
    else:
        assert len(whole) <= sum(map(len, sounds)) + 60, "nothing is made up but a head"


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_the_sandbox_speaks_every_format(server: SandboxProcess, form: str) -> None:
    found = answered(step(format=form), server, {"body": "Two short words.", "id": 1})
    check_sound(found["sound"], form)
    if form != "pcm":
        assert sound_of(found["sound"])[1] > 1


@pytest.mark.parametrize("form", ["mp3", "aac", "wav"])
def test_joined_parts_last_as_long_as_all_of_them(server: SandboxProcess, form: str) -> None:
    speak = step(format=form, max_characters=100)
    texts = parts_of(LONG, 100)[:3]
    answers = [asked(speak, server, text).columns for text in texts]
    (whole,) = combined(speak, answers).to_pylist()
    rates, lengths = zip(*(sound_of(each.to_pylist()[0]["sound"]) for each in answers), strict=True)
    rate, seconds = sound_of(whole["sound"])
    assert {rate} == set(rates)
    assert seconds == pytest.approx(sum(lengths), abs=0.2)


def test_joined_wav_files_have_one_head_that_tells_the_length_even_of_streamed_parts(server: SandboxProcess) -> None:
    content = answered(step(format="wav"), server, {"body": "Two short words.", "id": 1})["sound"]
    # Streamed files are written before their length is known.
    streamed = content[:4] + b"\xff" * 4 + content[8:40] + b"\xff" * 4 + content[44:]
    with wave.open(io.BytesIO(content)) as one, wave.open(io.BytesIO(joined([content, streamed], "wav"))) as both:
        assert both.getparams()[:3] == one.getparams()[:3]
        assert both.getnframes() == 2 * one.getnframes()
        assert both.readframes(both.getnframes()) == one.readframes(one.getnframes()) * 2


def test_wav_files_of_different_kinds_are_not_joined() -> None:
    def silence(rate: int) -> bytes:
        target = io.BytesIO()
        with wave.open(target, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(bytes(100))
        return target.getvalue()

    with pytest.raises(InvalidAnswer, match="different kinds"):
        joined([silence(8000), silence(16000)], "wav")
