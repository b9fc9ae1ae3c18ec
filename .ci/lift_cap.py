"""Takes the upper bound off one dependency in pyproject.toml, for the job that tells when a cap can go.

    python .ci/lift_cap.py fastapi                    rewrites pyproject.toml without fastapi's upper bound
    python .ci/lift_cap.py fastapi --beyond 0.155.0   prints beyond=yes when that version is over the bound

Only the standard library is used. pip's own resolver still honours the caps that other libraries set: when one of them
keeps the version down, the answer is beyond=no.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def requirement(text: str, library: str) -> re.Match[str]:
    """The line of `library` in `dependencies`, in three groups: its beginning, the upper bound, its end.

    Raises:
        SystemExit: it has no line, or no upper bound.
    """
    found = re.search(rf'^(\s*"{re.escape(library)}(?:\[[^]]*\])?[^"\n]*?),<([\d.]+)(",?)', text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{library} has no upper bound in pyproject.toml")
    return found


def is_beyond(version: str, bound: str) -> bool:
    """Whether `version` is not below `bound`; missing numbers count as 0."""
    numbers = [[int(part) for part in re.findall(r"\d+", text)] for text in (version, bound)]
    longest = max(map(len, numbers))
    one, other = (part + [0] * (longest - len(part)) for part in numbers)
    return one >= other


def main(arguments: list[str]) -> None:
    """Lift the cap, or say whether a version is beyond the one that was committed."""
    library, *rest = arguments
    if rest[:1] == ["--beyond"]:
        committed = subprocess.run(  # fixed arguments
            ["git", "show", "HEAD:pyproject.toml"],  # noqa: S607  # whichever git the job has
            cwd=PYPROJECT.parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        sys.stdout.write(f"beyond={'yes' if is_beyond(rest[1], requirement(committed, library)[2]) else 'no'}\n")
        return
    text = PYPROJECT.read_text("utf-8")
    found = requirement(text, library)
    PYPROJECT.write_text(text[: found.start()] + found[1] + found[3] + text[found.end() :], "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
