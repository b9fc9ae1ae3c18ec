"""Vectors per CPU-second that `embed` reads out of answers, base64 to column, as float32 and as float16.

    python benchmarks/reading.py

An answer holds 128 vectors of 1,536 numbers. Seven runs of each, alternating; lowest, median and highest.
"""

from __future__ import annotations

import base64
import json
import random
import statistics
import struct
import time

from penstock.steps import Embed

TEXTS, NUMBERS, ANSWERS, RUNS = 128, 1536, 100, 7


def main() -> None:
    body = answer()
    steps = {
        dtype: Embed.model_validate(
            {"uses": "embed", "input": "{{ text }}", "model": "text-embedding-3-small", "dtype": dtype}
        )
        for dtype in ("float32", "float16")
    }
    rates: dict[str, list[float]] = {dtype: [] for dtype in steps}
    for step in steps.values():
        rate(step, body)  # libraries are loaded by the first
    for _ in range(RUNS):
        for dtype, step in steps.items():
            rates[dtype].append(rate(step, body))
    print(f"{'dtype':>8} {'lowest':>9} {'median':>9} {'highest':>9}  vectors per CPU-second")
    for dtype, found in rates.items():
        print(f"{dtype:>8} {min(found):>9,.0f} {statistics.median(found):>9,.0f} {max(found):>9,.0f}")


def answer() -> bytes:
    chance = random.Random(1)  # noqa: S311  # any numbers will do
    vectors = [struct.pack(f"<{NUMBERS}f", *(chance.gauss(0, 0.02) for _ in range(NUMBERS))) for _ in range(TEXTS)]
    data = [{"index": place, "embedding": base64.b64encode(vector).decode()} for place, vector in enumerate(vectors)]
    return json.dumps({"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1000}}).encode()


def rate(step: Embed, body: bytes) -> float:
    began = time.process_time()
    for _ in range(ANSWERS):
        step.read(body, ["text"] * TEXTS)
    return ANSWERS * TEXTS / (time.process_time() - began)


if __name__ == "__main__":
    main()
