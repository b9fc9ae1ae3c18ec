"""A file that a row names, changed between the look at it and its request: that row is an error row, and no other."""

from __future__ import annotations

import struct
import wave
import zlib
from pathlib import Path
from typing import Any

import pytest
from execute_bench import Bench

from penstock.execute.api_part import ApiPart

STEPS = {
    "transcribe": "uses: transcribe\nfile: '{{ text }}'\noutput: heard\n",
    "chat": "uses: chat\nmodel: gpt-4o-mini\nmessages:\n  - role: user\n    content:\n      - {text: '{{ id }}?'}\n"
    "      - {image: '{{ text }}'}\n",
    "moderate": "uses: moderate\nimage: '{{ text }}'\n",
}


def _sound(path: Path, seconds: float) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(2 * int(16_000 * seconds)))


def _picture(path: Path, grey: int) -> None:
    def piece(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = piece(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + head + piece(b"IDAT", zlib.compress(bytes([0, grey]))) + piece(b"IEND", b"")
    )


@pytest.mark.parametrize("gone", [False, True], ids=["changed", "gone"])
@pytest.mark.parametrize("kind", STEPS)
def test_a_file_that_changes_before_its_request_costs_its_row_only(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: str, gone: bool
) -> None:
    make, ending = (_sound, "wav") if kind == "transcribe" else (_picture, "png")
    names = [f"{number}.{ending}" for number in range(4)]
    for number, name in enumerate(names):
        make(bench.folder / name, number + 1)
    bench.texts(names)
    bench.pipeline(STEPS[kind], more="errors: {stop_above: 100%}\n")
    ask = ApiPart._ask

    def changed_first(part: ApiPart, *arguments: Any) -> Any:
        target = bench.folder / names[2]
        target.unlink()
        if not gone:
            make(target, 9)
        return ask(part, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ApiPart, "_ask", changed_first)
        record = bench.proven()
    assert record.account is not None
    assert record.account.failures == {"unreadable_file": 1}
    (error,) = bench.errors(record).rows(named=True)
    assert (error["id"], error["attempts"], error["status"]) == (2, 0, None)
    assert ("cannot be read any more" if gone else "was changed since it was looked at") in error["message"]
    assert bench.result()["id"].to_list() == [0, 1, 3]
    make(bench.folder / names[2], 9)
    mended = bench.proven(retries=record.run_id)
    assert mended.account is not None
    assert mended.account.failures == {}
    assert mended.usage.requests == 1, "only the row whose file had changed"
