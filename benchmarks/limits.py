"""How much of a server's limits a run uses, and how often it goes too far.

    python benchmarks/limits.py               # ten minutes of each, both at once
    python benchmarks/limits.py --quick       # seconds: shows that it runs, measures nothing

The sandbox enforces so many requests, or tokens, a minute by buckets that begin full, and says so in its headers; the
pipeline gives no limit of its own. The share is that of what the server would have answered from the end of the first
minute on, when the full bucket is used up; refused are the answers 429 among all.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from penstock.sandbox.launch import SandboxProcess, start

KEY = "sk-limits-0123456789"
TEXT = "the kettle boils water fast and quiet but its handle gets warm after long use so one star less"
PIPELINE = """\
name: limits
provider: {{base_url: '{base}', api_key: '${{LIMITS_KEY}}'}}
source: {{path: rows.csv, key: id}}
steps:
  - {{uses: embed, input: '{{{{ text }}}}', model: text-embedding-3-small, dimensions: 16, batch_size: 1}}
outputs:
  - {{uses: parquet, path: out}}
"""


@dataclass(frozen=True)
class Limit:
    """One limit of a sandbox; `of` is what `per_minute` counts."""

    of: str
    per_minute: int


LIMITS = (Limit("requests", 1_200), Limit("tokens", 30_000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long each run is watched")
    parser.add_argument("--quick", action="store_true", help="a few seconds: only that it runs")
    options = parser.parse_args()
    minutes = 0.05 if options.quick else options.minutes
    with tempfile.TemporaryDirectory() as folder:
        runs = [Watched(limit, Path(folder) / limit.of, minutes) for limit in LIMITS]
        for run in runs:
            run.begin()
        ends = max(run.began for run in runs) + minutes * 60
        while time.monotonic() < ends:
            time.sleep(min(0.25, minutes))
            for run in runs:
                run.look()
        print(f"{'limit per minute':>20} {'minutes':>8} {'answered':>9} {'share':>6} {'refused':>8}")
        for run in runs:
            run.end()


class Watched:
    """A run against a sandbox with one limit, looked at while it goes on."""

    def __init__(self, limit: Limit, folder: Path, minutes: float) -> None:
        self._limit, self._folder, self._minutes = limit, folder, minutes
        self._seen: list[tuple[float, float, int, int]] = []
        self.began = 0.0

    def begin(self) -> None:
        """Start the server and the run, and wait for the first answer."""
        limits = {"rpm" if self._limit.of == "requests" else "tpm": self._limit.per_minute}
        self._sandbox: SandboxProcess = start(key=KEY, latency="50ms", **limits)
        self._folder.mkdir()
        rows = int(self._limit.per_minute * (self._minutes + 3))
        with (self._folder / "rows.csv").open("w") as file:
            file.write("id,text\n")
            file.writelines(f"{row},review {row}: {TEXT}\n" for row in range(rows))
        (self._folder / "p.yaml").write_text(PIPELINE.format(base=self._sandbox.url))
        command = [str(Path(sys.executable).with_name("penstock")), "run", "--quiet", "p.yaml"]
        environment = {**os.environ, "LIMITS_KEY": KEY}
        self._printed = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed by `end`
        self._process = subprocess.Popen(
            command, cwd=self._folder, env=environment, stdout=self._printed, stderr=self._printed
        )
        while not self.look():
            time.sleep(0.05)
        self.began = self._seen[0][0]

    def look(self) -> bool:
        """Note what was answered and refused by now; whether anything was."""
        if self._process.poll() is not None:
            self._printed.seek(0)
            raise SystemExit(f"the run ended too early:\n{self._printed.read()}")
        told = self._sandbox.stats()
        counts = told["requests"].get("/v1/embeddings", {})
        good, bad = counts.get("200", 0), counts.get("429", 0)
        done = good if self._limit.of == "requests" else told["tokens"]
        if good:
            self._seen.append((time.monotonic(), done, good, bad))
        return bool(good)

    def end(self) -> None:
        """Print the line of the run, and end it and its server."""
        self._process.terminate()
        self._process.wait(60)
        self._sandbox.close()
        self._printed.close()
        first = min(60.0, self._minutes * 30)
        steady = next(one for one in self._seen if one[0] - self.began >= first)
        last = self._seen[-1]
        allowed = self._limit.per_minute * (last[0] - steady[0]) / 60
        share = (last[1] - steady[1]) / allowed
        minutes = (last[0] - self.began) / 60
        print(
            f"{self._limit.per_minute:>11,} {self._limit.of:8} {minutes:>8.1f} {last[2]:>9,} {share:>6.3f} "
            f"{last[3] / (last[2] + last[3]):>8.2%}"
        )


if __name__ == "__main__":
    main()
