"""`penstock finetune check`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from penstock.cli.app import app

GOOD = [
    {
        "messages": [
            {"role": "system", "content": "You answer support tickets."},
            {"role": "user", "content": f"Where is parcel {number}?"},
            {"role": "assistant", "content": f"Parcel {number} is on its way, and comes on Monday."},
        ]
    }
    for number in range(12)
]


def check(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["finetune", "check", *map(str, arguments)])


def write(path: Path, lines: list[object]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def test_a_clean_file_shows_its_figures_and_cost_and_exits_with_0(tmp_path: Path) -> None:
    done = check(write(tmp_path / "t.jsonl", [*GOOD]))
    assert done.exit_code == 0
    assert "12 examples (chat)" in done.stdout
    assert "tokens per example: min" in done.stdout
    assert "cost per epoch: $" in done.stdout
    assert done.stdout.endswith("No errors, no warnings: fit for training.\n")


def test_errors_are_told_with_file_and_line_and_exit_with_1(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [*GOOD, {"messages": []}, {"messages": [{"role": "bot", "content": "a"}]}])
    done = check(path)
    assert done.exit_code == 1
    assert f"{path}:13: 'messages' is an empty list" in done.stdout
    assert f"{path}:14: message 1: the role 'bot'" in done.stdout
    assert "3 errors, 0 warnings: not fit for training." in done.stdout


def test_warnings_alone_exit_with_0(tmp_path: Path) -> None:
    done = check(write(tmp_path / "t.jsonl", [*GOOD, GOOD[0]]), "--no-tokens")
    assert done.exit_code == 0
    assert "warning  duplicate" in done.stdout
    assert "tokens" not in done.stdout


def test_json_holds_problems_figures_and_cost(tmp_path: Path) -> None:
    training = write(tmp_path / "t.jsonl", [*GOOD])
    done = check(training, write(tmp_path / "v.jsonl", [GOOD[4]]), "--json", "--price", "2")
    told = json.loads(done.stdout)
    assert (told["ok"], told["errors"], told["warnings"]) == (True, 0, 1)
    problem = told["validation"]["problems"][0]
    assert (problem["code"], problem["severity"], problem["first"][0]["line"]) == ("leak", "warning", 1)
    assert told["training"]["tokens"]["total"] > 0
    assert told["cost"]["usd_per_epoch"] == pytest.approx(told["training"]["tokens"]["total"] * 2 / 1e6)


def test_a_suffix_is_held_against_the_rule_that_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [*GOOD])
    assert check(path, "--suffix", "a" * 30, "--no-tokens").exit_code == 0
    done = check(path, "--suffix", "a" * 30, "--suffix-rule", "18", "--no-tokens")
    assert done.exit_code == 1
    assert "has 30 characters; 18 are allowed" in done.stdout


def test_a_file_that_is_not_there_exits_with_2(tmp_path: Path) -> None:
    done = check(tmp_path / "none.jsonl", "--json")
    assert done.exit_code == 2
    assert "cannot be read" in json.loads(done.stdout)["message"]
