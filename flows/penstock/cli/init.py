"""``penstock init``: a first project that runs at once."""

from __future__ import annotations

import re
from pathlib import Path

import typer

from penstock.cli.console import clear_errors, print_json, say
from penstock.cli.options import JSON
from penstock.errors import InputError

_PIPELINE = """\
name: {name}
description: Vectors of a few sentences. Change the source to your own file and run it again.

provider: sandbox              # built in: no key, no cost. For real vectors: openai, and export OPENAI_API_KEY=...

source:
  path: sentences.csv          # CSV, JSON Lines or Parquet; relative to this file
  key: id                      # the column that names a row for good

steps:
  - uses: filter
    where: length(text) > 0    # SQL; the rows it takes out are counted
  - uses: embed
    input: "{{{{ text }}}}"        # every column can be used
    model: text-embedding-3-small
    output: embedding

outputs:
  - uses: parquet
    path: out/vectors          # a folder, replaced whole or not at all
"""
_ROWS = """\
id,text
1,The kettle boils in two minutes and switches itself off.
2,A fast kettle that is ready in no time.
3,The tide comes in quicker than one thinks.
4,"High water was at six, and the harbour was full."
5,Der Wasserkocher ist leise und schnell.
6,
7,The train was late again and nobody said why.
8,"Delayed by forty minutes, without a word of explanation."
"""
_GITIGNORE = ".penstock/\nout/\n"


def register(app: typer.Typer) -> None:
    """Put the command into the command line."""
    app.command(epilog="Examples:  penstock init  |  penstock init my-project")(init)


def init(
    folder: Path = typer.Argument(Path(), help="Where; it is made if it is not there.", metavar="[FOLDER]"),
    as_json: bool = JSON,
) -> None:
    """Write a first project: a pipeline on the sandbox with a small source. Replaces no file."""
    with clear_errors(as_json=as_json):
        name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-") or "first"
        files = {
            folder / "pipeline.yaml": _PIPELINE.format(name=name),
            folder / "sentences.csv": _ROWS,
            folder / ".gitignore": _GITIGNORE,
        }
        if there := [path for path in files if path.exists()]:
            raise InputError(f"{there[0]} is there already, and nothing is replaced; choose another folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path, text in files.items():
                path.write_text(text)
        except OSError as error:
            raise InputError(f"{folder} cannot be written: {error.strerror}") from None
        pipeline = folder / "pipeline.yaml"
        if as_json:
            print_json({"files": [str(path) for path in files], "pipeline": str(pipeline)})
            return
        for path in files:
            say(f"wrote {path}")
        say(f"\nNext:\n  penstock check {pipeline}\n  penstock plan {pipeline}\n  penstock run {pipeline}")
