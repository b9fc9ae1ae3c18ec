"""Every pipeline and every piece of one that the documentation shows is right."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from docs_fences import ROOT, Fence, fences, pages

from penstock.errors import SpecError
from penstock.outputs import KINDS as OUTPUTS
from penstock.spec.load import load, load_text
from penstock.spec.model import Spec
from penstock.steps import KINDS as STEPS

FENCES = [fence for page in pages() for fence in fences(page) if fence.language == "yaml"]
READY = sorted((ROOT / "pipelines").glob("*.yaml"))
ENVIRONMENT = {"OPENAI_API_KEY": "sk-from-the-environment", "LAB_KEY": "sk-from-the-environment"}
WRONG = "wrong"
"""What a fence is named that shows a mistake."""
ELSEWHERE = "elsewhere"
"""What a fence is named whose source is on another machine, or not in this repository."""


def is_whole(fence: Fence) -> bool:
    return {"name", "source", "outputs"} <= set(keys(fence))


def is_example(fence: Fence) -> bool:
    """Whether the fence is the example of a kind, with columns of a table that is not here."""
    return fence.file.parts[:2] == ("docs", "reference")


def whole(fence: Fence) -> str:
    """The fence itself, or the ready pipeline with the keys of the fence in place of its own."""
    if is_whole(fence):
        return fence.text
    ready = yaml.safe_load((ROOT / "pipelines" / "embed_reviews.yaml").read_text("utf-8"))
    if is_example(fence):
        ready["source"] = {"path": "rows_of_yours.csv", "key": "id"}
    return yaml.safe_dump({**ready, **keys(fence)}, sort_keys=False, allow_unicode=True)


def keys(fence: Fence) -> dict[str, Any]:
    """The top-level keys that the fence shows; steps or outputs alone are put under their key."""
    shown = yaml.safe_load(fence.text)
    entries = shown if isinstance(shown, list) else [shown] if shown.get("uses") in {*STEPS, *OUTPUTS} else []
    if entries:
        return {"outputs" if entries[0]["uses"] in OUTPUTS else "steps": entries}
    return dict(shown)


@pytest.mark.parametrize("fence", FENCES, ids=lambda fence: fence.place)
def test_a_yaml_fence_is_a_pipeline_or_keys_of_one(fence: Fence) -> None:
    assert set(keys(fence)) <= set(Spec.model_fields), "a fence shows top-level keys of a pipeline"
    arguments = {"file": str(fence.file), "folder": ROOT / "pipelines", "environ": ENVIRONMENT}
    if fence.name == WRONG:
        with pytest.raises(SpecError):
            load_text(whole(fence), **arguments)
    else:
        load_text(whole(fence), source_may_miss=is_example(fence) or fence.name == ELSEWHERE, **arguments)


@pytest.mark.parametrize("path", READY, ids=lambda path: path.name)
def test_a_ready_pipeline_is_right_and_needs_no_key(path: Path) -> None:
    loaded = load(path, environ={})
    assert loaded.missing_key({}) is None
    assert loaded.notes == ()


@pytest.mark.parametrize("path", READY, ids=lambda path: path.name)
def test_a_ready_pipeline_names_the_schema_for_editors(path: Path) -> None:
    first = path.read_text("utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=../schemas/pipeline.schema.json"


def test_the_readme_shows_the_ready_pipeline_as_it_is() -> None:
    shown = [fence for fence in FENCES if fence.file.name == "README.md" and is_whole(fence)]
    assert [fence.text for fence in shown] == [(ROOT / "pipelines" / "embed_reviews.yaml").read_text("utf-8")]


def test_the_command_that_checks_markdown_finds_no_mistake_in_these_pages() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("penstock"), "check", *map(str, pages())],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^README\.md:\d+: ok: 2 steps", done.stdout, re.MULTILINE)
