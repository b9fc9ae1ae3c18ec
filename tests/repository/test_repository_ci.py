"""What CI and the hooks run is what the README says and what is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

WORKFLOWS = ("ci", "newest")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def test_the_readme_has_the_two_commands_that_ci_runs(root: Path) -> None:
    readme = (root / "README.md").read_text("utf-8")
    fences = dict(re.findall(r"^```sh (\w+)\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL))
    assert set(fences) == {"quickstart", "tests"}
    script = (root / ".ci" / "run").read_text("utf-8")
    for name, commands in fences.items():
        assert f"fence {name}" in script
        assert commands.startswith("python3 -m venv .venv && .venv/bin/pip install ")
        assert commands.count("\n") == 1, "one command, to be copied as it stands"


def test_the_ci_script_is_a_bash_script_without_syntax_errors(root: Path) -> None:
    script = root / ".ci" / "run"
    assert script.read_text("utf-8").startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in script.read_text("utf-8")
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_do_only_what_it_says_and_ends_by_itself(name: str, root: Path) -> None:
    workflow = load(root / ".github" / "workflows" / f"{name}.yml")
    assert workflow["permissions"]["contents"] == "read"
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 40


def test_ci_runs_on_every_python_that_the_package_claims(root: Path) -> None:
    matrix = load(root / ".github" / "workflows" / "ci.yml")["jobs"]["everything"]["strategy"]["matrix"]["python"]
    claimed = re.findall(r"Python :: (3\.\d+)", (root / "pyproject.toml").read_text("utf-8"))
    assert matrix == claimed


def test_hooks_use_commands_that_the_dev_extra_installs(root: Path) -> None:
    hooks = load(root / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    programs = {hook["entry"].split()[0] for hook in hooks}
    assert programs == {"ruff", "mypy", "lint-imports", "penstock", "python"}
    for program in programs:
        assert Path(sys.executable).with_name(program).exists(), program


def test_issue_templates_parse_and_ask_for_something(root: Path) -> None:
    for path in (root / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = load(path)
        assert path.name == "config.yml" or form["body"]
