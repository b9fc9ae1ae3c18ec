"""`penstock check` and `penstock schema`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from penstock.cli.app import app

ROOT = Path(__file__).parents[2]
GOOD = """\
name: reviews
provider: openai
source: {path: reviews.csv, key: id}
steps:
  - {uses: embed, input: "{{ body }}", model: m}
outputs: [{uses: parquet, path: out}]
"""
BAD = GOOD.replace("{{ body }}", "{{ bdy }}").replace("provider: openai", "providr: openai")

Penstock = Callable[..., Result]
Program = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a small source."""
    (tmp_path / "reviews.csv").write_text("id,body\n1,good\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def penstock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Penstock:
    """Calls the command, as if typed in the folder; without any key in the environment."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "120")
    for name in [name for name in os.environ if name.startswith("OPENAI")]:
        monkeypatch.delenv(name)

    def run(*arguments: str, **environ: str) -> Result:
        return CliRunner().invoke(app, list(arguments), env=environ)

    return run


@pytest.fixture
def program(folder: Path) -> Program:
    """Runs the command as a process of its own in the folder."""

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI")}
        code = "from penstock.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=folder,
            env={**kept, "PYTHONPATH": str(ROOT / "flows"), "COLUMNS": "120", **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def test_a_right_file_says_its_steps_and_columns(program: Program, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(GOOD)
    done = program("check", "p.yaml", OPENAI_API_KEY="sk-abcdefgh12345678")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "p.yaml: ok: 1 step, columns id, body, embedding, embed_usage\n"


def test_a_missing_key_is_a_note(penstock: Penstock, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(GOOD)
    done = penstock("check", "p.yaml")
    assert done.exit_code == 0
    assert "note: OPENAI_API_KEY is not set" in done.stdout
    assert "note" not in penstock("check", "p.yaml", "--provider", "sandbox").stdout


def test_all_mistakes_of_all_files_come_at_once(penstock: Penstock, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(GOOD)
    (tmp_path / "q.yaml").write_text(BAD)
    done = penstock("check", "q.yaml", "p.yaml", "nope.yaml")
    assert done.exit_code == 1
    assert "p.yaml: ok" in done.stdout
    assert (
        "q.yaml:2:1: unknown key `providr`\n    providr: openai\n    ^^^^^^^\n    did you mean `provider`?"
        in done.stderr
    )
    column = BAD.splitlines()[4].index("bdy") + 1
    assert f"q.yaml:5:{column}: there is no column `bdy` here" in done.stderr
    assert "nope.yaml: the file cannot be read" in done.stderr
    assert done.stderr.endswith("3 mistakes found.\n")


def test_json_is_a_list_of_mistakes(penstock: Penstock, tmp_path: Path) -> None:
    (tmp_path / "q.yaml").write_text(BAD)
    done = penstock("check", "q.yaml", "--json")
    problems = json.loads(done.stdout)
    assert (done.exit_code, done.stderr) == (1, "")
    assert [set(problem) for problem in problems] == [{"file", "line", "column", "message", "hint"}] * 2
    assert (problems[0]["file"], problems[0]["line"], problems[0]["column"]) == ("q.yaml", 2, 1)
    (tmp_path / "p.yaml").write_text(GOOD)
    assert penstock("check", "p.yaml", "--json").stdout == "[]\n"


def test_parameters_are_given_and_checked(penstock: Penstock, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("params: {n: {type: integer}}\ndescription: a ${params.n}\n" + GOOD)
    assert penstock("check", "p.yaml", "-p", "n=5").exit_code == 0
    assert "needs a value" in penstock("check", "p.yaml").stderr
    assert "'x' is not a whole number" in penstock("check", "p.yaml", "-p", "n=x").stderr
    wrong = penstock("check", "p.yaml", "-p", "n")
    assert (wrong.exit_code, wrong.stderr) == (2, "penstock: -p n: write it as -p name=value\n")
    assert "given twice" in penstock("check", "p.yaml", "-p", "n=1", "-p", "n=2").stderr


MARKDOWN = f"""\
# Guide

```yaml
just: an example
```

1. In a list:

   ```yaml
{"".join(f"   {line}" for line in BAD.splitlines(keepends=True))}   ```

~~~yml
{GOOD.replace("reviews.csv", "elsewhere.csv")}~~~

```python
name: no yaml
source: x
```
"""


def test_pipelines_in_markdown_are_checked_with_their_lines(penstock: Penstock, tmp_path: Path) -> None:
    (tmp_path / "guide.md").write_text(MARKDOWN)
    done = penstock("check", "guide.md")
    lines = MARKDOWN.split("\n")
    unknown = lines.index("   providr: openai") + 1
    assert done.exit_code == 1
    assert f"guide.md:{unknown}:4: unknown key `providr`\n       providr: openai\n       ^^^^^^^" in done.stderr
    column = lines[unknown + 2].index("bdy") + 1
    assert f"guide.md:{unknown + 3}:{column}: there is no column `bdy`" in done.stderr
    assert "columns were not checked" in done.stdout
    assert "just" not in done.stdout + done.stderr


def test_markdown_without_pipelines_is_fine(penstock: Penstock, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Nothing\n\n```yaml\na: 1\n```\n")
    done = penstock("check", "README.md")
    assert (done.exit_code, done.stdout) == (0, "README.md: ok: no pipeline in it\n")


def test_the_schema_is_printed_written_and_checked(penstock: Penstock, tmp_path: Path) -> None:
    printed = json.loads(penstock("schema").stdout)
    assert printed["title"] == "Penstock pipeline"
    old = penstock("schema", "--check")
    assert old.exit_code == 1
    assert "not up to date: schemas/pipeline.schema.json" in old.stderr
    assert penstock("schema", "--write", "schemas", "--docs", "docs/reference").exit_code == 0
    assert json.loads((tmp_path / "schemas/pipeline.schema.json").read_text()) == printed
    assert (tmp_path / "schemas/finetune.schema.json").is_file()
    assert penstock("schema", "--check").stdout == "ok: 9 files are up to date\n"
    (tmp_path / "docs/reference/steps.md").write_text("edited")
    assert "docs/reference/steps.md" in penstock("schema", "--check").stderr


@pytest.mark.parametrize("command", ["check", "schema"])
def test_help_ends_with_real_examples(penstock: Penstock, command: str) -> None:
    done = penstock(command, "--help")
    assert done.exit_code == 0
    assert f"penstock {command}" in done.stdout
    assert "Examples:" in done.stdout
