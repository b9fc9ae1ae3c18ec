"""A folder with a small source, and a loader of YAML text written in it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from spec_pipelines import HEAD, TAIL

from penstock.errors import Problem, SpecError
from penstock.spec import Loaded, load

COLUMNS = "review_id,title,body,stars"

Load = Callable[..., Loaded]
Mistakes = Callable[..., list[Problem]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "reviews.csv").write_text(f"{COLUMNS}\n1,Good,I like it,5\n2,Bad,I do not,1\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def load_yaml(folder: Path) -> Load:
    """Load a whole pipeline from YAML text."""

    def loaded(text: str, environ: dict[str, str] | None = None, **arguments: Any) -> Loaded:
        path = folder / "pipeline.yaml"
        path.write_bytes(textwrap.dedent(text).encode())
        return load(path, environ=environ or {}, **arguments)

    return loaded


@pytest.fixture
def load_steps(load_yaml: Load) -> Load:
    """Load a pipeline whose steps are given as YAML text; the rest is right."""

    def loaded(steps: str, **arguments: Any) -> Loaded:
        body = textwrap.indent(textwrap.dedent(steps).strip("\n"), "  ")
        return load_yaml(f"{HEAD.strip()}\nsteps:\n{body}\n{TAIL.strip()}\n", **arguments)

    return loaded


@pytest.fixture
def mistakes(load_yaml: Load) -> Mistakes:
    """The mistakes of a whole pipeline."""

    def found(text: str, **arguments: Any) -> list[Problem]:
        with pytest.raises(SpecError) as caught:
            load_yaml(text, **arguments)
        return caught.value.problems

    return found


@pytest.fixture
def step_mistakes(load_steps: Load) -> Mistakes:
    """The mistakes of a pipeline whose steps are given."""

    def found(steps: str, **arguments: Any) -> list[Problem]:
        with pytest.raises(SpecError) as caught:
            load_steps(steps, **arguments)
        return caught.value.problems

    return found
