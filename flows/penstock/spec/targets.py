"""Where outputs are written: never over one another, never over the source."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

from penstock.sources import SourceSettings
from penstock.spec.errors_key import ErrorSettings
from penstock.spec.positions import Document
from penstock.spec.positions import Path as Place


def check_targets(
    document: Document, source: SourceSettings | None, outputs: list[tuple[Place, Any]], errors: ErrorSettings | None
) -> None:
    """Add a mistake for each place that would be written twice, or that holds the source."""
    targets: list[tuple[Place, Path]] = [((*place, "path"), output.target) for place, output in outputs]
    if errors is not None and errors.path is not None:
        targets.append((("errors", "path"), Path(errors.path)))
    for number, (place, target) in enumerate(targets):
        span = document.find(place)[1].span
        if not target.is_absolute():
            # Relative paths have begun at the pipeline's folder by now; only addresses such as s3:// are as written.
            document.add(
                span, "this is an address, and outputs are folders of this machine", "copy the folder afterwards"
            )
        for earlier, other in targets[:number]:
            if _within(target, other) or _within(other, target):
                first = document.problem(document.find(earlier)[1].span, "").line
                where = "the same place as" if target == other else "a place inside or around that of"
                document.add(span, f"this is {where} the output in line {first}", "give each its own folder")
        if source is not None and _within(_fixed_part(source.path or _database_file(source)), target):
            document.add(span, "the source stands in this place, and publishing would replace it", "write elsewhere")


def _within(inner: PurePath, outer: PurePath) -> bool:
    return inner == outer or outer in inner.parents


def _database_file(source: SourceSettings) -> str:
    uri = source.uri or ""
    return uri.removeprefix("sqlite:///") if uri.startswith("sqlite:///") else ""


def _fixed_part(pattern: str) -> PurePath:
    """The path up to the first part that holds a wildcard."""
    parts: list[str] = []
    for part in PurePath(pattern).parts:
        if any(mark in part for mark in "*?["):
            break
        parts.append(part)
    return PurePath(*parts)
