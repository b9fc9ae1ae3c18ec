"""Every command of the documentation is run, in the order of its page, or stands here with the reason why not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs_fences import ROOT, commands, fences, pages

BY_CI = ".ci/run runs the same in a fresh virtual environment"
NOT_RUN = {
    "python3 -m venv .venv && .venv/bin/pip install --quiet --editable . "
    "&& .venv/bin/penstock run pipelines/embed_reviews.yaml": BY_CI,
    "python3 -m venv .venv && .venv/bin/pip install --quiet --editable '.[dev]' && .venv/bin/pytest": BY_CI,
    "python3 -m venv .venv": BY_CI,
    ".venv/bin/pip install --quiet --editable .": BY_CI,
    ".venv/bin/pip install --editable '.[dev]'": BY_CI,
    ".venv/bin/pytest -m 'not slow'": "it is what is running",
    "source .venv/bin/activate": "the tests put the programs on the PATH themselves",
    "export OPENAI_API_KEY=sk-...": "the tests set a key of their own, good for a sandbox server only",
}
WITH_ERROR_ROWS = {
    "penstock run pipelines/embed_reviews.yaml",
    ".venv/bin/penstock run pipelines/embed_reviews.yaml",
}
"""Commands that end with exit code 1, as their page says: the sample data hold one row that is too long."""


def shown(page: Path) -> list[str]:
    return [command for fence in fences(page) if fence.language == "sh" for command in commands(fence)]


RUN = {page: found for page in pages() if (found := [command for command in shown(page) if command not in NOT_RUN])}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the commands see: the programs of this virtual environment, and a sandbox server in OpenAI's place."""
    programs = Path(sys.executable).parent
    home = tmp_path_factory.mktemp("home")
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "PENSTOCK_", "OPENAI_"))
    }
    environ = {**clean, "PATH": f"{programs}:{clean['PATH']}", "PENSTOCK_HOME": str(home), "HOME": str(home)}
    server = subprocess.Popen(
        ["penstock", "sandbox", "--port", "0", "--json"], env=environ, stdout=subprocess.PIPE, text=True, cwd=home
    )
    assert server.stdout is not None
    try:
        ready = json.loads(server.stdout.readline())
        yield {**environ, "OPENAI_BASE_URL": ready["url"], "OPENAI_API_KEY": ready["key"]}
    finally:
        server.terminate()
        server.wait(20)
        server.stdout.close()
        subprocess.run(["penstock", "server", "stop"], env=environ, capture_output=True, check=False, cwd=home)


@pytest.mark.slow
@pytest.mark.prefect
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", RUN, ids=str)
def test_the_commands_of_a_page_work_one_after_the_other(
    page: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    for folder in ("pipelines", "sample_data", "schemas", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns(".penstock", "__pycache__"))
    shutil.copy(ROOT / "README.md", tmp_path)
    for command in RUN[page]:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        expected = 1 if command in WITH_ERROR_ROWS else 0
        assert done.returncode == expected, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        assert environment["OPENAI_API_KEY"] not in done.stdout + done.stderr


def test_every_command_that_is_not_run_is_still_shown_somewhere() -> None:
    assert set(NOT_RUN) <= {command for page in pages() for command in shown(page)}


def test_no_shell_fence_shows_a_prompt_or_output() -> None:
    """So that a reader can copy it as it stands."""
    for page in pages():
        for command in shown(page):
            assert not command.startswith(("$", ">")), f"{page}: {command}"
            program = command.split()[0]
            assert (
                program in {"export", "source", "penstock"} or program.startswith(".venv/bin/") or shutil.which(program)
            )
