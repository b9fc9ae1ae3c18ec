"""The files that are generated from the declarations: written, or compared with what stands there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from penstock.errors import InputError


def schemas() -> dict[str, str]:
    """The JSON Schemas, by file name."""
    from penstock.spec.schema import pipeline_schema

    return {"pipeline.schema.json": json.dumps(pipeline_schema(), indent=2, ensure_ascii=False) + "\n"}


def pages() -> dict[str, str]:
    """The reference pages, by file name."""
    from penstock.spec.reference import reference_pages

    return reference_pages()


def write_all(wanted: Mapping[Path, str]) -> list[Path]:
    """Write the files that are not up to date, and say which.

    Raises:
        InputError: one cannot be written.
    """
    old = stale(wanted)
    for path in old:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}") from None
    return old


def stale(wanted: Mapping[Path, str]) -> list[Path]:
    """The files that are missing or differ from what they should be."""
    return [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
