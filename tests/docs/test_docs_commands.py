"""Every command of the documentation is run, in the order of its page, or stands here with the reason why not.

What a page shows as output is compared, but for what no two runs share. After a wanted change of the output,
``PENSTOCK_REFRESH_DOCS=1 pytest tests/docs`` writes the new one into the pages. A fence that is named by a file is
written to that file before the commands below it; where the repository has the file, the fence shows it as it is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from docs_fences import ROOT, Fence, commands, fences, pages

BY_CI = ".ci/run runs the same in a fresh virtual environment"
REFRESH = "PENSTOCK_REFRESH_DOCS" in os.environ
SERVES = "it runs until Ctrl-C; the fixture below and tests/sandbox start the same"
ASKS = "it needs the server of the command before on a fixed port; tests/sandbox asks the same of a free one"
SCHEDULED = "it needs a Prefect server of its own for long; tests/flow/test_flow_nights.py runs the same"
CLUSTER = "it needs several machines; tests/flow/test_flow_machines.py runs the same on one"
RAY = "Ray is not among the development tools; tests/flow/test_flow_ray.py runs the same where it is installed"
POSTGRES = "it changes the machine; tests/flow/test_flow_nights.py runs on a PostgreSQL of its own when it is asked to"
QUICKSTART = (
    "python3 -m venv .venv && .venv/bin/pip install --quiet --editable . "
    "&& .venv/bin/penstock run pipelines/embed_reviews.yaml"
)
NOT_RUN = {
    "python3 -m venv .venv && .venv/bin/pip install --quiet --editable '.[dev]' && .venv/bin/pytest -n 2": BY_CI,
    "python3 -m venv .venv": BY_CI,
    ".venv/bin/pip install --quiet --editable .": BY_CI,
    ".venv/bin/pip install --editable '.[dev]'": BY_CI,
    ".venv/bin/pytest -m 'not slow'": "it is what is running",
    "source .venv/bin/activate": "the tests put the programs on the PATH themselves",
    "penstock sandbox": SERVES,
    "penstock sandbox --fault 429:5% --fault reset:1%": SERVES,
    "penstock sandbox --fault 500:x3": SERVES,
    'curl -i http://127.0.0.1:8080/v1/models -H "Authorization: Bearer sk-sandbox" -H "x-sandbox-fault: 503"': ASKS,
    "curl http://127.0.0.1:8080/_sandbox/faults "
    '-d \'{"faults": ["503:100%"], "latency": "1s", "poison": [], "seed": 1}\'': ASKS,
    "prefect server start --background": SCHEDULED,
    "export PREFECT_API_URL=http://127.0.0.1:4200/api": SCHEDULED,
    "penstock deploy nightly.yaml": SCHEDULED,
    "prefect worker start --pool penstock": SCHEDULED,
    "prefect deployment run nightly-reviews/deployed": SCHEDULED,
    "penstock serve nightly.yaml": SCHEDULED,
    "cd flows && prefect --no-prompt deploy --all": SCHEDULED,
    "prefect server start --host 0.0.0.0": CLUSTER,
    "dask scheduler --port 8786": CLUSTER,
    "export PREFECT_API_URL=http://head:4200/api": CLUSTER,
    "dask worker tcp://head:8786 --nworkers 1 --nthreads 2": CLUSTER,
    "penstock run pipeline.yaml --state /shared/penstock": CLUSTER,
    "export RAY_AUTH_MODE=token": RAY,
    "ray get-auth-token --generate": RAY,
    "ray start --head --num-cpus 0 --ray-client-server-port 10001": RAY,
    "ray start --address head:6379 --num-cpus 1": RAY,
    "apt-get install postgresql": POSTGRES,
    "sudo -u postgres createuser prefect": POSTGRES,
    "sudo -u postgres createdb --owner prefect prefect": POSTGRES,
    "sudo -u postgres psql prefect -c 'create extension pg_trgm'": POSTGRES,
    "export PREFECT_SERVER_DATABASE_CONNECTION_URL=postgresql+asyncpg://prefect@127.0.0.1/prefect": POSTGRES,
    "export OPENAI_API_KEY=sk-...": "the tests set a key of their own, good for a sandbox server only",
}
NOT_RUN_PYTHON = {Path("docs/guide/sandbox.md"): "a piece of a test; tests/sandbox has such tests in whole"}
RUN_AS = {QUICKSTART: ".venv/bin/penstock run pipelines/embed_reviews.yaml"}
"""Commands of which only the end is run, because the rest would install what is installed."""
PROGRAMS = {"export", "cd", "source", "penstock", "prefect", "dask", "ray", "apt-get", "sudo"}
"""What a shell fence may begin with where it is not on the PATH of the tests."""
EXIT_CODES = {
    ("guide/getting-started.md", "penstock run pipelines/embed_reviews.yaml -p longest=100000"): 1,
    ("guide/getting-started.md", "penstock resume"): 2,
    ("cookbook/bulk-embedding.md", "penstock run pipelines/rehearsal.yaml"): 3,
    ("cookbook/bulk-embedding.md", "penstock resume"): 1,
    ("cookbook/classify.md", "penstock run pipelines/classify_rehearsal.yaml --limit 12"): 1,
    ("cookbook/moderation-sweep.md", "penstock run pipelines/moderation_rehearsal.yaml"): 1,
}
"""Of commands that end with another than 0, as their page says."""


@dataclass(frozen=True)
class Shown:
    """A command of a page, and what the page says that it prints, if it does."""

    command: str
    output: Fence | None = None


def shown(page: Path) -> list[Shown]:
    found: list[Shown] = []
    for fence in fences(page):
        if fence.language in {"sh", "console"}:
            found += [Shown(command) for command in commands(fence)]
        elif fence.path is not None:
            found.append(Shown(f"cat > {fence.path} <<'END'\n{fence.text}END"))
        elif fence.language == "python" and page not in NOT_RUN_PYTHON:
            found.append(Shown(f"python - <<'END'\n{fence.text}END"))
        elif fence.name == "output":
            found[-1] = Shown(found[-1].command, fence)
    return found


def shape(output: str) -> str:
    """The output without what no two runs share: names of runs, ids, seconds, sizes of compressed files."""
    output = re.sub(r"\b\d{8}-\d{6}-[0-9a-f]{4}\b", "RUN", output)
    output = re.sub(r"\b(file|ftjob)-[A-Za-z0-9]{20,}\b", r"\1-ID", output)
    output = re.sub(r"\b(ft:[\w.-]+:[\w-]+:[\w-]*):\w{8}\b", r"\1:ID", output)
    output = re.sub(r" in (\d+(\.\d)?s|\d+m\d\ds)$", " in TIME", output, flags=re.MULTILINE)
    return re.sub(r"[\d.]+ (B|kB|MB)\b", "SIZE", output).strip()


def refresh(fence: Fence, output: str) -> None:
    """Put `output` in the place of the fence's text."""
    text = (ROOT / fence.file).read_text("utf-8")
    (ROOT / fence.file).write_text(text.replace(fence.text, output.rstrip() + "\n", 1), "utf-8")


RUN = {page: found for page in pages() if (found := [one for one in shown(page) if one.command not in NOT_RUN])}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, local_home: Path) -> Iterator[dict[str, str]]:
    """What the commands see: the programs of this virtual environment, and a sandbox server in OpenAI's place."""
    programs = Path(sys.executable).parent
    home = tmp_path_factory.mktemp("home")
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "PENSTOCK_", "OPENAI_"))
    }
    environ = {**clean, "PATH": f"{programs}:{clean['PATH']}", "PENSTOCK_HOME": str(local_home), "HOME": str(home)}
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
    (tmp_path / ".venv").symlink_to(sys.prefix)
    for one in RUN[page]:
        command = RUN_AS.get(one.command, one.command)
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
        wanted = EXIT_CODES.get((page.as_posix().removeprefix("docs/"), one.command), 0)
        assert done.returncode == wanted, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        if one.output is not None and shape(done.stdout) != shape(one.output.text):
            assert REFRESH, f"{one.output.place} shows another output; it is now:\n{done.stdout}"
            refresh(one.output, done.stdout)
        assert environment["OPENAI_API_KEY"] not in done.stdout + done.stderr


FILES = [fence for page in pages() for fence in fences(page) if fence.path and (ROOT / fence.path).exists()]


@pytest.mark.parametrize("fence", FILES, ids=lambda fence: fence.place)
def test_a_fence_named_by_a_file_of_the_repository_shows_it_as_it_is(fence: Fence) -> None:
    assert fence.path is not None
    text = (ROOT / fence.path).read_text("utf-8")
    if REFRESH and fence.text != text:
        refresh(fence, text)
    else:
        assert fence.text == text


def test_every_command_that_is_not_run_is_still_shown_somewhere() -> None:
    everywhere = {(page.as_posix().removeprefix("docs/"), one.command) for page in pages() for one in shown(page)}
    assert everywhere >= set(EXIT_CODES)
    assert {command for _, command in everywhere} >= set(NOT_RUN) | set(RUN_AS)


def test_no_shell_fence_shows_a_prompt_or_output() -> None:
    """So that a reader can copy it as it stands."""
    plain = [fence for page in pages() for fence in fences(page) if fence.language == "sh"]
    for program in (command.split()[0] for fence in plain for command in commands(fence)):
        assert program in PROGRAMS or program.startswith(".venv/bin/") or shutil.which(program)
