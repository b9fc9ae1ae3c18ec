"""What does not run a pipeline does not pay for what running one needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("prefect", "polars", "pyarrow", "httpx", "pyreqwest", "genai_prices", "splintr", "openai", "numpy")
LIGHT_COMMANDS = (
    ["--version"],
    ["--help"],
    ["run", "--help"],
    ["schema", "--check"],
    ["check", "pipelines/embed_reviews.yaml"],
)
# CPU-seconds, user and system. The budget is 0.5; a machine that is busy or cold may need more, a heavy import always
# does: polars alone adds 0.4, Prefect more than 2.
MOST_SECONDS = 1.0
PROGRAM = f"""
import sys, resource
sys.argv[0] = "penstock"
from penstock.cli import main
try:
    main()
except SystemExit as left:
    code = left.code or 0
used = resource.getrusage(resource.RUSAGE_SELF)
heavy = [name for name in {HEAVY!r} if name in sys.modules]
print(code, used.ru_utime + used.ru_stime, *heavy, file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", LIGHT_COMMANDS, ids=" ".join)
def test_a_light_command_imports_no_heavy_library(arguments: list[str], root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=root, capture_output=True, text=True, check=True
    )
    code, seconds, *heavy = done.stderr.splitlines()[-1].split()
    assert code == "0", done.stderr
    assert heavy == []
    assert float(seconds) < MOST_SECONDS
