"""What is said in a file of sound, found out in processes of their own.

The recogniser holds Python's lock while it searches, and would keep all other requests waiting. So it runs in up to
two child processes, started when they are first needed; they end when the server does, however it ends.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from functools import cache
from queue import SimpleQueue
from typing import IO, Literal

import msgspec

from penstock.sandbox.launch import child_environment
from penstock.sandbox.models import sound
from penstock.sandbox.models.recognition import Utterance, recognise

SHORTEST = 0.1
"""Seconds that a file must last."""
_PROCESSES = 2
_PATIENCE = 1.0

Reason = Literal["unreadable", "too long", "too short"]


class Heard(msgspec.Struct, frozen=True):
    """Seconds of sound, and what is said in them."""

    seconds: float
    utterances: list[Utterance]


class _Unheard(msgspec.Struct, frozen=True, tag=True):
    reason: Reason


class _Answer(msgspec.Struct, frozen=True, tag=True):
    heard: Heard


class NotHeard(Exception):
    """The file holds nothing that can be heard; `reason` says why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class RecogniserDied(Exception):
    """Its process ended without an answer; the next file gets a new one."""


def hear(content: bytes) -> Future[Heard]:
    """What is said in a file; the future raises `NotHeard` or `RecogniserDied`."""
    future: Future[Heard] = Future()
    _waiting().put((future, content))
    return future


@cache
def _waiting() -> SimpleQueue[tuple[Future[Heard], bytes]]:
    """The files that nobody has begun with, and the threads that take them."""
    waiting: SimpleQueue[tuple[Future[Heard], bytes]] = SimpleQueue()
    for number in range(_PROCESSES):
        threading.Thread(target=_serve, args=(waiting,), name=f"recognition-{number}", daemon=True).start()
    return waiting


def _serve(waiting: SimpleQueue[tuple[Future[Heard], bytes]]) -> None:
    """One thread's life: it hands its process a file at a time."""
    child = _Child()
    while True:
        future, content = waiting.get()
        if not future.set_running_or_notify_cancel():
            continue
        try:
            answer = child.ask(content)
        except RecogniserDied as error:
            future.set_exception(error)
            continue
        if isinstance(answer, _Unheard):
            future.set_exception(NotHeard(answer.reason))
        else:
            future.set_result(answer.heard)


class _Child:
    """A process that hears; started when it is first needed, and again when it has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, content: bytes) -> _Answer | _Unheard:
        """Its answer; when it was killed since its last one, that of the next.

        Raises:
            RecogniserDied: a new process died of this file.
        """
        kept = self._process
        if kept is not None:
            try:
                return _ask(kept, content)
            except (EOFError, OSError):
                _end(kept)
        process = self._process = _start()
        try:
            return _ask(process, content)
        except (EOFError, OSError) as error:
            self._process = None
            _end(process)
            raise RecogniserDied(f"the recogniser ended with code {process.returncode}: {error}") from None


def _start() -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "penstock.sandbox.hearing"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_environment(),
    )
    atexit.register(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    """Closing its standard input ends it; if not, it is killed."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _ask(process: subprocess.Popen[bytes], content: bytes) -> _Answer | _Unheard:
    assert process.stdin is not None  # noqa: S101  # asked for above
    assert process.stdout is not None  # noqa: S101
    _write(process.stdin, content)
    return msgspec.msgpack.decode(_read(process.stdout), type=_Answer | _Unheard)


def _write(target: IO[bytes], content: bytes) -> None:
    target.write(len(content).to_bytes(8, "big"))
    target.write(content)
    target.flush()


def _read(source: IO[bytes]) -> bytes:
    head = source.read(8)
    size = int.from_bytes(head, "big")
    content = source.read(size) if len(head) == 8 else b""
    if len(head) < 8 or len(content) < size:
        raise EOFError("no more to read")
    return content


# ---- in the child


def main() -> None:
    """Hear one file after the other: their lengths and bytes come by standard input, answers go to standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this process too
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    files: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_take, args=(files,), daemon=True).start()
    for content in iter(files.get, None):
        _write(answers, msgspec.msgpack.encode(_listen(content)))


def _take(files: SimpleQueue[bytes]) -> None:
    for content in _given():
        files.put(content)
    os._exit(0)  # also amid a file: nobody waits for it any more


def _given() -> Iterator[bytes]:
    with contextlib.suppress(EOFError):
        while True:
            yield _read(sys.stdin.buffer)


def _listen(content: bytes) -> _Answer | _Unheard:
    try:
        samples = sound.decode(content)
    except (sound.UnreadableSound, sound.MissingDecoder):
        return _Unheard("unreadable")
    except sound.TooLongSound:
        return _Unheard("too long")
    seconds = len(samples) / 2 / sound.HEARD
    if seconds < SHORTEST:
        return _Unheard("too short")
    return _Answer(Heard(seconds, recognise(samples)))


if __name__ == "__main__":
    main()
