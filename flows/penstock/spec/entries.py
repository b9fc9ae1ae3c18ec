"""Reading `steps:` and `outputs:`: lists whose entries say with `uses` what kind they are."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from penstock.spec.columns import PlacedStep
from penstock.spec.markers import keys_of, marked, replaced
from penstock.spec.mistakes import validated
from penstock.spec.positions import Document
from penstock.spec.positions import Path as Place
from penstock.spec.references import did_you_mean
from penstock.steps import ApiStep, Step
from penstock.values import PathField, UriField

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SQLITE = "sqlite:///"


def absolute(model: type[BaseModel], data: Any, folder: Path) -> Any:
    """`data` with its relative paths begun at the pipeline's folder, defaults too; addresses such as ``s3://`` stay."""
    for name, field in keys_of(model).items() if isinstance(data, dict) else ():
        if (
            name not in data
            and isinstance(field.default, str)
            and any(isinstance(each, PathField) for each in field.metadata)
        ):
            data = {**data, name: field.default}
    for path, marker, text in list(marked(model, data, (PathField, UriField))):
        begin = _SQLITE if isinstance(marker, UriField) else ""
        name = text.removeprefix(begin) if text.startswith(begin) else ""
        if name and not _REMOTE.match(name):
            whole = os.path.normpath(folder / os.path.expanduser(name))  # noqa: PTH111  # pathlib has no user-safe form
            data = replaced(data, path, begin + whole)
    return data


def kind_of(document: Document, what: str, kinds: Mapping[str, type[Any]], data: Any, path: Place) -> type[Any] | None:
    """The class that an entry's `uses` means, or None with the mistake added."""
    _, node = document.find(path)
    names = ", ".join(sorted(kinds))
    example = next(iter(sorted(kinds)))
    if not isinstance(data, dict):
        word = data if isinstance(data, str) and data in kinds else example
        message = f"{what} is a mapping that begins with `uses`"
        document.add(node.span, message, f"for example - uses: {word}; there are: {names}")
        return None
    if "uses" not in data:
        first = next(iter(data), "")
        hint = f"write `- uses: {first}` and its settings below it" if first in kinds else f"there are: {names}"
        first_key = document.find((*path, first))[0] if first else None
        document.add(first_key.span if first_key else node.span, f"{what} needs `uses`, its kind", hint)
        return None
    uses = data["uses"]
    if isinstance(uses, str) and uses in kinds:
        found: type[Any] = kinds[uses]
        return found
    value = document.find((*path, "uses"))[1]
    hint = did_you_mean(str(uses), list(kinds)) if isinstance(uses, str) else ""
    document.add(value.span, f"there is no {what.rsplit(maxsplit=1)[-1]} `{uses}`; there are: {names}", hint)
    return None


def read_steps(document: Document, kinds: Mapping[str, type[Step]], data: Any, folder: Path) -> list[PlacedStep]:
    """The entries of `steps:`, each with its id; those with mistakes keep their place."""
    placed: list[PlacedStep] = []
    for place, entry in enumerate(_entries(document, "steps", data)):
        path: Place = ("steps", place)
        kind = kind_of(document, "a step", kinds, entry, path)
        settings = absolute(kind, entry, folder) if kind is not None else entry
        step = validated(kind, settings, document, path) if kind is not None else None
        placed.append(PlacedStep(path, settings, kind, step))
    return _named(document, placed)


def read_outputs(
    document: Document, kinds: Mapping[str, type[Any]], data: Any, folder: Path
) -> list[tuple[Place, Any]]:
    """The entries of `outputs:` that are right, with their places."""
    found: list[tuple[Place, Any]] = []
    for place, entry in enumerate(_entries(document, "outputs", data)):
        path: Place = ("outputs", place)
        kind = kind_of(document, "an output", kinds, entry, path)
        if kind is not None:
            output = validated(kind, absolute(kind, entry, folder), document, path)
            found += [(path, output)] if output is not None else []
    return found


def _entries(document: Document, name: str, data: Any) -> list[Any]:
    if isinstance(data, list):
        return data
    if data is not None:
        document.add(document.find((name,))[1].span, f"`{name}` must be a list", "begin each entry with `- uses: …`")
    return []


def _named(document: Document, placed: list[PlacedStep]) -> list[PlacedStep]:
    """Each step with an id: its own, or its kind; further table steps of a kind are numbered.

    API steps are not numbered: their id names a column, and it must not change when a step is put before them.
    """
    taken = Counter(entry.step.id for entry in placed if entry.step is not None and entry.step.id)
    seen: dict[str, Place] = {}
    named: list[PlacedStep] = []
    for entry in placed:
        step = entry.step
        if step is None:
            named.append(entry)
            continue
        name = step.id or step.uses
        if step.id is None and not isinstance(step, ApiStep):
            number = 1
            while name in seen or name in taken:
                number += 1
                name = f"{step.uses}_{number}"
        elif name in seen:
            key = "id" if step.id else "uses"
            first = document.problem(document.find(seen[name])[1].span, "").line
            hint = "give it another `id`" if step.id else f"give it an id, for example id: {step.uses}_2"
            span = document.find((*entry.path, key))[1].span
            document.add(span, f"two steps have the id `{name}`; the first stands in line {first}", hint)
        seen.setdefault(name, (*entry.path, "uses"))
        named.append(PlacedStep(entry.path, entry.data, entry.kind, step.model_copy(update={"id": name})))
    return named
