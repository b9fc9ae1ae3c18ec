"""`penstock finetune check`, as a user types it; `--moderate` asks a sandbox server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from penstock.cli.app import app
from penstock.sandbox.launch import SandboxProcess, start
from raw_http import RawServer, error

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
    assert done.stdout.count("near_duplicate") == 0
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


def test_the_report_is_written_and_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [*GOOD])
    done = check(path, "--structure", "--report", tmp_path / "r.html")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, f"report: {tmp_path / 'r.html'}")
    assert (tmp_path / "r.html").read_text("utf-8").startswith("<!doctype html>")
    lost = check(path, "--structure", "--report", tmp_path / "no" / "r.html")
    assert lost.exit_code == 2
    assert "cannot be written: No such file or directory" in lost.stderr


def asking(number: int, text: str) -> dict[str, object]:
    said = f"Ticket {number}: {text}"
    return {"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": f"Noted, {number}."}]}


def test_what_is_looked_for_is_chosen_by_options(tmp_path: Path) -> None:
    long = "the lamp that came yesterday is broken in three places and nobody answers the telephone in your shop at all"
    lines = [asking(10 + at, f"number {at} {'and again ' * at}") for at in range(12)]
    lines += [
        asking(90, f"{long}, {long[::-1]}"),
        asking(91, f"{long}, {long[::-1]}"),
        asking(92, "write to ann@example.org"),
    ]
    training = write(tmp_path / "t.jsonl", lines)
    validation = write(tmp_path / "v.jsonl", [asking(12, "what has become of it in the end?")])

    def codes(*options: str) -> set[str]:
        told = json.loads(check(training, validation, "--json", *options).stdout)
        return {one["code"] for file in ("training", "validation") for one in told[file]["problems"]}

    assert codes("--no-tokens") == {"near_duplicate", "personal_mail"}
    assert codes("--no-tokens", "--near", "off", "--no-personal") == set()
    assert codes("--structure", "--group", "Ticket ([0-9]+)") == {"leak_group"}
    assert codes("--structure", "--group", "Ticket [0-9]") == {"leak_group"}
    assert codes("--structure", "--formats", "preference") == {"format_not_taken"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--near", "40%"], "--near is from 50% to 100%, or off"),
        (["--near", "much"], "--near"),
        (["--group", "("], "--group is no regular expression"),
        (["--formats", "chat,speech"], "'speech' is none of chat, preference"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: list[str], told: str) -> None:
    done = check(write(tmp_path / "t.jsonl", [*GOOD]), *options)
    assert done.exit_code == 2
    assert told in done.stderr


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with start() as server:
        yield server


def test_moderation_tells_what_it_sends_and_which_lines_are_flagged(tmp_path: Path, sandbox: SandboxProcess) -> None:
    lines = [asking(at, f"number {at}") for at in range(40)]
    lines[6] = asking(6, "I will kill you and hurt your family")
    lines[30] = asking(30, "word " * 5_000 + "I will kill you and hurt your family")
    path = write(tmp_path / "t.jsonl", lines)
    done = check(path, "--structure", "--json", "--moderate", "--provider", "sandbox", "--base-url", sandbox.url)
    assert done.exit_code == 0
    assert "moderation: 41 texts, about" in done.stderr
    assert "in 2 requests (omni-moderation-latest) for $0.00 by genai-prices" in done.stderr
    problems = {one["code"]: one for one in json.loads(done.stdout)["training"]["problems"]}
    assert [one["line"] for one in problems["flagged"]["first"]] == [7, 31]
    assert "violence" in problems["flagged"]["first"][0]["message"]


def test_nothing_is_sent_without_being_asked_for(tmp_path: Path, sandbox: SandboxProcess) -> None:
    done = check(write(tmp_path / "t.jsonl", [*GOOD]), "--structure", "--base-url", sandbox.url)
    assert (done.exit_code, done.stderr) == (0, "")


def test_texts_without_a_verdict_are_told(tmp_path: Path) -> None:
    with RawServer(lambda _: error(400, None, "this text is not taken")) as server:
        path = write(tmp_path / "t.jsonl", [*GOOD])
        done = check(path, "--structure", "--moderate", "--provider", "sandbox", "--base-url", server.url)
    assert done.exit_code == 0
    assert "warning  not_moderated: content of which no verdict came  12 times" in done.stdout
    assert "this text is not taken" in done.stdout


def test_a_moderation_with_a_key_that_is_refused_stops_with_a_sentence(
    tmp_path: Path, sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", "sk-other-0123456789")
    path = write(tmp_path / "t.jsonl", [*GOOD])
    done = check(path, "--structure", "--moderate", "--base-url", sandbox.url, "--key-variable", "OTHER_KEY")
    assert done.exit_code == 3
    assert "401" in done.stderr
    assert "then run the command again" in done.stderr
    assert "resume" not in done.stderr
    assert "sk-other-0123456789" not in done.stdout + done.stderr
