"""`penstock check`: every mistake of pipeline files. `penstock schema`: the JSON Schema and reference pages."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from penstock.errors import Problem
    from penstock.spec import Loaded

_CHECK_EPILOG = """Examples:

\b
  penstock check pipelines/embed_reviews.yaml
  penstock check pipelines/*.yaml README.md docs/guide/*.md
  penstock check nightly.yaml -p since=2026-01-01
  penstock check nightly.yaml --json

Exit code 1 when there is any mistake. No key is needed and nothing is sent.
"""
_SCHEMA_EPILOG = """Examples:

\b
  penstock schema
  penstock schema --write schemas --docs docs/reference
  penstock schema --check

Editors complete and check a pipeline that begins with:

\b
  # yaml-language-server: $schema=../schemas/pipeline.schema.json
"""


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("check", epilog=_CHECK_EPILOG)(check)
    app.command("schema", epilog=_SCHEMA_EPILOG)(schema)


def parse_params(texts: Sequence[str]) -> dict[str, str]:
    """``x=…`` of each ``-p`` option.

    Raises:
        UsageError: one has no ``=`` or no name, or a name stands twice.
    """
    from penstock.errors import UsageError

    params: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"-p {text}: write it as -p name=value")
        if name.strip() in params:
            raise UsageError(f"-p {name.strip()} is given twice")
        params[name.strip()] = value
    return params


def check(
    files: Annotated[list[str], typer.Argument(help="Pipeline files, or Markdown files with pipelines in them.")],
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="Value of a parameter: -p since=2026-01-01.")
    ] = None,
    provider: Annotated[str | None, typer.Option("--provider", help="Check as if for `sandbox` or `openai`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The mistakes as a JSON list.")] = False,
) -> None:
    """Find every mistake of pipeline files, with file:line:column, before anything is sent."""
    from penstock.cli.console import clear_errors, print_json, say, warn
    from penstock.cli.exit_codes import ExitCode

    with clear_errors(as_json=as_json):
        params = parse_params(param or [])
        problems: list[Problem] = []
        for file in files:
            found, lines = _checked(file, params, provider)
            problems += found
            if not as_json:
                for line in lines:
                    say(line)
                for problem in found:
                    warn(problem.render())
        if as_json:
            print_json([_as_dict(problem) for problem in problems])
        elif problems:
            count = len(problems)
            warn(f"\n{count} mistake{'s' if count > 1 else ''} found.")
        if problems:
            raise SystemExit(int(ExitCode.ROWS_FAILED))


def schema(
    write: Annotated[Path | None, typer.Option("--write", metavar="DIR", help="Write the JSON Schema there.")] = None,
    docs: Annotated[Path | None, typer.Option("--docs", metavar="DIR", help="Write the reference pages there.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 when the files in these folders are not up to date.")
    ] = False,
) -> None:
    """Print the JSON Schema of pipeline files; write or check it and the reference pages."""
    from penstock.cli.console import clear_errors, fail, print_json, say
    from penstock.cli.exit_codes import ExitCode
    from penstock.outputs.finetune.schema import finetune_schema
    from penstock.runs.schema import run_schema
    from penstock.spec.generated import pages, schemas, stale, write_all
    from penstock.spec.schema import pipeline_schema

    with clear_errors():
        if check:
            write, docs = (
                (write or Path("schemas"), docs or Path("docs/reference")) if not (write or docs) else (write, docs)
            )
        wanted: dict[Path, str] = {}
        if write is not None:
            others = {"run.schema.json": run_schema(), "finetune.schema.json": finetune_schema()}
            wanted |= {write / name: text for name, text in {**schemas(), **others}.items()}
        if docs is not None:
            wanted |= {docs / name: text for name, text in pages().items()}
        if not wanted:
            print_json(pipeline_schema())
        elif check:
            if old := stale(wanted):
                listed = ", ".join(str(path) for path in old)
                fail(f"not up to date: {listed}. Run: penstock schema --write schemas --docs docs/reference",
                     ExitCode.ROWS_FAILED)  # fmt: skip
            say(f"ok: {len(wanted)} files are up to date")
        else:
            for path in write_all(wanted):
                say(f"wrote {path}")


def _checked(file: str, params: dict[str, str], provider: str | None) -> tuple[list[Problem], list[str]]:
    """The mistakes of one file, and what to say about what is right in it."""
    from penstock.cli.fences import MARKDOWN, pipelines_in
    from penstock.errors import SpecError
    from penstock.spec import load, load_text
    from penstock.spec.load import decoded, read_bytes

    problems: list[Problem] = []
    lines: list[str] = []
    try:
        if Path(file).suffix.lower() not in MARKDOWN:
            return [], _summary(file, load(file, params=params, provider=provider))
        fences = pipelines_in(decoded(read_bytes(file), file))
    except SpecError as error:
        return error.problems, []
    folder = Path(file).resolve().parent
    for fence in fences:
        try:
            loaded = load_text(
                fence.text,
                file=file,
                folder=folder,
                params=params,
                provider=provider,
                first_line=fence.first_line,
                indent=fence.indent,
                source_may_miss=True,
            )
            lines += _summary(f"{file}:{fence.first_line}", loaded)
        except SpecError as error:
            problems += error.problems
    return problems, lines or ([] if problems else [f"{file}: ok: no pipeline in it"])


def _summary(name: str, loaded: Loaded) -> list[str]:
    steps = len(loaded.spec.steps)
    columns = [column for column in loaded.columns[-1] if not column.startswith("__")]
    end = f", columns {', '.join(columns)}" if columns else ""
    lines = [f"{name}: ok: {steps} step{'' if steps == 1 else 's'}{end}"]
    if variable := loaded.missing_key():
        lines.append(f"  note: {variable} is not set; `check` needs no key, `penstock run` does")
    return [*lines, *(f"  note: {note}" for note in loaded.notes)]


def _as_dict(problem: Problem) -> dict[str, object]:
    fields = dataclasses.asdict(problem)
    return {name: fields[name] for name in ("file", "line", "column", "message", "hint")}
