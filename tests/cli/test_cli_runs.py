"""The commands as a user types them, under a Prefect server of their own; those that run are processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from penstock.cli.app import app
from penstock.sandbox.launch import SandboxProcess, start

pytestmark = [pytest.mark.slow, pytest.mark.prefect]
PENSTOCK = str(Path(sys.executable).with_name("penstock"))


class Shell:
    """A project folder and an environment to type commands in."""

    def __init__(self, folder: Path, environment: dict[str, str], server: SandboxProcess) -> None:
        self.folder = folder
        self.environment = environment
        self.server = server

    def read(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command that ends before anything runs, without the start of a process."""
        with contextlib.chdir(self.folder):
            done = CliRunner().invoke(app, list(words), env={**self.environment, **environment})
        return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)

    def __call__(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**self.environment, **environment}
        return subprocess.run(
            [PENSTOCK, *words], cwd=self.folder, env=env, capture_output=True, text=True, timeout=120, check=False
        )

    def json(self, *words: str) -> Any:
        done = self(*words, "--json") if words[0] == "run" else self.read(*words, "--json")
        return json.loads(done.stdout)

    def pipeline(self, more: str = "", texts: list[str] | None = None) -> None:
        rows = texts or [f"text {number} about rivers" for number in range(60)]
        pl.DataFrame({"id": range(len(rows)), "text": rows}).write_csv(self.folder / "rows.csv")
        (self.folder / "p.yaml").write_text(
            "name: shell\n"
            f"provider: {{base_url: '{self.server.url}', api_key: '${{SHELL_API_KEY}}', retry: {{attempts: 1}}}}\n"
            "source: {path: rows.csv, key: id}\n"
            "steps:\n"
            '  - {uses: embed, input: "{{ text }}", model: text-embedding-3-small, dimensions: 8, batch_size: 10}\n'
            "outputs:\n  - {uses: parquet, path: out/vectors}\n" + more
        )


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxProcess]:
    with start() as running:
        yield running


@pytest.fixture
def shell(tmp_path: Path, local_home: Path, server: SandboxProcess) -> Shell:
    server.change(faults=[], poison=[])
    server.reset()
    dropped = {"PREFECT_API_URL", "PENSTOCK_STATE", "SHELL_API_KEY", "PENSTOCK_EMBEDDED_API_URL"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    environment = {**kept, "PENSTOCK_HOME": str(local_home), "SHELL_API_KEY": server.key}
    return Shell(tmp_path, environment, server)


def test_a_first_project_runs_at_once(shell: Shell) -> None:
    assert shell.read("init", "first").returncode == 0
    ran = shell("run", "first/pipeline.yaml")
    assert ran.returncode == 0, ran.stderr
    assert "rows read  8" in ran.stdout
    assert "written    7" in ran.stdout
    assert "filtered   1  (filter 1)" in ran.stdout
    result = pl.read_parquet(shell.folder / "first/out/vectors")
    assert result.schema["embedding"] == pl.Array(pl.Float32, 1536)
    assert shell.read("init", "first").returncode == 2


def test_a_run_is_listed_shown_and_proven(shell: Shell) -> None:
    shell.pipeline()
    record = shell.json("run", "p.yaml")
    assert record["status"] == "completed"
    assert record["flow_run_id"]
    assert record["usage"]["requests"] == 6
    assert [one["run_id"] for one in shell.json("runs")] == [record["run_id"]]
    assert shell.json("show", record["run_id"][-4:]) == record
    assert shell.json("verify") == {"run": record["run_id"], "ok": True, "problems": []}
    file = next((shell.folder / "out/vectors").glob("*.parquet"))
    damaged = file.read_bytes()
    file.unlink()
    file.write_bytes(damaged[:-8] + bytes(8))
    proof = shell.read("verify")
    assert proof.returncode == 1
    assert "SHA-256 differs" in proof.stdout


def test_a_plan_tells_cost_before_and_reuse_after_a_run(shell: Shell) -> None:
    shell.pipeline()
    before = shell.json("plan", "p.yaml")
    assert before["estimates"][0]["rows"] == 60
    assert before["estimates"][0]["requests"] == 6
    assert before["estimates"][0]["exact"] is True
    assert shell.server.stats()["total_requests"] == 0
    record = shell.json("run", "p.yaml")
    assert record["usage"]["prompt_tokens"] == before["estimates"][0]["tokens"]
    assert record["usage"]["usd"] == pytest.approx(before["estimates"][0]["usd"])
    after = shell.json("plan", "p.yaml")
    assert after["tasks"] == []
    assert after["reuse"][0]["answered_rows"] == 60


def test_failed_rows_are_shown_written_and_asked_again_by_cause(shell: Shell) -> None:
    texts = [f"text {number} {'POISON' if number == 41 else ''}" for number in range(60)]
    shell.pipeline(texts=texts)
    shell.server.change(poison=["POISON"])
    ran = shell("run", "p.yaml")
    assert ran.returncode == 1
    assert "failed     1  (invalid_request 1)" in ran.stdout
    assert "penstock errors" in ran.stdout
    shown = shell.read("errors")
    assert "id=41" in shown.stdout
    assert "invalid_request" in shown.stdout
    assert shell.read("errors", "--to", "failed.csv").returncode == 0
    assert pl.read_csv(shell.folder / "failed.csv")["id"].to_list() == [41]
    assert "causes are" in shell.read("retry", "--cause", "nonsense").stderr
    assert "no failed rows of that cause" in shell.read("retry", "--cause", "timeout").stdout
    shell.server.change(poison=[])
    again = shell("retry", "--cause", "invalid_request")
    assert again.returncode == 0, again.stderr
    assert pl.read_parquet(shell.folder / "out/vectors")["id"].to_list() == list(range(60))
    assert shell.read("resume").returncode == 2


def test_a_stopped_run_says_how_to_go_on_and_does(shell: Shell) -> None:
    shell.pipeline(more="budget: {tokens: 150}\n")
    ran = shell("run", "p.yaml")
    assert ran.returncode == 3
    assert "budget" in ran.stdout
    assert "Go on with: penstock resume" in ran.stdout
    shell.pipeline(more="budget: {tokens: 10k}\n")
    assert shell("resume").returncode == 0
    assert shell.server.stats()["repeated_inputs"] == 0


def test_a_rehearsal_leaves_the_own_output_alone(shell: Shell) -> None:
    shell.pipeline()
    assert shell("run", "p.yaml").returncode == 0
    before = pl.read_parquet(shell.folder / "out/vectors")
    rehearsed = shell.json("run", "p.yaml", "--provider", "sandbox", "--limit", "7")
    assert rehearsed["outputs"][0]["rows"] == 7
    assert rehearsed["outputs"][0]["path"].endswith("vectors.rehearsal-first-7")
    assert pl.read_parquet(shell.folder / "out/vectors").equals(before)


@pytest.mark.parametrize(
    ("words", "environment", "code", "said"),
    [
        (("run", "p.yaml"), {"SHELL_API_KEY": ""}, 2, "SHELL_API_KEY"),
        (("run", "nothing.yaml"), {}, 2, "nothing.yaml"),
        (("run", "p.yaml", "--limit", "0"), {}, 2, "limit"),
        (("run", "p.yaml", "-p", "x"), {}, 2, "NAME=VALUE"),
        (("show", "20200101"), {}, 2, "no run"),
        (("errors", "--cause", "often"), {}, 2, "there is no cause 'often'; the causes are source, "),
        (("errors", "--to", "failed.txt"), {}, 2, ".csv, .jsonl, .parquet, and got failed.txt"),
        (("run", "p.yaml"), {"PREFECT_API_URL": "http://127.0.0.1:9/api"}, 3, "PREFECT_API_URL"),
    ],
)
def test_a_mistake_is_one_clear_sentence_and_costs_nothing(
    shell: Shell, words: tuple[str, ...], environment: dict[str, str], code: int, said: str
) -> None:
    shell.pipeline()
    # Prefect reads its settings once in a process.
    ran = shell(*words, **environment) if "PREFECT_API_URL" in environment else shell.read(*words, **environment)
    assert ran.returncode == code
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr
    assert shell.server.stats()["total_requests"] == 0


def test_a_foreign_output_folder_is_refused_before_anything_is_paid(shell: Shell) -> None:
    shell.pipeline()
    (shell.folder / "out/vectors").mkdir(parents=True)
    (shell.folder / "out/vectors/notes.txt").write_text("mine")
    ran = shell.read("run", "p.yaml")
    assert ran.returncode == 2
    assert "did not write" in ran.stderr
    assert shell.server.stats()["total_requests"] == 0
    assert (shell.folder / "out/vectors/notes.txt").read_text() == "mine"
