"""Publishing a folder of files: readers see the old folder or the new one, whole, at every moment."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from penstock.errors import InputError, StorageFailed
from penstock.outputs.base import Published
from penstock.tables.parts import read_counts, sync_file, sync_folder
from penstock.tables.state import is_alive

_OWN_NAME = re.compile(r"part-(?:[A-Za-z0-9_-]+-)?\d{5,}\.parquet")
_HIVE_NAME = re.compile(r"[^=]+=.*", re.DOTALL)

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2

Fill = Callable[[Path], list[dict[str, Any]]]
"""What writes files into an empty folder, and gives name, rows, bytes and SHA-256 of each."""


def check_folder(target: Path) -> None:
    """Before anything is paid: may this folder be replaced, and can its parent be written?

    Raises:
        InputError: there is a file, or a folder with things in it that Penstock did not write.
        StorageFailed: the parent cannot be written.
    """
    check_place(target, "a folder of Parquet files")
    if real(target).is_dir() and not _is_own(real(target)):
        raise InputError(
            f"the output folder {real(target)} holds files that Penstock did not write, and it would replace them. "
            "Choose another path, or empty the folder"
        )


def check_place(target: Path, what: str) -> None:
    """Before anything is paid: can a folder be put here?

    Raises:
        InputError: there is a file, or one on the way.
        StorageFailed: the parent cannot be written.
    """
    target = real(target)
    if target.is_file():
        raise InputError(f"the output path {target} is a file; {what} belongs there")
    check_parents(target)


def check_parents(target: Path) -> None:
    """Before anything is paid: is the way to this place there, or can it be made?

    Raises:
        InputError: it leads through a file.
        StorageFailed: the nearest folder that is there cannot be written.
    """
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
    check_folder(target)
    files = publish_folder(target, lambda folder: link_parts(folder, parts))
    return Published(target, sum(entry["rows"] for entry in files), files)


def publish_folder(target: Path, fill: Fill, keep: Callable[[str], bool] | None = None) -> list[dict[str, Any]]:
    """Put a folder that `fill` makes in the place of `target`, in one step.

    Args:
        target: a folder, a link to one, or nothing yet.
        fill: makes the files.
        keep: which files of the folder that stands there are in the new one too, by their relative names; none if left
            out. What others put there meanwhile is kept with them.

    Raises:
        StorageFailed: the disk is full or the folder cannot be written; `target` is as it was.
    """
    target = real(target)
    staging = target.with_name(f".{target.name}.{os.getpid()}.new")
    with writing(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _sweep(target)
            staging.mkdir()
            files = fill(staging)
            if keep is not None and target.is_dir():
                _link_all(target, staging, keep)
            for folder in [path for path in staging.rglob("*") if path.is_dir()]:
                sync_folder(folder)
            sync_folder(staging)
            _put_in_place(staging, target, keep)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return files


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """What goes wrong inside, with parts or with the place, becomes what a run is told of it.

    Raises:
        StorageFailed: the disk is full, a file cannot be read or written.
    """
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise storage_failed(target, error) from error


def storage_failed(target: Path, error: Exception) -> StorageFailed:
    """What a run is told when an output cannot be written."""
    reason = error.strerror if isinstance(error, OSError) else None
    return StorageFailed(
        f"the output {target} could not be written: {str(reason or error).rstrip('.')}. All answers are kept; "
        "make room or mend the place, then resume"
    )


def link_parts(folder: Path, parts: Sequence[Path], prefix: str = "part-") -> list[dict[str, Any]]:
    """The parts as files of a folder, numbered in their order."""
    files: list[dict[str, Any]] = []
    for number, part in enumerate(parts):
        file = folder / f"{prefix}{number:05d}.parquet"
        link_or_copy(part, file)
        files.append(described(folder, file))
    return files


def described(folder: Path, file: Path) -> dict[str, Any]:
    """Name, rows, bytes and SHA-256 of a Parquet file."""
    from pyarrow import parquet

    rows = parquet.read_metadata(file).num_rows
    name = file.relative_to(folder).as_posix()
    return {"name": name, "rows": rows, "bytes": file.stat().st_size, "sha256": sha256_of(file)}


def damage(target: Path, files: Sequence[Mapping[str, Any]], *, alone: bool = True) -> list[str]:
    """What is wrong with a published folder that should hold `files`, as sentences; empty when nothing is.

    Args:
        target: the folder.
        files: of each the name, bytes and SHA-256.
        alone: whether any other file in the folder is wrong.
    """
    if not target.is_dir():
        return [f"{target} is not there any more"]
    problems = [problem for entry in files for problem in file_damage(target / entry["name"], entry)]
    if alone:
        known = {entry["name"] for entry in files}
        problems += [f"{target / name} was not written by this run" for name in _names(target) if name not in known]
    return problems


def file_damage(file: Path, entry: Mapping[str, Any]) -> list[str]:
    """What is wrong with one published file."""
    if not file.exists():
        return [f"{file} is missing"]
    if file.stat().st_size != entry["bytes"] or sha256_of(file) != entry["sha256"]:
        return [f"{file} is not what was written (its SHA-256 differs)"]
    return []


def real(target: Path) -> Path:
    """Where the output is, when the path is a link to it: what a link points to is replaced, never the link."""
    return target.resolve() if target.is_symlink() else target


def link_or_copy(part: Path, file: Path) -> None:
    """The file's content under a second name; a copy on another file system, or on one without links."""
    try:
        file.hardlink_to(part)
    except OSError:
        shutil.copyfile(part, file)
        sync_file(file)


def sha256_of(file: Path) -> str:
    """In hexadecimal."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _is_own(target: Path) -> bool:
    """Whether all of a folder was written by Penstock: by names, and by the mark in the files' footers."""
    for path in target.iterdir():
        if path.is_dir() and not path.is_symlink():
            if not _HIVE_NAME.fullmatch(path.name) or not _is_own(path):
                return False
        elif not _OWN_NAME.fullmatch(path.name) or read_counts(path) is None:
            return False
    return True


def _names(target: Path) -> Iterator[str]:
    """The relative names of all files in a folder, sorted."""
    for path in sorted(target.rglob("*")):
        if not path.is_dir() or path.is_symlink():
            yield path.relative_to(target).as_posix()


def _sweep(target: Path) -> None:
    """Put right what processes that died while they published left beside the folder."""
    name = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.(new|old)")
    for left in sorted(target.parent.iterdir(), reverse=True):
        match = name.fullmatch(left.name)
        if not match or (int(match[1]) != os.getpid() and is_alive(int(match[1]))):
            continue
        if match[2] == "old" and not target.exists():
            # It died between the two renames.
            left.rename(target)
        else:
            shutil.rmtree(left)


def _link_all(old: Path, new: Path, keep: Callable[[str], bool]) -> None:
    for name in _names(old):
        if keep(name):
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(old / name, new / name)


def _put_in_place(staging: Path, target: Path, keep: Callable[[str], bool] | None) -> None:
    if not target.exists():
        staging.rename(target)
    else:
        old = staging
        if not _exchange(staging, target):
            # Without an atomic exchange there is a moment between two renames in which the folder is not there.
            old = target.with_name(f".{target.name}.{os.getpid()}.old")
            target.rename(old)
            staging.rename(target)
        if keep is not None:
            _rescue(old, target, keep)
        shutil.rmtree(old)
    sync_folder(target.parent)


def _rescue(old: Path, new: Path, keep: Callable[[str], bool]) -> None:
    """Move into the new folder what somebody else put into the old one while the new one was made."""
    for name in list(_names(old)):
        if keep(name) and not (new / name).exists():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (old / name).rename(new / name)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step (Linux, renameat2); False where the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    arguments = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return renameat2(*arguments) == 0  # type: ignore[no-any-return]  # a C function without types
