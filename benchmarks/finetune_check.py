"""Megabytes per CPU-second that `penstock finetune check` reads, by kind of line and by what is looked for.

    python benchmarks/finetune_check.py
    python benchmarks/finetune_check.py --megabytes 500 --once --look structure

Files are made of random words, so that no two examples are alike, and removed at the end. Structure is all checks of
one line and of equal examples; the others add one look each. Five runs; lowest, median and highest. The peak is that
of the whole process, libraries included; with ``--once`` the first kind of line and the looks are run once.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.outputs.finetune.check import check_files
from penstock.outputs.finetune.limits import KINDS, NEAR, Rules

RUNS = 5
LOOKS: dict[str, dict[str, Any]] = {
    "structure": {},
    "personal data": {"personal": KINDS},
    "near duplicates": {"near": NEAR},
    "tokens": {"tokens": True},
    "all": {"personal": KINDS, "near": NEAR, "tokens": True},
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--megabytes", type=int, default=20)
    options.add_argument("--once", action="store_true")
    options.add_argument("--look", choices=LOOKS)
    given = options.parse_args()
    print(f"{'lines':>12} {'look':>16} {'lowest':>7} {'median':>7} {'highest':>7}  MB per CPU-second")
    with tempfile.TemporaryDirectory() as folder:
        for kind, made in KINDS_OF_LINES.items():
            path = write(Path(folder, f"{kind}.jsonl"), made, given.megabytes)
            looks = LOOKS if kind == "chat" else {"structure": {}}
            looks = {given.look: LOOKS[given.look]} if given.look else looks
            rate(path, looks.get("all", next(iter(looks.values()))), first_megabyte=True)
            for look, rules in looks.items():
                rates = [rate(path, rules) for _ in range(1 if given.once else RUNS)]
                told = f"{min(rates):>7.0f} {statistics.median(rates):>7.0f} {max(rates):>7.0f}"
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                print(f"{kind:>12} {look:>16} {told}  {peak:.0f} MiB at the most so far", flush=True)
            path.unlink()
            if given.once:
                break


def rate(path: Path, looked_for: dict[str, Any], *, first_megabyte: bool = False) -> float:
    if first_megabyte:
        # Libraries are loaded and vocabularies made before anything is measured.
        head = path.with_name("first.jsonl")
        with path.open("rb") as file:
            head.write_bytes(file.read(1_000_000).rpartition(b"\n")[0])
        path = head
    rules = Rules.of(**{"tokens": False, "near": None, "personal": (), **looked_for})
    began = time.process_time()
    report = check_files(path, rules=rules)
    seconds = time.process_time() - began
    assert not report.errors, report.training.found.counts
    return path.stat().st_size / 1e6 / seconds


def write(path: Path, made: Callable[[random.Random, int], dict[str, Any]], megabytes: int) -> Path:
    chance = random.Random(1)  # noqa: S311  # any words will do
    size = number = 0
    with path.open("w", encoding="utf-8") as file:
        while size < megabytes * 1_000_000:
            number += 1
            line = json.dumps(made(chance, number), ensure_ascii=False) + "\n"
            size += file.write(line)
    return path


CHANCE = random.Random(2)  # noqa: S311  # any words will do
WORDS = ["".join(CHANCE.choices("etaoinshrdlu", k=2 + place % 8)) for place in range(4_000)]
SYSTEM = {"role": "system", "content": "You answer support tickets of a parcel service, politely and briefly."}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Looks up what is known of a parcel, by its number.",
            "parameters": {
                "type": "object",
                "properties": {"number": {"type": "string", "description": "As printed on the parcel."}},
                "required": ["number"],
            },
        },
    }
    for name in ("find_parcel", "find_customer")
]


def said(chance: random.Random, fewest: int = 10, most: int = 80) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(fewest, most)))


def user(chance: random.Random) -> dict[str, Any]:
    return {"role": "user", "content": said(chance)}


def answer(chance: random.Random) -> dict[str, Any]:
    return {"role": "assistant", "content": said(chance)}


def chat(chance: random.Random, number: int) -> dict[str, Any]:  # noqa: ARG001
    return {"messages": [SYSTEM, user(chance), answer(chance)]}


def calling(chance: random.Random, number: int) -> dict[str, Any]:
    arguments = json.dumps({"number": str(number)})
    call = {"id": f"c{number}", "type": "function", "function": {"name": "find_parcel", "arguments": arguments}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    found = {"role": "tool", "tool_call_id": f"c{number}", "content": json.dumps({"state": said(chance, 3, 20)})}
    return {"messages": [SYSTEM, user(chance), asked, found, answer(chance)], "tools": TOOLS}


def preference(chance: random.Random, number: int) -> dict[str, Any]:  # noqa: ARG001
    return {
        "input": {"messages": [SYSTEM, user(chance)]},
        "preferred_output": [answer(chance)],
        "non_preferred_output": [answer(chance)],
    }


KINDS_OF_LINES = {"chat": chat, "tools": calling, "preference": preference}

if __name__ == "__main__":
    main()
