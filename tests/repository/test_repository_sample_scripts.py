"""Each sample file that a script writes is what the script would write now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("script", ["make_comments", "make_documents", "make_reviews", "make_tickets"])
def test_the_file_is_what_its_script_writes(root: Path, script: str) -> None:
    command = [sys.executable, f"sample_data/{script}.py", "--check"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_that_is_another_is_named(root: Path, tmp_path: Path) -> None:
    for name in ("make_comments.py", "sample_files.py", "comments.toml"):
        (tmp_path / name).write_bytes((root / "sample_data" / name).read_bytes())
    (tmp_path / "comments.csv").write_text("comment_id\n")
    command = [sys.executable, "make_comments.py", "--check"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("comments.csv is not what make_comments.py writes")
    assert (tmp_path / "comments.csv").read_text() == "comment_id\n"
