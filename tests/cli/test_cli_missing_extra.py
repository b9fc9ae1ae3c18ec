"""A pipeline that needs an extra which is not installed says so before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from penstock.cli.app import app
from penstock.spec import runner_key

PIPELINE = """\
name: reviews
provider: sandbox
source: {path: reviews.csv, key: id}
steps:
  - {uses: embed, input: "{{ body }}", model: m}
outputs: [{uses: parquet, path: out}]
"""


@pytest.mark.parametrize("written", ["runner: KIND", "runner: {workers: 2, kind: KIND}"])
@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_a_runner_without_its_library_is_a_mistake_in_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, written: str
) -> None:
    monkeypatch.setattr(runner_key, "find_spec", {"sys": "there"}.get)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.csv").write_text("id,body\n1,good\n")
    line = written.replace("KIND", kind)
    (tmp_path / "p.yaml").write_text(f"{PIPELINE}{line}\n")
    said = f"p.yaml:7:{line.index(kind) + 1}: the runner {kind} needs a library that is not here: "
    said += f"pip install 'penstock[{kind}]'"
    for command in ("check", "plan", "run"):
        done = CliRunner().invoke(app, [command, "p.yaml"])
        assert done.exit_code != 0
        assert done.stderr.splitlines()[0] == said
    done = CliRunner().invoke(app, ["check", "p.yaml", "--json"])
    assert f"penstock[{kind}]" in json.dumps(json.loads(done.stdout))
    assert not (tmp_path / ".penstock").exists(), "nothing was begun"
