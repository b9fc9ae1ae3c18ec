"""What `penstock plan` says of limits and of parts of before."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli.plan import describe
from penstock.plan.make import make_plan
from penstock.spec import load
from penstock.tables.state import State

PIPELINE = """
name: words
provider:
  uses: sandbox
  limits: {limits}
source: {{path: rows.csv, key: id}}
steps:
  - {{uses: embed, input: "{{{{ text }}}}", model: text-embedding-3-small}}
outputs:
  - {{uses: parquet, path: out}}
"""


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ("{}", "no limits are given"),
        ("{concurrency: 4}", "not known: 4 requests at a time at most, and no limits per minute are given"),
        ("{concurrency: 4, requests_per_minute: 60}", "1.0s"),
    ],
    ids=["none", "concurrency", "per minute"],
)
def test_the_plan_says_which_limits_are_missing_to_tell_the_minutes(tmp_path: Path, limits: str, said: str) -> None:
    (tmp_path / "rows.csv").write_text("id,text\n1,a\n")
    file = tmp_path / "pipeline.yaml"
    file.write_text(PIPELINE.format(limits=limits))
    made = make_plan(load(file), state=State.of(file, "words", tmp_path))
    (line,) = (line for line in describe(made) if "at limits" in line)
    assert line.split("at limits")[1].strip() == said
