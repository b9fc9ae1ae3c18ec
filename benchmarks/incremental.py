"""Nights of an incremental pipeline: what is sent, how long it takes, and peak memory.

    python benchmarks/incremental.py --rows 300000 --base-url http://127.0.0.1:8104/v1
    python benchmarks/incremental.py --rows 100000 --shuffle

The first night embeds all rows. Nothing has changed in the second. Before the third a row is put at the top, so that
every row stands elsewhere, and one in a hundred has another text. With --shuffle all rows change places, too. Vectors
have 1,536 numbers. A small night before these leaves the libraries compiled, as they are on a machine that has run them
once.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PIPELINE = """\
name: nights
provider: {provider}
source: {{path: rows.csv, key: id}}
incremental: true
steps:
  - {{uses: embed, input: "{{{{ text }}}}", model: text-embedding-3-small}}
outputs:
  - {{uses: parquet, path: out}}
"""
TEXT = "the kettle boils water fast and quiet but its handle gets warm after long use so one star less"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--base-url", help="a server that speaks the API; the sandbox if left out")
    parser.add_argument("--shuffle", action="store_true")
    options = parser.parse_args()
    rows = [(row, f"review {row}: {TEXT}") for row in range(options.rows)]
    provider = f"{{base_url: '{options.base_url}', limits: {{concurrency: 64}}}}" if options.base_url else "sandbox"
    print(f"{'night':<8} {'requests':>9} {'carried':>9} {'seconds':>8} {'CPU-s':>7} {'peak MB':>8}")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "p.yaml").write_text(PIPELINE.format(provider=provider))
        night(Path(folder), "small", rows[:100])
        shutil.rmtree(Path(folder) / ".penstock")
        night(Path(folder), "first", rows)
        night(Path(folder), "the same", rows)
        changed = [(row, text + "!" if row % 100 == 50 else text) for row, text in rows]
        if options.shuffle:
            random.Random(1).shuffle(changed)  # noqa: S311  # the same order each time
        night(Path(folder), "changed", [(-1, "a row at the top"), *changed])


def night(folder: Path, name: str, rows: list[tuple[int, str]]) -> None:
    """One run over these rows, and a line about it."""
    with (folder / "rows.csv").open("w") as file:
        file.write("id,text\n")
        file.writelines(f"{row},{text}\n" for row, text in rows)
    command = [str(Path(sys.executable).with_name("penstock")), "run", "--quiet", "p.yaml"]
    unset = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = {**unset, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    began = time.monotonic()
    probe = [sys.executable, str(Path(__file__).with_name("memory.py")), "--child", *command]
    done = subprocess.run(probe, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.monotonic() - began
    cpu, peak = (float(number) for number in done.stdout.split()[-2:])
    newest = max((folder / ".penstock/nights/runs").glob("*/run.json"))
    record = json.loads(newest.read_text())
    requests, carried = record["usage"]["requests"], record["carried_rows"]
    print(f"{name:<8} {requests:>9,} {carried:>9,} {seconds:>8.1f} {cpu:>7.1f} {peak:>8.0f}", flush=True)


if __name__ == "__main__":
    main()
