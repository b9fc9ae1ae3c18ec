"""What does not run a pipeline does not pay for what running one needs.

What it costs in seconds is measured by `benchmarks/startup.py`; here stands what decides it: which libraries are
imported. A library that is not in these lists is a new cost for everyone who types a command, and must be put there by
somebody who looked at it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# `_polars_runtime_32` is the native module alone, which parses SQL (docs/decisions/0004).
COMMAND = {"annotated_doc", "annotated_types", "pydantic", "pydantic_core", "shellingham", "typer"}
COMMAND |= {"typing_extensions", "typing_inspection"}
PAGES = {"attr", "markdown_it", "mdurl", "pygments", "rich"}
PIPELINE = {"_polars_runtime_32", "jinja2", "markupsafe", "msgspec", "yaml"}
SANDBOX = {"anyio", "click", "h11", "idna", "msgspec", "pydantic", "pydantic_core", "python_multipart", "sniffio"}
SANDBOX |= {"starlette", "typing_extensions", "typing_inspection", "uvicorn"}
LIGHT_COMMANDS = {
    ("--version",): COMMAND,
    ("--help",): COMMAND | PAGES,
    ("run", "--help"): COMMAND | PAGES,
    ("schema", "--check"): COMMAND | PIPELINE,
    ("check", "pipelines/embed_reviews.yaml"): COMMAND | PIPELINE,
}
# Parts of the standard library that cost as much as a library does.
HEAVY_PARTS = {"asyncio", "multiprocessing", "sqlite3", "ssl"}
COMMAND_LINE = """
    from penstock.cli import main
    sys.argv[0] = "penstock"
    main()
"""
SANDBOX_PROCESS = """
    import penstock.sandbox.__main__
"""
PROGRAM = f"""
import site, sys
from pathlib import Path
before = set(sys.modules)
code = 0
try:
    %s
except SystemExit as left:
    code = left.code or 0
loaded = dict(sys.modules)
folders = [Path(folder) for folder in site.getsitepackages()]
names = set()
for name in set(loaded) - before:
    file = getattr(loaded[name], "__file__", None)
    if name in {HEAVY_PARTS!r} or file and any(folder in Path(file).parents for folder in folders):
        names.add(name.partition(".")[0])
print(code, *sorted(names - {{"penstock"}}), file=sys.stderr)
"""


def imported_by(program: str, root: Path, *arguments: str) -> set[str]:
    """The libraries, and heavy parts of the standard library, that a process of its own has imported at its end."""
    command = [sys.executable, "-c", PROGRAM % program.strip(), *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    code, *names = done.stderr.splitlines()[-1].split()
    assert code == "0", done.stderr
    return set(names)


@pytest.mark.parametrize("arguments", LIGHT_COMMANDS, ids=" ".join)
def test_a_light_command_imports_only_what_it_is_known_to_need(arguments: tuple[str, ...], root: Path) -> None:
    names = imported_by(COMMAND_LINE, root, *arguments)
    assert names <= LIGHT_COMMANDS[arguments]
    assert "typer" in names, "what is imported is seen at all"


def test_the_sandbox_is_ready_without_the_libraries_of_a_run(root: Path) -> None:
    names = imported_by(SANDBOX_PROCESS, root)
    assert names - HEAVY_PARTS <= SANDBOX
    assert "uvicorn" in names
