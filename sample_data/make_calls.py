"""Writes calls.csv and the recordings in calls/, spoken by the voices of Flite.

    python sample_data/make_calls.py

Needs the program `flite` with its voices (Debian: apt-get install flite; the files here are of version 2.2-5) and PyAV
(the extra `audio`). One recording in each format that the transcriptions endpoint takes, and one more WAV file.
The texts were written for this project.
"""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import tempfile
import wave
from pathlib import Path
from typing import Any, NamedTuple

import av

FOLDER = Path(__file__).parent
RATE = 16_000
PAUSE = 0.7
"""Seconds between sentences; the voices themselves hardly pause."""
STRETCH = 1.1
"""The voices are in more of a hurry than people on the telephone."""
CODECS = {
    "wav": ("wav", "pcm_s16le", "s16", None),
    "flac": ("flac", "flac", "s16", None),
    "mp3": ("mp3", "libmp3lame", "s16p", 48_000),
    "mpga": ("mp3", "libmp3lame", "s16p", 64_000),
    "mpeg": ("mp3", "libmp3lame", "s16p", 64_000),
    "m4a": ("ipod", "aac", "fltp", 64_000),
    "mp4": ("mp4", "aac", "fltp", 64_000),
    "ogg": ("ogg", "libopus", "s16", 32_000),
    "webm": ("webm", "libopus", "s16", 32_000),
}
"""By ending: container, codec, samples and bits per second."""


class Call(NamedTuple):
    """One call."""

    call_id: str
    ending: str
    voice: str
    caller: str
    text: str


CALLS = [
    Call(
        "c01", "wav", "rms", "Martin Miller",
        "Good morning, this is Martin Miller from the water company. We must change a pipe in your house "
        "before the end of the month. Please call us back and tell us which day is best for you.",
    ),
    Call(
        "c02", "flac", "rms", "Robert Green",
        "Hello, my name is Robert Green. I ordered two chairs and a table three weeks ago, and only the "
        "chairs have come. Can you please find out where the table is, and when it will be here?",
    ),
    Call(
        "c03", "mp3", "slt", "Susan Hill",
        "Hi, this is Susan. The train is late again, so I will not be at the office before ten. Please start "
        "the meeting without me, and send me the notes in the afternoon.",
    ),
    Call(
        "c04", "mpga", "rms", "David Brown",
        "This is David Brown. I want to change the date of my visit to the doctor. I can come on Monday or on"
        " Friday, but not before nine in the morning. Thank you very much.",
    ),
    Call(
        "c05", "mpeg", "rms", "Henry Cook",
        "Hello, I am calling about the room that you have for rent. Is it still free? We are two people and a"
        " small dog. We would like to see it this week, if that is possible.",
    ),
    Call(
        "c06", "m4a", "rms", "Peter Stone",
        "Good evening. The new washing machine does not work. There is water on the floor, and the door will "
        "not open. I need somebody to come and look at it as soon as possible.",
    ),
    Call(
        "c07", "mp4", "rms", "Paul Wood",
        "This is a message for the school. My son is ill, and he will stay at home today and tomorrow. His "
        "teacher can send his work to my address. Have a good day.",
    ),
    Call(
        "c08", "ogg", "rms", "George Banks",
        "Hello, this is the bank. We have a question about the money that was sent from your account on "
        "Tuesday. Do not worry, nothing is lost. Please come to our office with your card.",
    ),
    Call(
        "c09", "webm", "awb", "Frank Field",
        "I am very happy with the book that I bought in your shop last week. My mother wants one, too. Could "
        "you keep another one for me? I will come and pay for it on Saturday.",
    ),
    Call(
        "c10", "wav", "awb", "Andrew Young",
        "Please hold the line. Thank you for waiting. The road to the airport is closed because of the snow.",
    ),
]  # fmt: skip


def spoken(call: Call) -> bytes:
    """16-bit samples, one channel, `RATE` a second."""
    parts: list[bytes] = []
    for sentence in re.split(r"(?<=[.?!])\s+", call.text):
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            speaks = ["flite", "-voice", call.voice, "--setf", f"duration_stretch={STRETCH}"]
            subprocess.run([*speaks, "-t", sentence, "-o", file.name], check=True)  # noqa: S603  # the program of this recipe
            with wave.open(file.name) as sound:
                if sound.getframerate() != RATE:
                    raise SystemExit(f"the voice {call.voice} speaks at {sound.getframerate()} samples a second")
                parts.append(sound.readframes(sound.getnframes()))
    return bytes(2 * int(PAUSE * RATE)).join(parts)


def write(path: Path, samples: bytes, ending: str) -> None:
    """Encode the samples; without random numbers in the file, so that it is the same each time."""
    container, codec, layout, bits = CODECS[ending]
    with av.open(str(path), "w", format=container, options={"fflags": "+bitexact"}) as file:
        stream: Any = file.add_stream(codec, rate=RATE)
        context = stream.codec_context
        context.layout, context.format = "mono", layout
        if bits:
            context.bit_rate = bits
        context.flags |= av.codec.context.Flags.bitexact
        context.open(strict=False)
        resampler = av.AudioResampler(format=layout, layout="mono", rate=RATE, frame_size=context.frame_size or None)
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(samples) // 2)
        frame.planes[0].update(samples)
        frame.sample_rate = RATE
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))


def main() -> int:
    """Write everything."""
    (FOLDER / "calls").mkdir(exist_ok=True)
    with (FOLDER / "calls.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["call_id", "file", "caller", "voice", "true_text"])
        for call in CALLS:
            name = f"calls/{call.call_id}.{call.ending}"
            write(FOLDER / name, spoken(call), call.ending)
            rows.writerow([call.call_id, name, call.caller, call.voice, call.text])
    return 0


if __name__ == "__main__":
    sys.exit(main())
