"""Long texts spoken in pieces: what cannot be one file is an error row with its cost, and never the end of the run."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from execute_bench import Bench

from raw_http import RawServer, Reply, Seen, reply

SPEAK = (
    "uses: speak\ninput: '{{ text }}'\nfolder: spoken\nfile_name: '{{ id }}'\nformat: wav\nmax_characters: 100\n"
    "model: tts-1"
)
LONG = "The first sentence fills the first of the two pieces with its many words, so that there are two of them. "


def _wav(rate: int = 24_000, frames: int = 100) -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(2 * frames))
    return target.getvalue()


class Speaker:
    """A server whose answers are changed between runs; `asked` are the texts that came."""

    def __init__(self) -> None:
        self.speak: Callable[[str], bytes] = lambda _: _wav()
        self.asked: list[str] = []

    def __call__(self, seen: Seen) -> Reply:
        self.asked.append(seen.json["input"])
        sound = self.speak(seen.json["input"])
        return reply(body=sound) if sound else reply(400, {"error": {"message": "refused"}})


@pytest.fixture
def speaker(bench: Bench) -> Iterator[Speaker]:
    """Two rows, the second of two pieces, spoken by a `Speaker`."""
    made = Speaker()
    with RawServer(made) as server:
        bench.texts(["One.", LONG + "The SECOND piece."])
        bench.pipeline(SPEAK, provider="retry: {attempts: 2}", more="errors: {stop_above: 100%}\n")
        bench.file.write_text(bench.file.read_text().replace(bench.server.url, f"{server.url}/v1"))
        yield made


def _paid(bench: Bench, errors_usd: float) -> float:
    usage = bench.result()["speak_usage"].struct.field("usd")
    return float(usage.sum()) + errors_usd


def test_a_piece_without_samples_is_asked_again_and_then_makes_an_error_row(bench: Bench, speaker: Speaker) -> None:
    speaker.speak = lambda text: _wav(frames=0) if "SECOND" in text else _wav()
    record = bench.run()
    assert record.account is not None
    assert record.account.failures == {"unusable_answer": 1}
    assert sum("SECOND" in text for text in speaker.asked) == 2
    errors = bench.errors(record)
    assert "without samples" in errors["message"].item()
    assert len(bench.result()) == 1
    assert _paid(bench, errors["usd"].item()) == pytest.approx(record.usage.usd)


def test_pieces_of_different_kinds_make_an_error_row_and_are_asked_again_by_the_next_run(
    bench: Bench, speaker: Speaker
) -> None:
    speaker.speak = lambda text: _wav(8_000) if "SECOND" in text else _wav()
    record = bench.run()
    assert record.account is not None
    assert record.account.failures == {"invalid_answer": 1}
    errors = bench.errors(record)
    assert "different kinds" in errors["message"].item()
    assert _paid(bench, errors["usd"].item()) == pytest.approx(record.usage.usd)
    speaker.speak = lambda _: _wav()
    mended = bench.run()
    assert mended.account is not None
    assert (mended.account.failed, mended.account.written, mended.usage.requests) == (0, 2, 2)
    with wave.open(bench.result()["path"][1]) as file:
        assert file.getnframes() == 200
    assert bench.run().usage.requests == 0


def test_what_the_answered_pieces_of_a_failed_row_cost_stands_at_the_row(bench: Bench, speaker: Speaker) -> None:
    speaker.speak = lambda text: b"" if "SECOND" in text else _wav()
    record = bench.run()
    errors = bench.errors(record)
    assert errors["cause"].to_list() == ["invalid_request"]
    assert errors["usd"].item() > 0
    assert _paid(bench, errors["usd"].item()) == pytest.approx(record.usage.usd)
    speaker.speak = lambda _: _wav()
    assert bench.run().usage.requests == 1
    assert Path(bench.result()["path"][1]).is_file()
