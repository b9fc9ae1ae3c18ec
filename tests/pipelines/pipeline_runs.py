"""A ready pipeline in a folder of its own, run by the real command as a user runs it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

ROOT = Path(__file__).parents[2]
PENSTOCK = Path(sys.executable).with_name("penstock")


@dataclass(frozen=True)
class Run:
    """A finished run: its record, the folder that the command was started in, and the exit code."""

    record: dict[str, Any]
    folder: Path
    code: int
    project: Project

    @property
    def account(self) -> dict[str, Any]:
        return dict(self.record["account"])

    @property
    def errors(self) -> pl.DataFrame:
        return pl.read_parquet(self.record["errors_path"], glob=False)

    def rows(self, *place: str) -> pl.DataFrame:
        """What stands in a folder of Parquet files below ``out``."""
        return pl.read_parquet(self.folder.joinpath("out", *place, "*.parquet"))


@dataclass(frozen=True)
class Project:
    """A copy of the pipelines and sample data, and the environment to run them in."""

    folder: Path
    pipeline: str
    environ: dict[str, str]

    def run(self, *options: str) -> Run:
        """Run the pipeline to its end."""
        done = self.command("run", f"pipelines/{self.pipeline}.yaml", "--json", *options)
        assert done.stdout, done.stderr
        return Run(json.loads(done.stdout), self.folder, done.returncode, self)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Any command, in the folder of the project."""
        return subprocess.run(
            [PENSTOCK, *words], cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False
        )


def copied(folder: Path) -> Path:
    """The folder, with copies of what the repository has for users in it."""
    for name in ("pipelines", "sample_data"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(".penstock", "__pycache__"))
    return folder


def project(folder: Path, pipeline: str, environ: dict[str, str]) -> Project:
    """A copy for the real command."""
    copied(folder)
    return Project(folder, pipeline, environ)


def assert_adds_up(account: dict[str, Any]) -> None:
    """Every row that came in has one fate."""
    came = account["read"] + account["added"] + account["branched"]
    assert came == account["written"] + account["filtered"] + account["merged"] + account["failed"]
