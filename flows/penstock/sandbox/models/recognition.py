"""Recognition of English speech by PocketSphinx, the extra ``speech``; its model is in the wheel.

The sound is cut at pauses; each cut is recognised on its own, so that a long file is not one long search, and so that
the same sound always gives the same words.
"""

from __future__ import annotations

import importlib.util
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from penstock.sandbox.models.sound import HEARD

_LONGEST_CUT = 10 * HEARD * 2
_PIECE = HEARD // 10 * 2
"""A tenth of a second; between two pieces other threads get their turn. Much smaller ones are heard worse."""
_FRAMES = 100
"""Of the decoder, in a second."""
_local = threading.local()


@dataclass(frozen=True, slots=True)
class Word:
    """One word that was heard; times are seconds from the beginning of the file."""

    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True)
class Utterance:
    """The words between two pauses.

    Attributes:
        start: seconds from the beginning of the file.
        end: likewise.
        words: at least one.
    """

    start: float
    end: float
    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        """As a sentence."""
        line = " ".join(word.text for word in self.words)
        return line[:1].upper() + line[1:] + "."

    @property
    def average_logprob(self) -> float:
        """The mean of the words' logarithms."""
        return sum(math.log(max(word.probability, 1e-9)) for word in self.words) / len(self.words)


def has_recogniser() -> bool:
    """Whether the extra ``speech`` is installed."""
    return importlib.util.find_spec("pocketsphinx") is not None


def recognise(samples: bytes) -> list[Utterance]:
    """What is said in `samples` (16 bits, one channel, `HEARD` a second); empty when nothing is.

    Holds one decoder per thread, about 60 MB.
    """
    heard = (_hear(start, cut) for start, cut in _cuts(samples))
    return [utterance for utterance in heard if utterance.words]


def _cuts(samples: bytes) -> Iterator[tuple[float, bytes]]:
    """Where speech is: its begin in seconds, and its samples."""
    from pocketsphinx import Endpointer

    pauses = Endpointer(sample_rate=HEARD)
    size = pauses.frame_bytes
    start, cut = 0.0, bytearray()
    for place in range(0, len(samples), size):
        frame = samples[place : place + size]
        last = place + size >= len(samples)
        speech = pauses.end_stream(frame) if last else pauses.process(frame)
        if speech:
            if not cut:
                start = pauses.speech_start
            cut += speech
        if cut and (last or not pauses.in_speech or len(cut) >= _LONGEST_CUT):
            yield start, bytes(cut)
            start += len(cut) / 2 / HEARD
            cut.clear()


def _hear(start: float, samples: bytes) -> Utterance:
    decoder = _decoder()
    # Forgets the loudness and colour of what it heard before, and learns those of this cut.
    decoder.reinit_feat()
    decoder.start_utt()
    decoder.process_raw(samples, no_search=True)
    decoder.end_utt()
    decoder.start_utt()
    for place in range(0, len(samples), _PIECE):
        decoder.process_raw(samples[place : place + _PIECE])
        time.sleep(0)
    decoder.end_utt()
    words = tuple(
        Word(
            _spell(segment.word),
            round(start + segment.start_frame / _FRAMES, 2),
            round(start + (segment.end_frame + 1) / _FRAMES, 2),
            min(1.0, segment.prob),
        )
        for segment in (decoder.seg() or ())
        if segment.word[0] not in "<[+"
    )
    return Utterance(round(start, 2), round(start + len(samples) / 2 / HEARD, 2), words)


def _spell(word: str) -> str:
    # Other ways to say a word are numbered: really(2).
    word = word.partition("(")[0]
    return word.capitalize() if word == "i" or word.startswith("i'") else word


def _decoder() -> Any:
    decoder = getattr(_local, "decoder", None)
    if decoder is None:
        from pocketsphinx import Decoder

        decoder = _local.decoder = Decoder(samprate=HEARD, loglevel="FATAL")
    return decoder
