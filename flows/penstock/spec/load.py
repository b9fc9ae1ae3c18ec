"""From a pipeline file to a `Loaded` pipeline, or every mistake in it with its place."""

from __future__ import annotations

import codecs
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.errors import InputError, Problem, SpecError
from penstock.spec.model import Spec
from penstock.spec.positions import Document, parse
from penstock.steps import Columns

LARGEST = 1_000_000
"""Bytes of a pipeline file."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A pipeline that was read and found right.

    Attributes:
        spec: what it says.
        file: its path as it was given.
        folder: the absolute folder that its relative paths start at.
        text: the file's text.
        sha256: of the file's bytes.
        param_values: each parameter's value for this run.
        overrides: what the command line gave for parameters.
        columns: of a row as the source gives it, and after each step: one entry more than there are steps.
        notes: what is no mistake but worth knowing.
    """

    spec: Spec
    file: Path
    folder: Path
    text: str
    sha256: str
    param_values: dict[str, Any]
    overrides: dict[str, str]
    columns: tuple[Columns, ...]
    notes: tuple[str, ...] = ()

    def missing_key(self, environ: Mapping[str, str] | None = None) -> str | None:
        """The environment variable that a run needs as its key and that is not set."""
        given = os.environ if environ is None else environ
        return next((name for name in self.spec.key_variables if not given.get(name, "").strip()), None)

    def check_environment(self, environ: Mapping[str, str] | None = None) -> None:
        """Make sure that the provider's key is there; `plan` and `run` ask before they begin.

        Raises:
            InputError: it is not, with the variable's name.
        """
        if name := self.missing_key(environ):
            raise InputError(
                f"the environment variable {name} is not set, and the provider needs it as its API key. "
                f"Set it (export {name}=…), or rehearse without a key: --provider sandbox"
            )


def load(
    path: str | Path,
    *,
    params: Mapping[str, str] | None = None,
    provider: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Read a pipeline file and check all of it, down to the columns of its expressions.

    Args:
        path: the file.
        params: values for its parameters, as text.
        provider: `sandbox` or `openai`, instead of what the file says.
        environ: the environment; the process's own if left out.

    Raises:
        SpecError: the file has mistakes; all of them with their places.
        UsageError: `provider` is no provider.
    """
    file = str(path)
    content = read_bytes(file)
    return load_text(
        decoded(content, file),
        file=file,
        folder=Path(path).resolve().parent,
        sha256=hashlib.sha256(content).hexdigest(),
        params=params,
        provider=provider,
        environ=environ,
    )


def load_text(
    text: str,
    *,
    file: str,
    folder: Path,
    sha256: str = "",
    params: Mapping[str, str] | None = None,
    provider: str | None = None,
    environ: Mapping[str, str] | None = None,
    first_line: int = 1,
    indent: int = 0,
    source_may_miss: bool = False,
) -> Loaded:
    """As `load`, from text; `first_line` and `indent` say where it stands in `file` when it is a part of that.

    Args:
        source_may_miss: whether a source that cannot be read is no mistake, as in documentation and when a pipeline
            is deployed; then only the syntax of expressions is checked. One on another machine is not even asked.
    """
    from penstock.spec.reading import Reading

    document = Document(text, file, first_line=first_line, indent=indent)
    parse(document)
    environ = os.environ if environ is None else environ
    reading = Reading(document, folder, environ, dict(params or {}), provider)
    spec, columns = reading.spec(source_may_miss=source_may_miss)
    if document.problems or spec is None:
        raise SpecError(document.problems)
    return Loaded(
        spec=spec,
        file=Path(file),
        folder=folder,
        text=text,
        sha256=sha256 or hashlib.sha256(text.encode()).hexdigest(),
        param_values=reading.param_values,
        overrides=dict(params or {}),
        columns=columns,
        notes=tuple(reading.notes),
    )


def read_bytes(file: str) -> bytes:
    """The file's content.

    Raises:
        SpecError: there is no such file, or it cannot be a pipeline.
    """
    path = Path(file)
    try:
        if path.is_dir():
            raise _refused(file, "this is a folder; name the pipeline file in it")
        if path.exists() and not path.is_file():
            raise _refused(file, "this is not a regular file")
        with path.open("rb") as handle:
            content = handle.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _refused(file, f"the file cannot be read: {reason}") from None
    if len(content) > LARGEST:
        raise _refused(file, f"the file is larger than {LARGEST:,} bytes, which no pipeline is")
    return content


def decoded(content: bytes, file: str) -> str:
    """The text of a file; a byte order mark is left out.

    Raises:
        SpecError: it is not UTF-8, or holds NUL bytes.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise _refused(file, "the file is UTF-16; save it as UTF-8")
    content = content.removeprefix(codecs.BOM_UTF8)
    place = content.find(b"\0")
    if place >= 0:
        raise _refused(file, "a NUL byte stands here; is this a text file?", content, place)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"the byte 0x{content[error.start]:02X} is not UTF-8; save the file as UTF-8"
        raise _refused(file, message, content, error.start) from None


def _refused(file: str, message: str, content: bytes = b"", place: int = -1) -> SpecError:
    if place < 0:
        return SpecError([Problem(file, 0, 0, message)])
    before = content[:place]
    line = before.count(b"\n") + 1
    column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
    return SpecError([Problem(file, line, column, message)])
