"""The sandbox as a child process, see `launch`: settings come by standard input, readiness goes to standard output.

It ends when standard input ends, which happens however its parent dies, and when its parent is another process than
at the start (a forked sibling may keep the pipe open).
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading

from penstock.errors import InputError
from penstock.sandbox.archive import remove_temporary_folders
from penstock.sandbox.server import serve
from penstock.sandbox.settings import Settings

_STDIN = 0
_STDOUT = 1
_LOOK_EVERY = 1.0


def _read_settings() -> Settings:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(_STDIN, 1)
        if not piece:
            sys.exit("the settings did not arrive")
        line += piece
    return Settings.from_json(json.loads(line))


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        readable, _, _ = select.select([_STDIN], [], [], _LOOK_EVERY)
        if readable and not os.read(_STDIN, 1024):
            break
    remove_temporary_folders()
    os._exit(0)


def _tell(message: dict[str, object]) -> None:
    os.write(_STDOUT, json.dumps(message).encode() + b"\n")


def _ready(port: int) -> None:
    _tell({"port": port})
    # Nobody reads any more: let later prints go nowhere instead of filling the pipe.
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  # os.devnull is no path of ours
        os.dup2(nowhere.fileno(), _STDOUT)


def main() -> None:
    """Run the sandbox for the parent process."""
    parent = os.getppid()
    settings = _read_settings()
    threading.Thread(target=_end_with_parent, args=(parent,), name="parent-watch", daemon=True).start()
    try:
        serve(settings, _ready)
    except InputError as error:
        _tell({"error": str(error)})
        sys.exit(1)


if __name__ == "__main__":
    main()
