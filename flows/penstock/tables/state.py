"""The state folder: where parts, journals and run records of a pipeline stand. Published output needs nothing of it."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import RunLocked, StorageFailed
from penstock.tables.parts import whole_or_absent

_GENERATIONS = "generations.json"


@dataclass(frozen=True, slots=True)
class PartFiles:
    """The files of one partition in one segment, named by their fingerprint.

    Attributes:
        file_lists: the files that belong to the part, see `penstock.tables.file_lists`.
    """

    part: Path
    errors: Path
    journal: Path
    file_lists: Path

    @staticmethod
    def file_lists_of(part: Path) -> Path:
        """Where the lists of the files of a part stand."""
        return part.with_suffix(".files.json")


@dataclass(frozen=True, slots=True)
class State:
    """The state of one pipeline.

    Attributes:
        root: ``.penstock`` beside the pipeline file, or ``--state``, or ``PENSTOCK_STATE``.
        pipeline: its name.
    """

    root: Path
    pipeline: str

    @classmethod
    def of(cls, file: Path, pipeline: str, chosen: str | Path | None = None) -> State:
        """The state of the pipeline in `file`."""
        named = chosen or os.environ.get("PENSTOCK_STATE")
        return cls(Path(named).absolute() if named else file.absolute().parent / ".penstock", pipeline)

    @property
    def folder(self) -> Path:
        """Everything of this pipeline."""
        return self.root / self.pipeline

    @property
    def runs(self) -> Path:
        """One folder per run."""
        return self.folder / "runs"

    @property
    def sources(self) -> Path:
        """Local copies of source rows that cannot be read in place."""
        return self.folder / "sources"

    def run_folder(self, run_id: str) -> Path:
        """The folder of one run: its record, plan and errors."""
        return self.runs / run_id

    def part_files(self, segment: str, fingerprint: str) -> PartFiles:
        """Where a part, its errors and its journal stand.

        Of a name in two halves with a dash between, the first is the journal's, which several parts may share.
        """
        base = self.folder / "parts" / segment
        return PartFiles(
            base / f"{fingerprint}.parquet",
            base / f"{fingerprint}.errors.parquet",
            base / f"{fingerprint.partition('-')[0]}.journal",
            PartFiles.file_lists_of(base / f"{fingerprint}.parquet"),
        )

    def generation(self, rehearsal: str = "") -> str:
        """What tells answers that may be used from those of before everything was asked anew; empty if it never was.

        Args:
            rehearsal: of which kind of runs, see `penstock.plan.model.Plan.rehearsal`.
        """
        return str(self._generations().get(rehearsal, ""))

    def begin_anew(self, run_id: str, rehearsal: str = "") -> None:
        """From now on runs of this kind use no answer of before. To be called by whoever holds the lock."""
        known = {**self._generations(), rehearsal: run_id}
        with whole_or_absent(self.folder / _GENERATIONS) as temporary:
            temporary.write_text(json.dumps(known))

    def _generations(self) -> dict[str, str]:
        path = self.folder / _GENERATIONS
        try:
            known = json.loads(path.read_text())
        except FileNotFoundError:
            return {}
        except ValueError:
            known = None
        if not isinstance(known, dict):
            # Taken for empty, answers would be used that were to be asked anew.
            raise StorageFailed(
                f"{path} says which answers may still be used, and it is damaged; remove it to use all of them, "
                "or run once more with --fresh after that"
            )
        return known

    def lock(self) -> RunLock:
        """Take the pipeline's lock for one run, and clear away what a killed one left half written.

        Raises:
            RunLocked: another process has it.
            StorageFailed: the folder cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            ignore = self.root / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
            handle = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageFailed(
                f"the state folder {self.folder} cannot be written ({error.strerror}); "
                "choose another with --state or PENSTOCK_STATE"
            ) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 100, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise RunLocked(
                f"another run of {self.pipeline!r} is going on (process {holder}); wait for it or stop it and try again"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        for left in self.folder.glob("parts/*/.*.tmp"):
            # Of a process that was killed while it wrote a part; whoever has the lock writes none yet.
            left.unlink(missing_ok=True)
        return RunLock(handle)


def is_alive(pid: int) -> bool:
    """Whether this machine has a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class RunLock:
    """A held lock. It ends with `release`, or with the process, however that dies."""

    def __init__(self, handle: int) -> None:
        self._handle: int | None = handle

    def release(self) -> None:
        """Give the lock back."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
