"""A recording of hours through `transcribe`: cut, heard by the sandbox, joined, with its memory and its times measured.

    python benchmarks/long_recording.py                          # ten minutes and two hours as MP3
    python benchmarks/long_recording.py --minutes 120 --kind wav

The recording is line noise in which the sample calls are spoken at known seconds, one of them across each place where
a cut that looks at the clock only would fall. Needs the extras `audio` and `speech`. Memory is the peak of the process
that cuts and sends; the sandbox is another one.
"""

from __future__ import annotations

import argparse
import csv
import difflib
import re
import resource
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "sample_data"
RATE = 16_000
EVERY = 276.9
"""Seconds from one call to the next: half a part of the two hours, so that calls lie on the plain cuts."""
CODECS = {"mp3": ("libmp3lame", "s16p"), "wav": ("pcm_s16le", "s16"), "m4a": ("aac", "fltp"), "ogg": ("libopus", "s16")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, nargs="+", default=[10, 120])
    parser.add_argument("--kind", choices=sorted(CODECS), default="mp3")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        measured(options.child)
        return
    head = f"{'minutes':>8} {'MB':>7} {'parts':>6} {'longest':>8} {'words right':>12} {'off by':>8} {'CPU-s':>7}"
    print(f"{head} {'peak MB':>8}", flush=True)
    for minutes in options.minutes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"long.{options.kind}"
            make(path, minutes * 60.0)
            subprocess.run([sys.executable, __file__, "--child", str(path)], check=True)


def spoken_at(seconds: float) -> list[tuple[float, dict[str, str]]]:
    """From which second each call is spoken."""
    with (DATA / "calls.csv").open(newline="", encoding="utf-8") as file:
        calls = list(csv.DictReader(file))
    starts = [EVERY * number - 7 for number in range(1, int(seconds // EVERY) + 1) if EVERY * number + 15 < seconds]
    return [(start, calls[number % len(calls)]) for number, start in enumerate(starts)]


def make(path: Path, seconds: float) -> None:
    """Write the recording, second by second."""
    import av

    codec, layout = CODECS[path.suffix[1:]]
    calls = [(start, samples_of(DATA / call["file"])) for start, call in spoken_at(seconds)]
    noise = array("h", ((number * number * 7919 + number * 104729) % 61 - 30 for number in range(RATE)))
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream(codec, rate=RATE)
        stream.codec_context.layout, stream.codec_context.format = "mono", layout
        stream.codec_context.open(strict=False)
        frame_size = stream.codec_context.frame_size or None
        resampler = av.AudioResampler(format=layout, layout="mono", rate=RATE, frame_size=frame_size)
        for second in range(int(seconds)):
            samples = array("h", noise)
            for start, call in calls:
                first = int((second - start) * RATE)
                if -RATE < first < len(call):
                    for place in range(max(0, -first), min(RATE, len(call) - first)):
                        samples[place] += call[first + place]
            frame = av.AudioFrame(format="s16", layout="mono", samples=RATE)
            frame.planes[0].update(samples.tobytes())
            frame.sample_rate = RATE
            for piece in resampler.resample(frame):
                file.mux(stream.encode(piece))
        for piece in resampler.resample(None):
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))


def samples_of(path: Path) -> array[int]:
    """A call, a little quieter, so that no sum with the noise is too loud."""
    import av

    samples = array("h")
    with av.open(str(path)) as file:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        for frame in [*file.decode(audio=0), None]:
            for piece in resampler.resample(frame):
                samples.frombytes(bytes(piece.planes[0])[: 2 * piece.samples])
    return array("h", (sample * 9 // 10 for sample in samples))


def measured(path: Path) -> None:
    """Transcribe the recording on the sandbox and print one line of the table."""
    import httpx
    import polars as pl
    import pyarrow as pa

    from penstock.sandbox.launch import start
    from penstock.steps import Transcribe

    step = Transcribe(uses="transcribe", file="{{ file }}", folder=str(path.parent), language="en", timestamps="word")
    with start() as server:
        began = time.process_time()
        (payloads,) = step.payloads(pl.DataFrame({"file": [path.name]})).to_list()
        answers = []
        for payload in payloads:
            body = step.body([payload])
            headers = {"content-type": step.content_type, "authorization": f"Bearer {server.key}"}
            response = httpx.post(server.url + step.endpoint, content=body, headers=headers, timeout=600)
            answers.append(step.read(response.content, [payload]))
        (pieces,) = pa.Table.from_batches([answer.columns for answer in answers]).combine_chunks().to_batches()
        (row,) = step.combine(pieces, [1] * len(answers)).to_pylist()
        cpu = time.process_time() - began
    right, count, off = compared(row)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    longest = max(answer.usage.seconds for answer in answers)
    print(
        f"{row['seconds'] / 60:>8.1f} {path.stat().st_size / 1e6:>7.1f} {len(answers):>6} {longest:>7.0f}s "
        f"{right / count:>12.1%} {off:>7.2f}s {cpu:>7.1f} {peak:>8.0f}",
        flush=True,
    )


def compared(row: dict[str, Any]) -> tuple[int, int, float]:
    """Words that are right, words in all, and by how many seconds a call's first words are off at most."""
    right = count = 0
    off = 0.0
    for start, call in spoken_at(row["seconds"]):
        heard = [word for word in row["words"] if start - 2 <= word["start"] <= start + 20]
        true = re.findall(r"[a-z']+", call["true_text"].lower())
        blocks = difflib.SequenceMatcher(None, true, [word["word"].lower() for word in heard], autojunk=False)
        right += sum(block.size for block in blocks.get_matching_blocks())
        count += len(true)
        off = max(off, abs(heard[0]["start"] - start) if heard else 999.0)
    return right, count, off


if __name__ == "__main__":
    main()
