"""The import contracts hold, and each of them really forbids what it says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

VIOLATIONS = {
    "upwards": ("spec/intruder.py", "import penstock.cli", "Imports go downwards only"),
    "siblings": ("tables/intruder.py", "import penstock.api", "Imports go downwards only"),
    "late import": (
        "values.py",
        "def _late() -> None:\n    from penstock import errors",
        "Values know nothing else",
    ),
    "step that asks": ("steps/intruder.py", "import penstock.api", "Steps describe and send nothing"),
    "step that knows files": ("steps/intruder.py", "import penstock.tables", "Steps describe and send nothing"),
    "sandbox that cheats": ("sandbox/intruder.py", "import penstock.engine", "The sandbox is a server of its own"),
    "sandbox used as a library": ("engine/intruder.py", "import penstock.sandbox", "start of a run start the sandbox"),
    "Prefect everywhere": ("execute/intruder.py", "def late() -> None:\n    import prefect", "Only flow uses Prefect"),
    "HTTP everywhere": ("engine/intruder.py", "import httpx", "Only api speaks HTTP"),
    "HTTP in the plan": ("plan/intruder.py", "import httptools", "Only api speaks HTTP"),
    "retries everywhere": ("flow/intruder.py", "import tenacity", "Only the engine and api retry"),
    "no place in the tree": ("intruder.py", "X = 1", "Imports go downwards only"),
}


def lint(folder: Path, sources: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(sources), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_imports_go_in_the_agreed_directions(root: Path) -> None:
    done = lint(root, root / "flows")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_forbidden_import_is_found(name: str, root: Path, tmp_path: Path) -> None:
    place, line, contract = VIOLATIONS[name]
    shutil.copytree(root / "flows" / "penstock", tmp_path / "penstock", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    module = tmp_path / "penstock" / place
    module.write_text((module.read_text("utf-8") if module.exists() else "") + f"\n{line}\n", "utf-8")
    done = lint(tmp_path, tmp_path)
    assert done.returncode == 1
    broken = [text for text in done.stdout.splitlines() if " BROKEN" in text]
    assert any(contract in text for text in broken), done.stdout
