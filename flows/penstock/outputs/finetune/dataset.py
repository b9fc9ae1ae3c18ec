"""The folder of a `finetune` output: sets, the report of the check with the rows of each problem, and a manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import InputError
from penstock.outputs.base import Origin, Published
from penstock.outputs.finetune.recipe import Recipe
from penstock.outputs.finetune.sets import LINES, MANIFEST, OWN_NAME, SetFile

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa


TRAIN, VALIDATION = "train", "validation"
_VERSION = 1


@dataclass(slots=True)
class Built:
    """A folder that is ready to be put in place.

    Attributes:
        sets: what `SetFile.finish` says of each.
        refused: the rows that make no example, as an errors table; None when there is none.
        notes: sentences for the run record.
    """

    folder: Path
    sets: list[dict[str, Any]]
    refused: pl.DataFrame | None
    notes: list[str] = field(default_factory=list)


def check_place(target: Path) -> None:
    """Before anything is paid: may this folder be replaced, and can its parent be written?

    Raises:
        InputError: there is a file, or a folder with things in it that this output did not write.
        StorageFailed: the parent cannot be written.
    """
    from penstock.outputs.folder import check_place as check_way
    from penstock.outputs.folder import real

    check_way(target, "a folder of training files")
    folder = real(target)
    others = [one.name for one in folder.iterdir() if not OWN_NAME.fullmatch(one.name)] if folder.is_dir() else []
    if others:
        raise InputError(
            f"the output folder {folder} holds {min(others)!r}, which this output did not write, and it would replace "
            "it. Choose another path, or empty the folder"
        )


def build(recipe: Recipe, parts: Sequence[Path], keys: Sequence[str], scratch: Path) -> Built:
    """Write the files of all sets and of the check into `scratch`.

    Raises:
        InputError: the parts do not go together.
        StorageFailed: the disk is full, or a part cannot be read.
    """
    from penstock.outputs.folder import writing

    with writing(recipe.target):
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        sets, refused = _sets(recipe, parts, keys, scratch)
        built = Built(scratch, sets, refused)
        from penstock.outputs.finetune.findings import write_report

        summary = write_report(recipe, sets, scratch)
        built.notes += summary.notes
        _write_json(
            scratch / MANIFEST,
            {
                "version": _VERSION,
                "model": recipe.shape.rules.model,
                "upload": recipe.upload,
                "job": recipe.job.model_dump(mode="json") if recipe.job else None,
                "method": recipe.method,
                "sets": {entry["set"]: entry for entry in sets},
                "cost": summary.cost,
                "check": {"errors": summary.errors, "warnings": summary.warnings, "first": summary.first_errors},
            },
        )
    return built


def put_in_place(built: Built, target: Path, origin: Origin) -> Published:  # noqa: ARG001  # lines name no run
    """Exchange the folder; uploaded files of other content stay in it, and so do answers of trained models.

    Raises:
        StorageFailed: it cannot be written; what stood there before still stands.
    """
    from penstock.outputs.finetune.lock import Lock
    from penstock.outputs.folder import link_or_copy, publish_folder, sha256_of, writing

    check_place(target)
    rows = {entry["file"]: entry["rows"] for entry in built.sets}
    names = sorted(path.name for path in built.folder.iterdir())
    kept = Lock.of(target).uploaded_names()

    def fill(folder: Path) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        for name in names:
            link_or_copy(built.folder / name, folder / name)
            file = folder / name
            size = file.stat().st_size
            entries.append({"name": name, "rows": rows.get(name, 0), "bytes": size, "sha256": sha256_of(file)})
        return entries

    def keep(name: str) -> bool:
        stem = name.removesuffix(".rows.parquet").removesuffix(LINES)
        return name not in names and (name.startswith("answers-") or f"{stem}{LINES}" in kept)

    with writing(target):
        files = publish_folder(target, fill, keep)
    return Published(target, sum(rows.values()), files, [f"{target.name}: {note}" for note in built.notes])


def read_manifest(folder: Path) -> dict[str, Any]:
    """What the folder's manifest says.

    Raises:
        InputError: there is none, or it is of another kind.
    """
    try:
        found = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        raise InputError(
            f"{folder} is no folder of a `finetune` output: it has no {MANIFEST} that can be read"
        ) from None
    if not isinstance(found, dict) or found.get("version") != _VERSION:
        raise InputError(f"the {MANIFEST} in {folder} is of another version of Penstock; run the pipeline again")
    return found


def _sets(
    recipe: Recipe, parts: Sequence[Path], keys: Sequence[str], scratch: Path
) -> tuple[list[dict[str, Any]], pl.DataFrame | None]:
    from penstock.outputs.finetune.collect import NUMBER, PART, gathered, single
    from penstock.outputs.finetune.examples import Examples

    if not parts:
        return [], None
    schema, known = _narrow(recipe, parts, keys)
    types = _polars_types(schema, known)
    examples = Examples(recipe.shape, known)
    conversation = recipe.shape.conversation
    frames = single(parts, schema) if conversation is None else gathered(parts, schema, conversation, scratch)
    files: dict[str, SetFile] = {}
    try:
        for line in examples.lines(frames):
            file = files.get(line.set) or files.setdefault(line.set, SetFile(scratch, line.set, types))
            rows = [((row[PART], row[NUMBER]), examples.keys_of(row)) for row in line.rows]
            file.add(line.text, rows, group=_group(recipe, line.rows[0]), flagged=_flagged(recipe, line.rows))
    except BaseException:
        for file in files.values():
            file.abandon()
        raise
    sets = [files[name].finish() for name in recipe.set_names if name in files]
    return sets, _refused(examples, types)


def _group(recipe: Recipe, row: Mapping[str, Any]) -> str | None:
    """What names the group of an example; None where a part of it is null."""
    values = [row[name] for name in recipe.group]
    return json.dumps(values, default=str) if values and None not in values else None


def _flagged(recipe: Recipe, rows: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """The categories that a row of an example was flagged for."""
    if recipe.flagged is None:
        return None
    values = [row[recipe.flagged] for row in rows]
    if isinstance(next((value for value in values if value is not None), None), bool):
        return ["flagged"] if any(values) else None
    return sorted({str(name) for value in values for name in (value or ())}) or None


def _refused(examples: Any, types: dict[str, pl.DataType]) -> pl.DataFrame | None:
    import polars as pl

    from penstock.tables.failures import RowError, error_frame

    by_part: dict[int, list[RowError]] = {}
    for part, error in examples.refused:
        by_part.setdefault(part, []).append(error)
    frames = [error_frame(errors, types, part) for part, errors in sorted(by_part.items())]
    return pl.concat(frames) if frames else None


def _narrow(recipe: Recipe, parts: Sequence[Path], keys: Sequence[str]) -> tuple[pa.Schema, list[str]]:
    """The columns that are used, and the key columns among those of the parts."""
    import pyarrow as pa

    from penstock.outputs.rows import schema_of

    whole = schema_of(parts)
    known = [name for name in keys if name in whole.names]
    wanted = {*known, *recipe.columns}
    if missing := sorted(wanted - set(whole.names)):
        raise InputError(f"the rows have no column {missing[0]!r}")
    return pa.schema([one for one in whole if one.name in wanted]), known


def _polars_types(schema: pa.Schema, names: Sequence[str]) -> dict[str, pl.DataType]:
    import polars as pl

    frame = pl.DataFrame(schema.empty_table())
    return {name: frame.schema[name] for name in names}


def _write_json(file: Path, value: Any) -> None:
    from penstock.tables.parts import sync_file

    file.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")
    sync_file(file)
