"""Peak memory of `penstock run` as the rows grow: it should stay flat.

    python benchmarks/memory.py                                     # 20,000 and 200,000 rows on the sandbox
    python benchmarks/memory.py --rows 100000 1000000 --base-url http://127.0.0.1:8003/v1

Each size is a run of its own in a fresh folder; the figure is the largest resident set of the command's process, code
of libraries included. With --base-url the load goes to a server of yours on this machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TEXT = "the kettle boils water fast and quiet but its handle gets warm after long use so one star less"
PIPELINE = """\
name: memory
provider: {provider}
source: {{path: rows.csv, key: id}}
steps:
  - uses: filter
    where: length(text) > 0
  - {{uses: embed, input: "{{{{ text }}}}", model: text-embedding-3-small}}
outputs:
  - {{uses: parquet, path: out}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--base-url", help="a server that speaks the API; the sandbox if left out")
    options = parser.parse_args()
    print(f"{'rows':>10} {'seconds':>8} {'CPU-s':>7} {'peak MB':>8} {'MB to the first':>16}")
    first = 0.0
    for rows in options.rows:
        seconds, cpu, peak = measured(rows, options.base_url)
        first = first or peak
        print(f"{rows:>10,} {seconds:>8.1f} {cpu:>7.1f} {peak:>8.0f} {peak / first:>16.2f}", flush=True)


def measured(rows: int, base_url: str | None) -> tuple[float, float, float]:
    """Seconds, CPU-seconds and peak megabytes of one run."""
    with tempfile.TemporaryDirectory() as folder:
        with (Path(folder) / "rows.csv").open("w") as file:
            file.write("id,text\n")
            file.writelines(f"{row},review {row}: {TEXT}\n" for row in range(rows))
        provider = f"{{base_url: '{base_url}', limits: {{concurrency: 64}}}}" if base_url else "sandbox"
        (Path(folder) / "p.yaml").write_text(PIPELINE.format(provider=provider))
        command = [str(Path(sys.executable).with_name("penstock")), "run", "--quiet", "p.yaml"]
        began = time.monotonic()
        # The child measures itself: of its children only it is of interest, not the server it may start.
        probe = [sys.executable, __file__, "--child", *command]
        done = subprocess.run(probe, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
        cpu, peak = (float(number) for number in done.stdout.split()[-2:])
        return time.monotonic() - began, cpu, peak


def child(command: list[str]) -> None:
    """Run the command, wait for it alone, and print its CPU-seconds and its peak in megabytes."""
    process = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
    _, status, usage = os.wait4(process, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise SystemExit(code)
    scale = 1e6 if sys.platform == "darwin" else 1e3
    print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / scale)


if __name__ == "__main__":
    child(sys.argv[2:]) if sys.argv[1:2] == ["--child"] else main()
