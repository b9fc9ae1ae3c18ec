"""`transcribe`: forms, answers of every kind, parts and their times, and files that cannot be heard."""

from __future__ import annotations

import json
import os
import wave
from array import array
from collections.abc import Callable, Iterator
from email import message_from_bytes
from email.policy import HTTP
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from step_calls import DATA, answered, asked, calls, combined, finished, right_words

from penstock.errors import FileChanged, UnusableAnswer
from penstock.items import Answer, Cause, Fault, Usage
from penstock.sandbox.launch import SandboxProcess, start
from penstock.steps import audio
from penstock.steps.recordings import Payload, look
from penstock.steps.transcribe import Transcribe

Make = Callable[[str], Any]
CALL = {"call_id": "c01", "file": "calls/c01.wav", "product": "pipe"}
PART = Payload("x.wav", 1, 2, 90.0, (30.0, 60.0), "")


def step(**settings: Any) -> Transcribe:
    return Transcribe.model_validate({"uses": "transcribe", "file": "{{ file }}", "folder": str(DATA), **settings})


def payload_of(transcribe: Transcribe, **row: Any) -> list[str]:
    (payloads,) = transcribe.payloads(pl.DataFrame([{**CALL, **row}])).to_list()
    assert payloads is not None, transcribe.payload_error({**CALL, **row})
    return list(payloads)


def fault_of(transcribe: Transcribe, **row: Any) -> Fault:
    assert transcribe.payloads(pl.DataFrame([{**CALL, **row}])).to_list() == [None]
    return transcribe.payload_error({**CALL, **row})


def form_of(transcribe: Transcribe, payload: str) -> list[tuple[str, str | None, bytes]]:
    """Name, file name and content of each field, as another reader of forms sees them."""
    head = f"Content-Type: {transcribe.content_type}\r\n\r\n".encode()
    message = message_from_bytes(head + transcribe.body([payload]), policy=HTTP)
    return [
        (str(part.get_param("name", header="content-disposition")), part.get_filename(), part.get_payload(decode=True))
        for part in message.iter_parts()
    ]  # type: ignore[misc, unused-ignore]


def encode(asked_for: Payload = PART) -> str:
    import msgspec

    return msgspec.json.encode(asked_for).decode()


def verbose(**more: Any) -> dict[str, Any]:
    segments = [{"id": 0, "start": 0.5, "end": 2.25, "text": " Hello there."}]
    return {"task": "transcribe", "language": "english", "duration": 3.0, "text": "Hello there.", "segments": segments,
            **more}  # fmt: skip


def read(answer: Any, payload: Payload = PART, **settings: Any) -> dict[str, Any]:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    transcribe = step(**settings)
    return dict(finished(transcribe, transcribe.read(body, [encode(payload)]).columns)[0])


def tone(path: Path, stretches: list[tuple[float, int]], rate: int = 16_000) -> Path:
    """A WAV file of stretches, each so many seconds at a loudness; 0 is silence."""
    samples = array("h")
    for seconds, loudness in stretches:
        count = round(seconds * rate)
        samples.extend(loudness if number // 40 % 2 else -loudness for number in range(count))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxProcess]:
    with start() as process:
        yield process


def test_new_columns_go_by_what_is_asked_for() -> None:
    assert list(step().columns_after({})) == ["text", "language", "seconds", "segments"]
    assert list(step(model="gpt-4o-transcribe").columns_after({})) == ["text", "language", "seconds"]
    files = {"folder": "out", "file_name": "{{ call_id }}"}
    more = step(timestamps="word", subtitles=files, output="call")
    assert list(more.columns_after({"text": None})) == [
        "text", "call_text", "call_language", "call_seconds", "call_segments", "call_words", "call_srt_path",
        "call_vtt_path",
    ]  # fmt: skip
    assert [*more.added_schema().names] == [*list(more.columns_after({})), "transcribe_usage"]
    assert [file.column for file in more.saved] == ["call_srt", "call_vtt"]


def test_known_types_are_those_of_the_columns() -> None:
    transcribe = step(timestamps="word")
    frame = pl.from_arrow(pa.Table.from_pylist([], transcribe.result_schema()))
    assert isinstance(frame, pl.DataFrame)
    assert {name: str(kind) for name, kind in frame.schema.items()} == transcribe.columns_after({})


def test_a_column_that_exists_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"'text' exists already.*`output: transcript`"):
        step().columns_after({"text": None})


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": "gpt-4o-transcribe", "timestamps": "word"},
        {"model": "gpt-4o-transcribe", "subtitles": {"folder": "o", "file_name": "{{ a }}"}},
        {"model": "gpt-4o-transcribe", "response_format": "verbose_json"},
        {"response_format": "json", "timestamps": "word"},
        {"response_format": "srt"},
        {"language": "english"},
        {"temperature": 2},
        {"max_seconds": "1s"},
        {"subtitles": {"folder": "o", "file_name": "{{ a }}", "formats": []}},
        {"subtitles": {"folder": "o", "file_name": "{{ a }}", "formats": ["txt"]}},
        {"file": ""},
    ],
)
def test_settings_that_cannot_be_met_are_mistakes(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        step(**wrong)


def test_a_short_file_is_sent_as_it_is_with_its_settings() -> None:
    transcribe = step(
        prompt="About a {{ product }}.", language="en", temperature=0.5, timestamps="word", extra_body={"user": "u"}
    )
    (payload,) = payload_of(transcribe)
    form = form_of(transcribe, payload)
    assert [(name, content) for name, _, content in form[:-1]] == [
        ("model", b"whisper-1"),
        ("response_format", b"verbose_json"),
        ("language", b"en"),
        ("prompt", b"About a pipe."),
        ("temperature", b"0.5"),
        ("timestamp_granularities[]", b"segment"),
        ("timestamp_granularities[]", b"word"),
        ("user", b"u"),
    ]
    assert form[-1] == ("file", "audio.wav", (DATA / "calls" / "c01.wav").read_bytes())


def test_models_that_give_only_text_are_asked_for_json_without_times() -> None:
    transcribe = step(model="gpt-4o-mini-transcribe")
    names = [name for name, *_ in form_of(transcribe, payload_of(transcribe)[0])]
    assert names == ["model", "response_format", "file"]
    answer = {"text": " Hi. ", "usage": {"type": "tokens", "input_tokens": 40, "output_tokens": 5, "total_tokens": 45}}
    answered_ = transcribe.read(json.dumps(answer).encode(), [encode(Payload("x", 1, 2, 4.0))])
    assert answered_.columns.to_pylist() == [{"text": "Hi.", "language": None, "seconds": 4.0}]
    assert answered_.usage == Usage(prompt_tokens=40, completion_tokens=5, seconds=4.0)


def test_the_payload_changes_with_the_file_so_that_an_old_answer_is_not_taken(tmp_path: Path) -> None:
    path = tone(tmp_path / "a.wav", [(1, 900)])
    transcribe = step(folder=str(tmp_path), file="a.wav{{ '' if file else '' }}")
    (before,) = payload_of(transcribe)
    assert payload_of(transcribe) == [before]
    tone(path, [(1.5, 900)])
    (after,) = payload_of(transcribe)
    assert before != after
    with pytest.raises(FileChanged, match="was changed since"):
        transcribe.body([before])
    path.unlink()
    with pytest.raises(FileChanged, match="cannot be read any more"):
        transcribe.body([after])


def test_files_that_cannot_be_heard_are_told_before_any_request(tmp_path: Path) -> None:
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "text.mp3").write_text("no sound at all")
    (tmp_path / "notes.txt").write_text("no sound at all")
    (tmp_path / "cut.flac").write_bytes((DATA / "calls" / "c02.flac").read_bytes()[:40])
    os.mkfifo(tmp_path / "pipe.wav")
    transcribe = step(folder=str(tmp_path))
    for name, why in {
        "gone.mp3": "No such file", "": "no path", ".": "it is no file", "empty.mp3": "it is empty",
        "text.mp3": "Invalid data", "notes.txt": "Invalid data", "cut.flac": "", "pipe.wav": "it is no file",
        "a\0b.mp3": "null",
    }.items():  # fmt: skip
        fault = fault_of(transcribe, file=name)
        assert fault.cause is (Cause.UNREADABLE_FILE if name else Cause.EMPTY_INPUT)
        assert why in fault.message


def test_a_template_that_fails_on_a_row_is_an_error_of_that_row() -> None:
    assert fault_of(step(file="{{ 'x' * (call_id | int) }}{{ 1 / 0 }}")).cause is Cause.EXPRESSION


@pytest.mark.parametrize("ending", ["oga", "opus"])
def test_ogg_under_other_names_is_sent_under_its_own(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"a.{ending}").write_bytes((DATA / "calls" / "c08.ogg").read_bytes())
    transcribe = step(folder=str(tmp_path))
    (payload,) = payload_of(transcribe, file=f"a.{ending}")
    assert form_of(transcribe, payload)[-1][1] == "audio.ogg"


def test_a_format_that_the_service_does_not_take_is_converted(tmp_path: Path) -> None:
    import av

    with av.open(str(DATA / "calls" / "c01.wav")) as source, av.open(str(tmp_path / "a.aiff"), "w") as target:
        stream = target.add_stream("pcm_s16be", rate=16_000)
        for frame in source.decode(audio=0):
            target.mux(stream.encode(frame))  # type: ignore[attr-defined]
    transcribe = step(folder=str(tmp_path))
    (payload,) = payload_of(transcribe, file="a.aiff")
    *_, (_, name, content) = form_of(transcribe, payload)
    assert name == "audio.ogg"
    assert content.startswith(b"OggS")
    assert json.loads(payload)["part"] == [0.0, pytest.approx(audio.length(str(DATA / "calls" / "c01.wav")))]


def test_without_the_extra_short_files_work_and_long_ones_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "has_codecs", lambda: False)
    long = tone(tmp_path / "long.wav", [(1, 900)] * 12)
    (tmp_path / "odd.aiff").write_bytes(b"FORM")
    (tmp_path / "some.mp3").write_bytes((DATA / "calls" / "c03.mp3").read_bytes())
    transcribe = step(folder=str(tmp_path), max_seconds="10s")
    assert "seconds" not in json.loads(payload_of(transcribe, file="some.mp3")[0])
    assert "penstock[audio]" in fault_of(transcribe, file=long.name).message
    assert "penstock[audio]" in fault_of(transcribe, file="odd.aiff").message
    monkeypatch.setattr("penstock.steps.recordings.MOST_BYTES", 1000)
    os.utime(tmp_path / "some.mp3", (1, 1))
    assert "penstock[audio]" in fault_of(transcribe, file="some.mp3").message


def test_times_are_shifted_to_where_the_part_begins_and_stay_within_it() -> None:
    answer = verbose(
        segments=[{"start": 0.5, "end": 2.25, "text": " a "}, {"start": 29.0, "end": 31.0, "text": "b"},
                  {"start": 40.0, "end": 44.0, "text": "heard after the end"}],
        words=[{"word": "a", "start": 0.5, "end": 0.75}],
    )  # fmt: skip
    found = read(answer, timestamps="word")
    assert [(each["start"], each["end"]) for each in found["segments"]] == [(30.5, 32.25), (59.0, 60.0), (60.0, 60.0)]
    assert found["words"] == [{"start": 30.5, "end": 30.75, "word": "a"}]
    assert found["seconds"] == 30.0


def test_parts_are_joined_to_one_transcript_with_its_subtitles() -> None:
    transcribe = step(subtitles={"folder": "o", "file_name": "{{ call_id }}"}, timestamps="word")
    parts = [Payload("x", 1, 2, 60.0, (0.0, 29.5), ""), Payload("x", 1, 2, 60.0, (29.5, 60.0), "")]
    bodies = [verbose(words=[]), verbose(words=[{"word": "Hi", "start": 1, "end": 2}], text="<b> & --> more.")]
    bodies[1]["segments"][0]["text"] = "<b> & -->\n\n more."
    answers = [
        transcribe.read(json.dumps(body).encode(), [encode(part)]).columns
        for body, part in zip(bodies, parts, strict=True)
    ]
    (row,) = finished(transcribe, combined(transcribe, answers))
    assert row["text"] == "Hello there. <b> & --> more."
    assert (row["language"], row["seconds"]) == ("english", 60.0)
    assert [each["start"] for each in row["segments"]] == [0.5, 30.0]
    assert row["words"] == [{"start": 30.5, "end": 31.5, "word": "Hi"}]
    assert row["srt"] == (
        "1\n00:00:00,500 --> 00:00:02,250\nHello there.\n\n2\n00:00:30,000 --> 00:00:31,750\n<b> & --> more.\n"
    )
    assert row["vtt"] == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:02.250\nHello there.\n\n"
        "00:00:30.000 --> 00:00:31.750\n&lt;b&gt; &amp; --&gt; more.\n"
    )


def test_parts_in_a_language_without_spaces_are_joined_without() -> None:
    answers = [step().read(json.dumps(verbose(language="japanese", text=text)).encode(), [encode()]) for text in "はい"]
    assert combined(step(), [each.columns for each in answers]).to_pylist()[0]["text"] == "はい"


def test_silence_is_an_empty_transcript_and_no_error() -> None:
    found = read(verbose(text="", segments=[]), subtitles={"folder": "o", "file_name": "{{ a }}"})
    assert (found["text"], found["segments"], found["srt"], found["vtt"]) == ("", [], "", "WEBVTT\n")


def test_seconds_are_as_billed_where_the_server_says_so() -> None:
    whole = Payload("x", 1, 2, 2.9)
    body = json.dumps(verbose(usage={"type": "duration", "seconds": 3})).encode()
    assert step().read(body, [encode(whole)]).usage.seconds == 3
    assert step().read(json.dumps(verbose(duration="2.95")).encode(), [encode(whole)]).usage.seconds == 2.95
    assert step().read(json.dumps(verbose(duration=None)).encode(), [encode(whole)]).usage.seconds == 2.9


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>busy</html>", b"Hello there.", b"[]", b"null", b"\xff\xfe", b'{"text": 5}',
        b'{"error": {"message": "no"}}', json.dumps({"text": "only text"}).encode(),
        json.dumps(verbose(error={"message": "overloaded"})).encode(),
        json.dumps(verbose(segments=[{"start": 0, "end": 1e300, "text": "x"}])).encode(),
        json.dumps(verbose(segments=[{"start": 0, "text": "x"}])).encode(),
        json.dumps(verbose())[:-9].encode(),
    ],
)  # fmt: skip
def test_what_is_no_transcript_is_unusable(body: bytes) -> None:
    with pytest.raises(UnusableAnswer):
        read(body)


def test_words_that_were_asked_for_must_come() -> None:
    with pytest.raises(UnusableAnswer, match="no words"):
        read(verbose(), timestamps="word")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["text", "segments", "words", "start", "end", "word", "usage"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(st.one_of(st.binary(max_size=60), _VALUES.map(lambda value: json.dumps(value).encode()),
       _VALUES.map(lambda value: json.dumps(verbose(segments=value)).encode()),
       _VALUES.map(lambda value: json.dumps(verbose(usage=value, duration=value)).encode())))  # fmt: skip
def test_any_bytes_are_an_answer_or_unusable(body: bytes) -> None:
    try:
        found = step().read(body, [encode()])
    except UnusableAnswer:
        return
    assert isinstance(found, Answer)
    found.columns.validate(full=True)
    assert found.usage.seconds >= 0


def test_a_recording_is_cut_in_its_silences_and_no_part_is_too_long(tmp_path: Path) -> None:
    path = tone(tmp_path / "a.wav", [(17, 3000), (1, 0), (19, 3000), (1, 5), (20, 3000), (0.4, 0), (11.6, 3000)])
    found = look(path, 24.0)
    assert not isinstance(found, Fault)
    starts, ends = zip(*found.parts, strict=True)
    assert starts[0] == 0
    assert ends[-1] == pytest.approx(70)
    assert starts[1:] == ends[:-1]
    assert [round(end, 2) for end in ends[:-1]] == [17.5, 37.5, 58.2]
    assert all(end - start <= 24 for start, end in found.parts)


@given(st.lists(st.floats(0, 1e9) | st.just(0.0), min_size=1, max_size=3000), st.floats(10, 200))
def test_any_recording_is_cut_without_gaps_into_parts_that_are_short_enough(
    squares: list[float], longest: float
) -> None:
    parts = audio.spans(audio.Levels(squares, len(squares) * audio.HOP), longest)
    assert parts[0][0] == 0
    assert parts[-1][1] == pytest.approx(len(squares) * audio.HOP, abs=0.002)
    assert all(one[1] == other[0] for one, other in pairwise(parts))
    assert all(0 < end - start <= longest + 0.002 for start, end in parts)


def test_a_part_holds_the_samples_between_its_times(tmp_path: Path) -> None:
    """Loud from second 20 to 21 of 40; the part from 15 is loud from 5 to 6, in every kind of container."""
    import av

    path = tone(tmp_path / "a.wav", [(20, 0), (1, 8000), (19, 0)])
    kinds = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "m4a": "aac", "ogg": "libopus", "webm": "libopus",
             "mpeg": "mp2"}  # fmt: skip
    for ending, codec in kinds.items():
        target_path = tmp_path / f"b.{ending}"
        rate = 48_000 if codec in {"libopus", "mp2"} else 16_000
        with av.open(str(path)) as source, av.open(str(target_path), "w") as target:
            stream: Any = target.add_stream(codec, rate=rate)
            for frame in source.decode(audio=0):
                target.mux(stream.encode(frame))
            target.mux(stream.encode(None))
        part = tmp_path / "part.ogg"
        part.write_bytes(audio.extract(str(target_path), 15.0, 30.0))
        loudness = audio.levels(str(part))
        loud = [place * audio.HOP for place, square in enumerate(loudness.squares) if square > 1_000_000]
        assert loudness.seconds == pytest.approx(15, abs=0.03), ending
        assert loud[0] == pytest.approx(5.0, abs=0.1), ending
        assert loud[-1] == pytest.approx(5.95, abs=0.1), ending


def test_a_part_is_the_same_bytes_every_time() -> None:
    path = str(DATA / "calls" / "c06.m4a")
    assert audio.extract(path, 2.0, 7.0) == audio.extract(path, 2.0, 7.0)


@pytest.mark.slow
def test_words_and_times_of_a_call_in_parts_are_those_of_the_whole(server: SandboxProcess) -> None:
    row = next(row for row in calls() if row["call_id"] == "c08")
    whole = answered(step(timestamps="word"), server, row)
    parts = answered(step(timestamps="word", max_seconds="10s"), server, row)
    assert right_words(whole["text"], parts["text"])[0] >= 0.95 * len(whole["words"])
    assert parts["seconds"] == pytest.approx(whole["seconds"], abs=0.05)
    times = {word["word"].lower(): word["start"] for word in whole["words"]}
    late = {word["word"].lower(): word["start"] for word in parts["words"]}
    unique = ["money", "tuesday", "office", "card"]
    assert [late[word] for word in unique] == pytest.approx([times[word] for word in unique], abs=0.15)


@pytest.mark.slow
def test_the_sandbox_counts_seconds(server: SandboxProcess) -> None:
    row = calls()[0]
    transcribe = step()
    (payload,) = payload_of(transcribe, **row)
    assert asked(transcribe, server, payload).usage.seconds == pytest.approx(15, abs=1)
