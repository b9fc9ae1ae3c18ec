"""Every variable that Penstock reads has its line in the guide."""

from __future__ import annotations

import re

from docs_fences import ROOT


def test_each_variable_of_penstock_in_the_code_is_explained_in_the_guide_and_no_other() -> None:
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "flows").rglob("*.py"))
    guide = (ROOT / "docs" / "guide" / "environment.md").read_text("utf-8")
    # OPENAI_KEY is a name in the code, not a variable of the environment.
    read = set(re.findall(r"\b(?:PENSTOCK|OPENAI)_[A-Z_]*[A-Z]\b", code))
    assert read - {"OPENAI_KEY"} == set(re.findall(r"\b(?:PENSTOCK|OPENAI)_[A-Z_]*[A-Z]\b", guide))
