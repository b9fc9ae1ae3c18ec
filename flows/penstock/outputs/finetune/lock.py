"""The lock file beside a `finetune` output: which content is which file of which server, and which jobs were started.

Each step is written down before the next one is taken: that a file is about to be sent, its id, that a job is about to
be created, its id, how it ended. A process that dies in between leaves what the next one needs to find, at the server,
what was done and not written down. It holds addresses and ids, and never a key.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from penstock.errors import InputError, RunLocked

_VERSION = 1


class Lock:
    """What was sent to which server.

    Attributes:
        path: the file; it need not be there yet.
    """

    def __init__(self, path: Path, servers: dict[str, Any]) -> None:
        self.path = path
        self._servers = servers

    @classmethod
    def of(cls, folder: Path) -> Lock:
        """The lock of an output's folder.

        Raises:
            InputError: the file cannot be read; without it files could be sent and jobs paid twice.
        """
        path = folder.with_name(f"{folder.name}.lock.json")
        reason = "it is of another version of Penstock"
        try:
            found = json.loads(path.read_text("utf-8"))
            if isinstance(found, dict) and found.get("version") == _VERSION and isinstance(found.get("servers"), dict):
                return cls(path, found["servers"])
        except FileNotFoundError:
            return cls(path, {})
        except (OSError, ValueError) as error:
            reason = str(error)
        raise InputError(
            f"the lock file {path} cannot be read: {reason}. It says what was uploaded and which jobs were started; "
            "mend it, or move it away if nothing may be found again"
        )

    def server(self, place: str, facts: Mapping[str, Any]) -> ServerLock:
        """What was sent to the server at `place`; `facts` are how it is found again."""
        entry = self._servers.setdefault(place, {"server": {}, "files": {}, "jobs": {}})
        entry["server"] = dict(facts)
        return ServerLock(self, entry)

    @property
    def servers(self) -> Mapping[str, Any]:
        """By place: ``server``, ``files`` by SHA-256, ``jobs`` by the digest of what was asked."""
        return self._servers

    def uploaded_names(self) -> set[str]:
        """Of all files that were sent anywhere, or were about to be."""
        return {str(file["name"]) for one in self._servers.values() for file in one["files"].values()}

    def save(self) -> None:
        """Write it, whole or not at all, and wait until it is on the disk."""
        from penstock.tables.parts import whole_or_absent

        with whole_or_absent(self.path) as temporary:
            value = {"version": _VERSION, "servers": self._servers}
            temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


class ServerLock:
    """The part of a lock that is about one server; every change is saved at once."""

    def __init__(self, lock: Lock, entry: dict[str, Any]) -> None:
        self._lock = lock
        self._entry = entry

    def file(self, sha256: str) -> Mapping[str, Any]:
        """What is known of a content: empty, or ``name``, ``bytes``, ``state`` (sending, uploaded), ``id``."""
        found: Mapping[str, Any] = self._entry["files"].get(sha256, {})
        return found

    def note_file(self, sha256: str, **facts: Any) -> None:
        """Add to what is known of a content."""
        self._entry["files"][sha256] = {**self.file(sha256), **facts}
        self._lock.save()

    def job(self, digest: str) -> Mapping[str, Any]:
        """What is known of a job: empty, or ``state`` (creating, refused, created), ``id``, ``status``, ``model``."""
        found: Mapping[str, Any] = self._entry["jobs"].get(digest, {})
        return found

    def note_job(self, digest: str, **facts: Any) -> None:
        """Add to what is known of a job."""
        self._entry["jobs"][digest] = {**self.job(digest), **facts}
        self._lock.save()

    def forget_job(self, digest: str) -> None:
        """Let the next one be another job; what was known stays under another name."""
        old = self._entry["jobs"].pop(digest, None)
        if old is not None:
            self._entry["jobs"][f"{digest}, before {old.get('id', 'unknown')}"] = old
            self._lock.save()


@contextmanager
def held(lock: Lock) -> Iterator[None]:
    """Only one process at a time sends what belongs to a lock file; this one ends with the process, however it dies.

    Raises:
        RunLocked: another one does.
    """
    path = lock.path.with_name(f".{lock.path.name}.held")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunLocked(f"another process uploads or waits for what {lock.path} is about; wait for it") from None
        yield
    finally:
        os.close(handle)
