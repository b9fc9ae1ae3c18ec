"""Links between the project's own pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docs_fences import ROOT, pages

LINKED = [*pages(), Path("sample_data/README.md"), Path("benchmarks/README.md"), Path(".github/SECURITY.md")]


def prose(page: Path) -> str:
    text = (ROOT / page).read_text("utf-8")
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL))


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED, ids=str)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / page.parent / name).resolve() if name else ROOT / page
        if not file.exists() or (anchor and anchor not in anchors(file.relative_to(ROOT))):
            broken.append(target)
    assert not broken


def test_the_index_leads_to_every_page() -> None:
    index = prose(Path("docs/index.md"))
    missing = [page for page in pages() if page.parts[0] == "docs" and page.name != "index.md"
               and f"({page.relative_to('docs').as_posix()})" not in index]  # fmt: skip
    assert not missing
