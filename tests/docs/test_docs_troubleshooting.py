"""The messages that the troubleshooting page explains are the ones that users see."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from docs_fences import ROOT

from penstock.errors import PenstockError
from penstock.items import Cause
from penstock.spec.load import load_text
from penstock.tables.state import State

PAGE = (ROOT / "docs" / "guide" / "troubleshooting.md").read_text("utf-8")
PIPELINE = (ROOT / "pipelines" / "embed_reviews.yaml").read_text("utf-8")


def no_key(folder: Path) -> None:
    text = PIPELINE.replace("provider: sandbox", "provider: openai")
    load_text(text, file="pipeline.yaml", folder=ROOT / "pipelines", environ={}).check_environment({})


def key_in_the_file(folder: Path) -> None:
    provider = "provider: {base_url: 'https://example.com/v1', api_key: sk-written-down}"
    load_text(PIPELINE.replace("provider: sandbox", provider), file="pipeline.yaml", folder=ROOT / "pipelines")


def second_run(folder: Path) -> None:
    program = "import sys; from pathlib import Path; from penstock.tables.state import State; "
    program += "State(Path(sys.argv[1]), 'reviews').lock(); print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT / "flows")},
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        State(folder, "reviews").lock()
    finally:
        holder.communicate("")


CASES: dict[str, Callable[[Path], None]] = {
    "the environment variable OPENAI_API_KEY is not set": no_key,
    "keys live in the environment": key_in_the_file,
    "another run of '…' is going on": second_run,
}


def test_every_quoted_message_of_the_page_is_tried_here() -> None:
    assert set(re.findall(r'^## "(.*)"$', PAGE, re.MULTILINE)) == set(CASES)


@pytest.mark.parametrize("message", CASES)
def test_the_message_is_what_a_user_sees(message: str, tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match=re.escape(message).replace("…", ".*")) as caught:
        CASES[message](tmp_path)
    assert "sk-written-down" not in str(caught.value)


def test_the_page_explains_every_cause_and_no_other() -> None:
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", PAGE, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(Cause)
