"""Recognition of English speech by PocketSphinx, the extra ``speech``; its model is in the wheel.

The sound is cut at pauses; each cut is recognised on its own, so that a long file is not one long search, and so that
the same sound always gives the same words.
"""

from __future__ import annotations

import importlib.util
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from penstock.sandbox.models.sound import HEARD

_LONGEST_CUT = 10 * HEARD * 2
_EDGE = HEARD * 15 // 100 * 2
"""Bytes of the pause that are heard with a cut at each side: the first and the last word are heard better so."""
_FRAMES = 100
"""Of the decoder, in a second."""
_MOST_STATES = 2_500
"""Guesses that are followed at once, of 30,000 by itself: the ten sample calls give the same words and times, for
60 % of the CPU-seconds."""
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
    heard = (_hear(samples, start, end, edges) for start, end, edges in _cuts(samples))
    return [utterance for utterance in heard if utterance.words]


def _cuts(samples: bytes) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """Where speech is: its first byte, the byte after its last, and how much of the pause at either side is near."""
    from pocketsphinx import Endpointer

    pauses = Endpointer(sample_rate=HEARD)
    size = pauses.frame_bytes
    start, length, after_pause = 0, 0, True
    for place in range(0, len(samples), size):
        frame = samples[place : place + size]
        last = place + size >= len(samples)
        speech = pauses.end_stream(frame) if last else pauses.process(frame)
        if speech:
            if not length:
                start = round(pauses.speech_start * HEARD) * 2 if after_pause else start
            length += len(speech)
        ended = last or not pauses.in_speech
        if length and (ended or length >= _LONGEST_CUT):
            yield start, start + length, (_EDGE if after_pause else 0, _EDGE if ended else 0)
            start, length, after_pause = start + length, 0, ended


def _hear(samples: bytes, start: int, end: int, edges: tuple[int, int]) -> Utterance:
    begin = max(0, start - edges[0])
    cut = samples[begin : end + edges[1]]
    decoder = _decoder()
    # Forgets the loudness and colour of what it heard before, and learns those of this cut.
    decoder.reinit_feat()
    decoder.start_utt()
    decoder.process_raw(cut, no_search=True)
    decoder.end_utt()
    decoder.start_utt()
    # Not as `full_utt`, which would throw away what the first pass has learnt.
    decoder.process_raw(cut)
    decoder.end_utt()
    words = tuple(
        Word(
            _spell(segment.word),
            round(_seconds(begin) + segment.start_frame / _FRAMES, 2),
            round(_seconds(begin) + (segment.end_frame + 1) / _FRAMES, 2),
            min(1.0, segment.prob),
        )
        for segment in (decoder.seg() or ())
        if segment.word[0] not in "<[+"
    )
    times = [time for word in words for time in (word.start, word.end)]
    first, last = min([_seconds(start), *times]), max([_seconds(end), *times])
    return Utterance(round(first, 2), round(last, 2), words)


def _seconds(size: int) -> float:
    return size / 2 / HEARD


def _spell(word: str) -> str:
    # Other ways to say a word are numbered: really(2).
    word = word.partition("(")[0]
    return word.capitalize() if word == "i" or word.startswith("i'") else word


def _decoder() -> Any:
    decoder = getattr(_local, "decoder", None)
    if decoder is None:
        from pocketsphinx import Decoder

        decoder = _local.decoder = Decoder(samprate=HEARD, loglevel="FATAL", maxhmmpf=_MOST_STATES)
    return decoder
