"""Rows through `embed` and `chat` while every tenth request fails somehow and the process is killed again and again.

At the end every row must be there once, the table must be that of an undisturbed run, and what was paid twice must have
been on its way at a kill. ::

    python benchmarks/chaos.py --rows 200000 --kills 100
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from penstock.runs.history import list_runs
from penstock.sandbox.launch import SandboxProcess, start

FAULTS = (
    *("408", "409", "429", "500", "502", "503", "504", "529", "reset", "close", "cut", "hang"),
    *("html", "text", "badjson", "empty", "bom", "floats", "shuffled", "one-short", "one-over", "bad-index"),
    *("wrong-dim", "nan", "inf", "zeros", "no-choices"),
)
"""Every fault that some next attempt is spared; those that end a run or change what is said have tests of their own."""

CONCURRENCY = 16
BATCH = 10
PIPELINE = """
name: chaos
provider:
  base_url: {url}
  api_key: ${{CHAOS_API_KEY}}
  limits: {{concurrency: {concurrency}}}
  retry: {{attempts: 12, max_wait: 200ms}}
  timeout: {{connect: 5s, read: 2s, total: 4s}}
source: {{path: rows.csv, key: id, partition_rows: {partition}}}
steps:
  - {{uses: embed, input: "{{{{ text }}}}", model: text-embedding-3-small, dimensions: 8, batch_size: {batch}}}
  - {{uses: chat, model: gpt-4o-mini, prompt: "Repeat: {{{{ text }}}}", when: id % {every} = 0}}
outputs:
  - {{uses: parquet, path: {output}}}
errors: {{stop_above: 50%}}
"""
RUN = """
import sys
from pathlib import Path
from penstock.execute.inline import run_inline
from penstock.execute.session import Request, open_session
with open_session(Request(Path(sys.argv[1]))) as session:
    run_inline(session)
"""


@dataclass
class Figures:
    """What came of it.

    Attributes:
        asked: rows that a model was asked for, over both steps.
        paid: good answers of the server, counted by row.
        twice: those beyond the first for one row.
        in_flight: requests that the server had at each kill.
        waste: rows paid twice that cannot have been on their way at a kill; must not be above 0.
        differences: cells in which the table is not that of an undisturbed run.
    """

    rows: int
    asked: int
    kills: int
    seconds: float
    requests: int
    faults: int
    kinds: int
    paid: int
    twice: int
    written: int
    failed: int
    differences: int
    in_flight: list[int] = field(default_factory=list)

    @property
    def waste(self) -> int:
        """See above: of the requests in flight each holds a batch at most."""
        return self.twice - CONCURRENCY * BATCH * self.kills

    def __str__(self) -> str:
        return (
            f"{self.rows:,} rows, {self.asked:,} questions, {self.kills} kills, {self.seconds:.0f} s\n"
            f"{self.requests:,} requests, {self.faults:,} of them met one of {self.kinds} kinds of faults\n"
            f"written {self.written:,}, failed {self.failed:,}, cells that differ {self.differences:,}\n"
            f"paid {self.paid:,}, twice {self.twice:,} ({self.twice / self.paid:.2%}); "
            f"{sum(self.in_flight):,} requests were in flight at the kills"
        )


def chaos(folder: Path, *, rows: int, every: int, kills: int, share: float = 0.1, seed: int = 7) -> Figures:
    """Run it in `folder`; the chat step asks for each `every`-th row."""
    (folder / "rows.csv").write_text("id,text\n" + "".join(f"{n},row number {n} of many\n" for n in range(rows)))
    os.environ["CHAOS_API_KEY"] = "sk-sandbox"
    os.environ.pop("PENSTOCK_STATE", None)
    each = [f"{name}:{share / len(FAULTS):.5f}" for name in FAULTS]
    began = time.monotonic()
    with start(faults=each, seed=seed, latency="5ms..25ms") as server:
        disturbed = _pipeline(folder / "disturbed.yaml", server, rows, every)
        in_flight = _killed(disturbed, server, kills, rows // BATCH + rows // every, random.Random(seed))  # noqa: S311
        _run(disturbed)
        seconds = time.monotonic() - began
        stats = server.stats()
    with start() as server:
        shutil.rmtree(folder / ".penstock" / "calm", ignore_errors=True)
        _run(_pipeline(folder / "calm.yaml", server, rows, every))
    record = max(
        list_runs(folder / ".penstock"), key=lambda found: found[1].run_id if found[1].pipeline == "disturbed" else ""
    )[1]
    account = record.account
    assert account is not None, record.message
    assert account.read == rows
    return Figures(
        rows=rows,
        asked=rows + rows // every,
        kills=kills,
        seconds=seconds,
        requests=stats["total_requests"],
        faults=sum(stats["faults"].values()),
        kinds=len(stats["faults"]),
        paid=stats["inputs"],
        twice=stats["repeated_answers"],
        written=account.written,
        failed=account.failed,
        differences=_differences(_table(folder / "disturbed"), _table(folder / "calm")),
        in_flight=in_flight,
    )


def _pipeline(path: Path, server: SandboxProcess, rows: int, every: int) -> Path:
    text = PIPELINE.format(
        url=server.url,
        concurrency=CONCURRENCY,
        batch=BATCH,
        every=every,
        partition=max(rows // 20, 100),
        output=path.stem,
    )
    path.write_text(text.replace("name: chaos", f"name: {path.stem}"))
    return path


def _run(path: Path) -> None:
    subprocess.run([sys.executable, "-c", RUN, str(path)], check=True)


def _killed(path: Path, server: SandboxProcess, kills: int, requests: int, dice: random.Random) -> list[int]:
    """Start the run and kill it at random moments, spread over all of its requests; what was in flight each time."""
    found = []
    for kill in range(kills):
        wanted = (kill + dice.random()) * requests / (kills + 1)
        with subprocess.Popen([sys.executable, "-c", RUN, str(path)]) as process:
            while _answered(server) <= wanted:
                assert process.poll() is None, f"kill {kill}: it ended by itself, with code {process.returncode}"
                time.sleep(0.005)
            time.sleep(dice.uniform(0, 0.05))
            found.append(server.stats()["in_flight"])
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
    return found


def _answered(server: SandboxProcess) -> int:
    return sum(counts.get("200", 0) for counts in server.stats()["requests"].values())


def _table(folder: Path) -> pl.DataFrame:
    table = pl.read_parquet(folder)
    return table.drop([name for name in table.columns if name.endswith("_usage")])


def _differences(one: pl.DataFrame, other: pl.DataFrame) -> int:
    if one.shape != other.shape or one.schema != other.schema:
        return max(one.height * one.width, other.height * other.width)
    return sum(int((one[name].ne_missing(other[name])).sum()) for name in one.columns)


def main() -> None:
    """Print the figures of one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--every", type=int, default=10, help="the chat step asks for each n-th row")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(chaos(Path(folder), rows=given.rows, every=given.every, kills=given.kills, seed=given.seed))


if __name__ == "__main__":
    main()
