"""Steps are made from YAML text, as a pipeline file has them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from penstock.steps import KINDS


@pytest.fixture
def step_of() -> Callable[[str], Any]:
    """The step that a YAML text describes."""

    def made(text: str) -> Any:
        data = yaml.safe_load(textwrap.dedent(text))
        return KINDS[data["uses"]].model_validate(data)

    return made
