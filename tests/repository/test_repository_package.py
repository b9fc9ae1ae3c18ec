"""What is published: one version, one import package, dependencies with reasons, a lock file for everybody."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import penstock

PUBLIC_HOSTS = {"pypi.org", "files.pythonhosted.org"}


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    return table


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=root,
        capture_output=True,
        check=True,
    )
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def capped(project: dict[str, Any]) -> list[Requirement]:
    found = [Requirement(text) for text in project["dependencies"]]
    return [need for need in found if upper_bound(need)]


def upper_bound(need: Requirement) -> Version | None:
    return next((Version(part.version) for part in need.specifier if part.operator == "<"), None)


def test_the_version_is_the_same_everywhere(root: Path, project: dict[str, Any]) -> None:
    said = subprocess.run(
        [Path(sys.executable).with_name("penstock"), "--version"], capture_output=True, text=True, check=True
    )
    assert said.stdout == f"penstock {project['version']}\n"
    assert penstock.__version__ == project["version"]
    changelog = (root / "CHANGELOG.md").read_text("utf-8")
    assert "## [Unreleased]" in changelog or f"## [{project['version']}]" in changelog


def test_the_wheel_holds_the_import_package_penstock_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"penstock"}
    assert "penstock/py.typed" in wheel.namelist()


def test_the_wheel_holds_every_module_of_the_source_root(wheel: zipfile.ZipFile, root: Path) -> None:
    modules = {path.relative_to(root / "flows").as_posix() for path in (root / "flows" / "penstock").rglob("*.py")}
    assert modules <= set(wheel.namelist())


def test_the_wheel_carries_the_licence(wheel: zipfile.ZipFile) -> None:
    licence = next(name for name in wheel.namelist() if name.endswith("LICENSE"))
    assert "The Penstock developers" in wheel.read(licence).decode()


def test_each_bound_below_the_next_major_version_has_its_reason_on_the_line_above(
    root: Path, project: dict[str, Any]
) -> None:
    lines = (root / "pyproject.toml").read_text("utf-8").splitlines()
    for need in capped(project):
        bound = upper_bound(need)
        assert bound is not None
        if bound.release[1:] == () or not any(bound.release[1:]):
            continue
        place = next(number for number, line in enumerate(lines) if line.strip().startswith(f'"{need.name}'))
        assert lines[place - 1].strip().startswith("# "), f"{need.name} is capped without a reason"


def test_each_bound_stands_in_the_decision_record_and_is_tried_without_each_week(
    root: Path, project: dict[str, Any]
) -> None:
    record = (root / "docs" / "decisions" / "0005-caps.md").read_text("utf-8")
    job = (root / ".github" / "workflows" / "newest.yml").read_text("utf-8")
    tried = re.search(r"library: \[(.*)\]", job)
    assert tried is not None
    assert {need.name for need in capped(project)} == set(tried[1].split(", "))
    for need in capped(project):
        assert need.name in record
        assert f"`<{upper_bound(need)}`" in record


def test_each_dependency_has_its_reason_in_the_decision_record(root: Path, project: dict[str, Any]) -> None:
    record = (root / "docs" / "decisions" / "0002-libraries.md").read_text("utf-8")
    missing = [name for text in project["dependencies"] if f"`{(name := Requirement(text).name)}`" not in record]
    assert not missing


def test_a_cap_is_lifted_from_one_library_only(root: Path, project: dict[str, Any], tmp_path: Path) -> None:
    """The weekly job relies on this small script; here it works on a copy."""
    before = (root / "pyproject.toml").read_text("utf-8")
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "lift_cap.py").write_text((root / ".ci" / "lift_cap.py").read_text("utf-8"), "utf-8")
    for need in capped(project):
        (tmp_path / "pyproject.toml").write_text(before, "utf-8")
        subprocess.run([sys.executable, ".ci/lift_cap.py", need.name], cwd=tmp_path, check=True)
        after = tomllib.loads((tmp_path / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
        changed = [Requirement(new) for old, new in zip(project["dependencies"], after, strict=True) if old != new]
        assert [one.name for one in changed] == [need.name]
        assert upper_bound(changed[0]) is None


def test_the_lock_file_names_public_hosts_only(root: Path, project: dict[str, Any]) -> None:
    text = (root / "uv.lock").read_text("utf-8")
    hosts = {urlsplit(address).hostname for address in re.findall(r"https?://[^\"\s]+", text)}
    assert hosts == PUBLIC_HOSTS
    locked = {package["name"]: package for package in tomllib.loads(text)["package"]}
    assert locked["penstock"]["version"] == project["version"]
    assert {Requirement(need).name for need in project["dependencies"]} <= set(locked)
