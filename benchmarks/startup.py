"""What it costs to begin: the command line's own start, and the first rows of a run, beside importing Prefect.

    python benchmarks/startup.py            # five of each, alternating, about two minutes
    python benchmarks/startup.py --quick    # everything once: shows that it runs, measures nothing

Two tables, each as ratios to `python -c "import prefect"` and to `python -c pass` in the same run:

- *CPU-seconds* of `penstock --help` and of `penstock check` of the first pipeline, neither of which imports Prefect;
- *seconds by the clock* of a run of three rows on the sandbox, its first rows ever each time: while the local Prefect
  server is up (the limit is 5 s), and with the server to be started first (the limit is 20 s). Processes that the run
  starts and ends itself count to its CPU-seconds, the server that stays does not.

A round before the first counts for nothing: it compiles byte code and fills the disk's cache. The server has a folder
of its own and is stopped at the end. Seconds by the clock, and so the limits, are for a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PENSTOCK = str(Path(sys.executable).with_name("penstock"))
FIRST = str(ROOT / "pipelines" / "embed_reviews.yaml")
BARE, PREFECT = 'python -c "pass"', 'python -c "import prefect"'
WARM, COLD = "run of 3 rows, server up", "run of 3 rows, server too"
LIMITS = {WARM: 5.0, COLD: 20.0}
TINY = """\
name: tiny
provider: sandbox
source: {path: rows.csv, key: id}
steps:
  - {uses: embed, input: "{{ text }}", model: text-embedding-3-small, dimensions: 8}
outputs:
  - {uses: parquet, path: out}
"""


@dataclass(frozen=True)
class Spent:
    """What a command took: CPU-seconds, user and system, and seconds by the clock."""

    cpu: float
    clock: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="each once: only that it runs")
    runs = 1 if parser.parse_args().quick else 5
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "PENSTOCK_HOME": home, "PYTHONDONTWRITEBYTECODE": ""}
        works = every_work(environment)
        try:
            found = alternating(works, runs)
        finally:
            stop_server(environment)
    print(f"{os.cpu_count()} cores, Python {'.'.join(map(str, sys.version_info[:3]))}, load {os.getloadavg()[0]:.1f}")
    table("CPU-seconds", {name: [each.cpu for each in spent] for name, spent in found.items()})
    clocks = {name: [each.clock for each in spent] for name, spent in found.items()}
    table("seconds by the clock", clocks)
    for name, limit in LIMITS.items():
        median = statistics.median(clocks[name])
        print(f"{name}: {median:.1f} s of {limit:.0f} s {'' if median <= limit else 'OVER THE LIMIT'}".rstrip())


Work = Callable[[], Spent]


def every_work(environment: dict[str, str]) -> dict[str, Work]:
    """What is measured, in its order: the run that starts the server comes before the one that finds it."""

    def command(*words: str) -> Work:
        return lambda: spent(list(words), environment)

    def cold() -> Spent:
        stop_server(environment)
        return tiny_run(environment)

    return {
        BARE: command(sys.executable, "-c", "pass"),
        PREFECT: command(sys.executable, "-c", "import prefect"),
        "penstock --help": command(PENSTOCK, "--help"),
        "penstock check": command(PENSTOCK, "check", FIRST),
        COLD: cold,
        WARM: lambda: tiny_run(environment),
    }


def alternating(works: dict[str, Work], runs: int) -> dict[str, list[Spent]]:
    """Each work so often, one after the other; of more than one round the first is not counted."""
    found: dict[str, list[Spent]] = {name: [] for name in works}
    for number in range(runs + (runs > 1)):
        for name, work in works.items():
            each = work()
            if number or runs == 1:
                found[name].append(each)
    return found


def tiny_run(environment: dict[str, str]) -> Spent:
    """A run of three rows in a folder that holds nothing of an earlier one."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rows.csv").write_text("id,text\n1,a red bicycle\n2,a green one\n3,a kettle\n")
        (Path(folder) / "tiny.yaml").write_text(TINY)
        return spent([PENSTOCK, "run", "--quiet", "tiny.yaml"], environment, folder)


def spent(command: list[str], environment: dict[str, str], folder: str | None = None) -> Spent:
    """What the command takes, with those of its processes that it waits for."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    clock, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return Spent(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, clock)


def stop_server(environment: dict[str, str]) -> None:
    """End the local Prefect server of this benchmark, if there is one."""
    subprocess.run([PENSTOCK, "server", "stop"], env=environment, capture_output=True, check=True)


def table(unit: str, found: dict[str, list[float]]) -> None:
    """Lowest, median and highest of each, and how many times the two measures it is."""
    medians = {name: statistics.median(each) for name, each in found.items()}
    print(f"\n{unit:28} {'lowest':>7} {'median':>7} {'highest':>7} {'import prefect':>15} {'bare Python':>12}")
    for name, each in found.items():
        ratios = f"{medians[name] / medians[PREFECT]:>15.2f} {medians[name] / medians[BARE]:>12.1f}"
        print(f"{name:28} {min(each):>7.2f} {medians[name]:>7.2f} {max(each):>7.2f} {ratios}")


if __name__ == "__main__":
    main()
