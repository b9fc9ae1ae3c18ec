"""``penstock sandbox``: options, announcements, and a quiet end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import typer
from typer.testing import CliRunner

from penstock.cli.sandbox import register
from penstock.faults import FAULTS

FLOWS = str(Path(__file__).resolve().parents[2] / "flows")
PROGRAM = """
import typer
from penstock.cli.sandbox import register
app = typer.Typer()
app.callback()(lambda: None)
register(app)
app()
"""


def run(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    result = CliRunner().invoke(app, ["sandbox", *arguments])
    return result.exit_code, result.output


def begin(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "sandbox", "--port", "0", *arguments],
        env=os.environ | {"PYTHONPATH": FLOWS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_ctrl_c_and_ends_quietly(number: signal.Signals) -> None:
    process = begin("--json", "--model", "tiny:4", "--fault", "500:x1", "--rpm", "1_000")
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    assert (ready["key"], ready["pid"]) == ("sk-sandbox", process.pid)
    with httpx.Client(base_url=ready["url"], headers={"Authorization": f"Bearer {ready['key']}"}) as client:
        codes = [client.post("/embeddings", json={"model": "tiny", "input": "a"}).status_code for _ in range(2)]
        assert codes == [500, 200]
        assert client.get(ready["stats"]).json()["total_requests"] == 2
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "", "")


def test_it_says_how_to_point_a_client_at_it_and_does_not_print_a_key_of_the_users_own() -> None:
    process = begin("--key", "sk-my-own-key-1234")
    assert process.stdout is not None
    lines = []
    while "Ctrl-C" not in (line := process.stdout.readline()):
        lines.append(line)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10)[1] == ""
    said = "".join(lines)
    assert "export OPENAI_BASE_URL=http://127.0.0.1:" in said
    assert "sk-my-own-key" not in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fault", "boom:5%"], "no fault named 'boom'"),
        (["--latency", "soon"], "200ms or 150ms..250ms"),
        (["--model", "m"], "NAME:SIZE"),
        (["--rpm", "many"], "--rpm"),
        (["--host", "no.such.host.invalid"], "cannot listen on"),
    ],
)
def test_a_wrong_option_is_one_clear_sentence_and_exit_code_2(arguments: list[str], words: str) -> None:
    code, output = run(*arguments)
    assert code == 2
    assert words in output
    assert "Traceback" not in output


def test_help_has_examples_and_the_list_has_every_fault() -> None:
    code, output = run("--help")
    assert code == 0
    assert "--fault 429:5%" in output
    code, output = run("--fault", "list")
    assert code == 0
    assert [line.split()[0] for line in output.splitlines()] == list(FAULTS)
