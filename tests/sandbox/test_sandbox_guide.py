"""The guide says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import typer
from typer.main import get_command

from penstock.cli.sandbox import register
from penstock.faults import FAULTS
from penstock.sandbox.stats import Stats

GUIDE = (Path(__file__).resolve().parents[2] / "docs/guide/sandbox.md").read_text(encoding="utf-8")


def test_the_guide_lists_every_fault_as_the_code_describes_it() -> None:
    table = GUIDE.partition("<!-- faults:")[2].partition("<!-- end of faults -->")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", table, re.MULTILINE)
    assert rows == [(name, fault.summary) for name, fault in FAULTS.items()]


def test_the_guide_names_every_option_and_counter() -> None:
    app = typer.Typer()
    register(app)
    options = {name for option in get_command(app).params for name in option.opts if name.startswith("--")}
    assert options - {"--help", "--install-completion", "--show-completion"} <= set(re.findall(r"--[a-z]+", GUIDE))
    counters = re.findall(r"`([a-z_]+)`", GUIDE.partition("## What was asked")[2])
    assert Stats().report().keys() <= set(counters)
