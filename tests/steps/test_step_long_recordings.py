"""A recording of two hours is cut, every part is what it says, and memory does not grow with the length.

Instead of a voice there is a beep of half a second at known times, so that what a server would hear is measured here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from array import array
from pathlib import Path

import pytest

HOURS = 2
BEEPS = [20.0 + 97.0 * number for number in range(74)]
_MEASURE = """
import io, json, resource, sys
import msgspec
import polars as pl
from penstock.steps import audio
from penstock.steps.transcribe import Transcribe
from penstock.steps.recordings import Payload

step = Transcribe(uses="transcribe", file="{{ file }}", folder=sys.argv[1], timestamps="word")
(payloads,) = step.payloads(pl.DataFrame({"file": [sys.argv[2]]})).to_list()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
heard, sizes, spans = [], [], []
for number, text in enumerate(payloads):
    part = msgspec.json.decode(text, type=Payload).part
    body = step.body([text])
    sizes.append(len(body))
    spans.append(part)
    path = f"{sys.argv[1]}/part.ogg"
    with open(path, "wb") as file:
        file.write(body[body.index(b"OggS"):])
    loud = [place * audio.HOP for place, square in enumerate(audio.levels(path).squares) if square > 1e6]
    starts = [time for time in loud if round(time - audio.HOP, 3) not in {round(each, 3) for each in loud}]
    answer = {"text": "beep", "language": "en", "duration": 1, "segments": [],
              "words": [{"word": "beep", "start": time, "end": time + 0.5} for time in starts]}
    row = step.read(json.dumps(answer).encode(), [text]).columns.to_pylist()[0]
    heard += [word["start"] for word in row["words"]]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"heard": heard, "sizes": sizes, "spans": spans, "peak_mb": peak / 1024}))
"""


def recording(path: Path, hours: float) -> None:
    """Line noise and beeps, 16 kHz, a second at a time."""
    rate = 16_000
    noise = array("h", ((number * 7919) % 41 - 20 for number in range(rate))).tobytes()
    beep = array("h", (9000 if number // 20 % 2 else -9000 for number in range(rate // 2))).tobytes()
    loud = beep + noise[len(beep) :]
    seconds = set(map(int, BEEPS))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        for second in range(int(hours * 3600)):
            file.writeframes(loud if second in seconds else noise)


def measured(folder: Path, name: str) -> dict[str, object]:
    command = [sys.executable, "-c", _MEASURE, str(folder), name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


@pytest.mark.slow
def test_two_hours_are_cut_and_timed_right_in_the_memory_that_twenty_minutes_take(tmp_path: Path) -> None:
    recording(tmp_path / "long.wav", HOURS)
    recording(tmp_path / "short.wav", 1 / 3)
    long, short = measured(tmp_path, "long.wav"), measured(tmp_path, "short.wav")
    spans: list[list[float]] = long["spans"]  # type: ignore[assignment]
    assert len(spans) == 13
    assert all(end - start <= 600 for start, end in spans)
    assert spans[-1][1] == pytest.approx(HOURS * 3600)
    assert all(one[1] == other[0] for one, other in zip(spans, spans[1:], strict=False))  # noqa: RUF007
    assert long["heard"] == pytest.approx(BEEPS, abs=0.1)
    assert max(long["sizes"]) < 5_000_000  # type: ignore[call-overload]
    assert long["peak_mb"] < short["peak_mb"] + 40  # type: ignore[operator]
