"""The command line and its documentation agree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from docs_fences import ROOT

from penstock.cli.app import app


def commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Typer brings its own copy of click along, so the classes to compare with have no public name."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_the_readme_names_every_command_and_no_other() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    table = re.findall(r"^\| `penstock ([a-z]+)", readme, re.MULTILINE)
    assert set(table) == {name.split()[0] for name in COMMANDS}
    assert len(table) == len(set(table))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_and_shows_an_example(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert "Example" in (command.epilog or "")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_described(name: str) -> None:
    bare = [parameter.name for parameter in COMMANDS[name].params if not getattr(parameter, "help", None)]
    assert not bare


def test_the_readme_explains_every_exit_code() -> None:
    from penstock.cli.exit_codes import ExitCode

    readme = (ROOT / "README.md").read_text("utf-8")
    assert set(re.findall(r"^\| (\d+) \| ", readme, re.MULTILINE)) == {str(int(code)) for code in ExitCode}
