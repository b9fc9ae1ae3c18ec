"""How much of what is possible a whole `penstock run` reaches, and how it stands beside the official SDK.

    python benchmarks/throughput.py            # all of it, three runs of each, some minutes
    python benchmarks/throughput.py --quick    # everything once with few rows: shows that it runs, measures nothing

All in one run, against `benchmarks/canned.py`, each measured process on one processor and the server on another:

- *share of ideal*: chat rows per second in the middle of a run, to requests in flight divided by the latency;
- *chat rows per CPU-second* of `penstock run`, of the official SDK over aiohttp with a semaphore, and of the bare HTTP
  client that Penstock sends with;
- *vectors per CPU-second* of `penstock run`, and of receiving, decoding and writing them and nothing else.

Rates are marginal: what more rows cost beyond a small run, so that start-up counts on neither side. The SDK is measured
where `openai`, `aiohttp` and `httpx-aiohttp` are installed (`pip install 'openai[aiohttp]'`).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TEXT = "the kettle boils water fast and quiet but its handle gets warm after long use so one star less"
PIPELINE = """\
name: throughput
provider: {{base_url: '{base}', limits: {{concurrency: {in_flight}}}}}
source: {{path: rows.csv, key: id}}
steps:
  - {step}
outputs:
  - {{uses: parquet, path: out}}
"""
CHAT = "{uses: chat, prompt: '{{ text }}', model: gpt-4o-mini, temperature: 0}"
EMBED = "{uses: embed, input: '{{ text }}', model: text-embedding-3-small, dimensions: 1536}"
LATENCY_MS = 50
BUCKET_SECONDS = 0.1


@dataclass(frozen=True)
class Sizes:
    """Rows of the small and the large run of each rate."""

    chat: tuple[int, int] = (2_000, 20_000)
    vectors: tuple[int, int] = (10_000, 150_000)
    in_flight: tuple[int, ...] = (64, 256)
    seconds: float = 12.0
    runs: int = 3


QUICK = Sizes(chat=(50, 200), vectors=(200, 800), in_flight=(64,), seconds=0.5, runs=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rows, once: only that it runs")
    sizes = QUICK if parser.parse_args().quick else Sizes()
    shares_of_ideal(sizes)
    compare(
        "chat rows",
        sizes.chat,
        sizes.runs,
        {"penstock run": penstock(CHAT), "bare HTTP client": script("chat_bare"), **sdk("chat_sdk")},
    )
    compare(
        "vectors of 1,536",
        sizes.vectors,
        sizes.runs,
        {"penstock run": penstock(EMBED), "receive, decode, write": script("vectors_bare")},
    )


def shares_of_ideal(sizes: Sizes) -> None:
    """Print the share for each number of requests in flight."""
    print(
        f"{'in flight':>10} {'ideal':>8} {'median':>8} {'share':>6}   rows per second, server latency {LATENCY_MS} ms"
    )
    for in_flight in sizes.in_flight:
        ideal = in_flight / LATENCY_MS * 1000
        found = []
        for _ in range(sizes.runs):
            with server(LATENCY_MS) as base:
                penstock(CHAT, in_flight)(int(ideal * sizes.seconds), base)
                found.append(steady_rate(ask(base, "/stats")["buckets"]))
        median = statistics.median(found)
        print(f"{in_flight:>10} {ideal:>8,.0f} {median:>8,.0f} {median / ideal:>6.2f}", flush=True)


def steady_rate(buckets: list[int]) -> float:
    """Requests per second between the first and the last fifth of them."""
    total, seen, middle = sum(buckets), 0, []
    for count in buckets:
        seen += count
        if 0.2 * total < seen < 0.8 * total:
            middle.append(count)
    return sum(middle) / (len(middle) * BUCKET_SECONDS) if middle else 0.0


Work = Callable[[int, str], float]
"""Does so many rows against a base URL and tells its CPU-seconds."""


def compare(what: str, rows: tuple[int, int], runs: int, works: dict[str, Work]) -> None:
    """Print the marginal rates of all, and what the first is to each."""
    rates: dict[str, list[float]] = {name: [] for name in works}
    few, many = rows
    with server(0) as base:
        for _ in range(runs):
            for name, work in works.items():
                cpu = [work(number, base) for number in (few, many)]
                rates[name].append((many - few) / max(cpu[1] - cpu[0], 1e-9))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    ours = next(iter(medians.values()))
    print(f"\n{what} per CPU-second, {few:,} to {many:,} rows")
    print(f"{'':24} {'lowest':>9} {'median':>9} {'highest':>9} {'ours to it':>11}")
    for name, found in rates.items():
        print(
            f"{name:24} {min(found):>9,.0f} {medians[name]:>9,.0f} {max(found):>9,.0f} {ours / medians[name]:>11.2f}",
            flush=True,
        )


def penstock(step: str, in_flight: int = 64) -> Work:
    """`penstock run` of one step."""

    def run(rows: int, base: str) -> float:
        with tempfile.TemporaryDirectory() as folder:
            with (Path(folder) / "rows.csv").open("w") as file:
                file.write("id,text\n")
                file.writelines(f"{row},review {row}: {TEXT}\n" for row in range(rows))
            text = PIPELINE.format(base=base, in_flight=in_flight, step=step)
            (Path(folder) / "p.yaml").write_text(text)
            command = [str(Path(sys.executable).with_name("penstock")), "run", "--quiet", "p.yaml"]
            return measured(command, folder)

    return run


def script(name: str) -> Work:
    """One of `benchmarks/rivals.py`."""
    return lambda rows, base: measured([sys.executable, str(HERE / "rivals.py"), name, str(rows), base])


def sdk(name: str) -> dict[str, Work]:
    """The official SDK, where it and aiohttp are installed."""
    if all(importlib.util.find_spec(module) for module in ("openai", "aiohttp", "httpx_aiohttp")):
        return {"openai SDK over aiohttp": script(name)}
    print("\nnote: the SDK is not measured: pip install 'openai[aiohttp]'")
    return {}


def measured(command: list[str], folder: str | None = None) -> float:
    """CPU-seconds of a command on the first processor; what it prints is shown when it fails."""
    with tempfile.TemporaryFile("w+") as printed:
        with pinned(0):
            process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            printed.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{printed.read()}")
    return usage.ru_utime + usage.ru_stime


@contextmanager
def server(latency: float) -> Iterator[str]:
    """A canned server on the second processor; its base URL."""
    command = [sys.executable, str(HERE / "canned.py"), "--latency", str(latency)]
    with pinned(1):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def pinned(processor: int) -> Iterator[None]:
    """What is started meanwhile stays on one processor, where the system can say so and has as many."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(allowed)[processor % len(allowed)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def ask(base: str, path: str) -> dict[str, list[int]]:
    """What the server tells."""
    with urllib.request.urlopen(base.removesuffix("/v1") + path) as answer:  # noqa: S310  # our own server
        told: dict[str, list[int]] = json.loads(answer.read())
    return told


if __name__ == "__main__":
    main()
