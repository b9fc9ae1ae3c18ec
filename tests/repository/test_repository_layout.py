"""Where files stand, how large they may be, and what must not be in them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TOP_LEVEL = {
    "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "uv.lock",
    "pipelines", "flows", "schemas", "tests", "sample_data", "docs", "benchmarks",
}  # fmt: skip
# Put together here, or this file would hold what it looks for.
MACHINE_PATHS = re.compile("|".join(["/wo" + "rk/", "/far" + "m/", "/ro" + "ot/", "/opt/wh" + "eels"]))
UNFINISHED = re.compile(r"\b(TO" + "DO|FIX" + "ME|XX" + "X|HA" + "CK|NotImplemented" + r"Error)\b")
LONGEST_MODULE, LONGEST_FUNCTION = 400, 60


def text_of(root: Path, name: Path) -> str:
    try:
        return (root / name).read_text("utf-8")
    except UnicodeDecodeError:
        return ""


def package_modules(files: list[Path]) -> list[Path]:
    return [name for name in files if name.suffix == ".py" and name.parts[0] == "flows"]


def test_the_top_level_is_the_agreed_one(files: list[Path]) -> None:
    tops = {name.parts[0] for name in files}
    assert {top for top in tops if not top.startswith(".")} <= TOP_LEVEL


def test_flows_is_a_source_root_and_never_a_package(root: Path) -> None:
    assert not (root / "flows" / "__init__.py").exists()


def test_no_file_names_a_path_of_one_machine(root: Path, files: list[Path]) -> None:
    found = [f"{name}: {match[0]}" for name in files if (match := MACHINE_PATHS.search(text_of(root, name)))]
    assert not found


def test_nothing_in_the_package_is_left_for_later(root: Path, files: list[Path]) -> None:
    found = [
        f"{name}: {match[0]}" for name in package_modules(files) if (match := UNFINISHED.search(text_of(root, name)))
    ]
    assert not found


def test_modules_and_functions_of_the_package_stay_small(root: Path, files: list[Path]) -> None:
    large = []
    for name in package_modules(files):
        text = text_of(root, name)
        if (lines := text.count("\n")) > LONGEST_MODULE:
            large.append(f"{name}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                if size > LONGEST_FUNCTION:
                    large.append(f"{name}:{node.lineno} {node.name}: {size} lines")
    assert not large


def test_no_two_test_files_have_one_name(files: list[Path]) -> None:
    """pytest imports test files by their bare name."""
    names = [name.name for name in files if name.parts[0] == "tests" and name.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))


def test_every_module_postpones_annotations(root: Path, files: list[Path]) -> None:
    missing = [
        name
        for name in package_modules(files)
        if re.search(r"^(?:import|from|def|class|[a-z_]+ =)", text_of(root, name), re.MULTILINE)
        and name.name != "__init__.py"
        and "from __future__ import annotations" not in text_of(root, name)
    ]
    assert not missing
