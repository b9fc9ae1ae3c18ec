"""Publishing a folder of files: readers see the old folder or the new one, whole, at every moment."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.errors import InputError, StorageFailed
from penstock.outputs.base import Published
from penstock.tables.parts import read_counts, sync_file, sync_folder
from penstock.tables.state import is_alive

_OWN_NAME = re.compile(r"part-\d{5}\.parquet")

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def check_folder(target: Path) -> None:
    """Before anything is paid: may this folder be replaced, and can its parent be written?

    Raises:
        InputError: there is a file, or a folder with things in it that Penstock did not write.
        StorageFailed: the parent cannot be written.
    """
    target = _real(target)
    if target.is_file():
        raise InputError(f"the output path {target} is a file; a folder of Parquet files belongs there")
    if target.is_dir() and not _is_own(target):
        raise InputError(
            f"the output folder {target} holds files that Penstock did not write, and it would replace them. "
            "Choose another path, or empty the folder"
        )
    standing = next(folder for folder in target.parents if folder.exists())
    if not standing.is_dir():
        raise InputError(f"the output path {target} leads through {standing}, which is a file")
    if not os.access(standing, os.W_OK | os.X_OK):
        raise StorageFailed(f"the folder {standing} cannot be written; mend its permissions and resume")


def replace_folder(target: Path, parts: Sequence[Path]) -> Published:
    """Put a folder with the parts, linked where the file system can and copied elsewhere, in the place of `target`.

    Raises:
        StorageFailed: the disk is full or the folder cannot be written; `target` is as it was.
    """
    import pyarrow as pa
    from pyarrow import parquet

    check_folder(target)
    wanted, target = target, _real(target)
    staging = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        staging.mkdir()
        files: list[dict[str, Any]] = []
        for number, part in enumerate(parts):
            file = staging / f"part-{number:05d}.parquet"
            _link_or_copy(part, file)
            rows = parquet.read_metadata(file).num_rows
            files.append({"name": file.name, "rows": rows, "bytes": file.stat().st_size, "sha256": _sha256(file)})
        sync_folder(staging)
        _put_in_place(staging, target)
    except (OSError, pa.ArrowInvalid) as error:
        shutil.rmtree(staging, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) else None
        raise StorageFailed(
            f"the output folder {target} could not be written: {reason or error}. All answers are kept; "
            "make room or mend the folder, then resume"
        ) from error
    return Published(wanted, sum(entry["rows"] for entry in files), files)


def damage(target: Path, files: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with a published folder that should hold `files`, as sentences; empty when nothing is.

    `files` is what `replace_folder` returned: name, bytes and SHA-256 of each.
    """
    if not target.is_dir():
        return [f"{target} is not there any more"]
    problems: list[str] = []
    for entry in files:
        file = target / entry["name"]
        if not file.exists():
            problems.append(f"{file} is missing")
        elif file.stat().st_size != entry["bytes"] or _sha256(file) != entry["sha256"]:
            problems.append(f"{file} is not what was written (its SHA-256 differs)")
    known = {entry["name"] for entry in files}
    problems += [f"{file} was not written by this run" for file in sorted(target.iterdir()) if file.name not in known]
    return problems


def _is_own(target: Path) -> bool:
    """Whether all files of a folder were written by Penstock: by their names, and the mark in their footers."""
    files = list(target.iterdir())
    return all(_OWN_NAME.fullmatch(file.name) and read_counts(file) is not None for file in files)


def _real(target: Path) -> Path:
    """Where the folder is, when the path is a link to it: what a link points to is replaced, never the link."""
    return target.resolve() if target.is_symlink() else target


def _sweep(target: Path) -> None:
    """Remove what processes that died while they published left beside the folder."""
    name = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.(new|old)")
    for left in list(target.parent.iterdir()):
        match = name.fullmatch(left.name)
        if match and (int(match[1]) == os.getpid() or not is_alive(int(match[1]))):
            shutil.rmtree(left)


def _link_or_copy(part: Path, file: Path) -> None:
    try:
        file.hardlink_to(part)
    except OSError:
        # Another file system, or one without links.
        shutil.copyfile(part, file)
        sync_file(file)


def _put_in_place(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.rename(target)
    elif _exchange(staging, target):
        shutil.rmtree(staging)
    else:
        # Without an atomic exchange there is a moment between two renames in which the folder is not there.
        old = target.with_name(f".{target.name}.{os.getpid()}.old")
        target.rename(old)
        staging.rename(target)
        shutil.rmtree(old)
    sync_folder(target.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step (Linux, renameat2); False where the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    arguments = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return renameat2(*arguments) == 0  # type: ignore[no-any-return]  # a C function without types


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
