"""The fine-tuning job of some files, created once: one that was created and not written down is found again."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from penstock.outputs.finetune.at_server import AtServer, written_now

if TYPE_CHECKING:
    from penstock.api.errors import ApiError
    from penstock.api.fine_tuning import FineTuningJob

MARK = "penstock"
"""The key of a job's metadata that holds the digest of what was asked."""
_MOST_LISTED = 500
_CLOCKS_DIFFER = 300
_UNDECIDED = (408, 409, 425)
"""Statuses below 500 that do not say that nothing was created."""
_NOT_READY = ("not ready", "still being processed", "processing")
_READY_WITHIN = 600.0
_READY_EVERY = 2.0


def request_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked of the service, but for the files' ids: the arguments of `FineTuning.create`."""
    job = manifest["job"]
    given = {name: value for name, value in job["hyperparameters"].items() if value not in (None, "auto")}
    asked: dict[str, Any] = {"model": manifest["model"], "suffix": job["suffix"], "seed": job["seed"]}
    if manifest["method"] == "dpo":
        asked["method"] = {"type": "dpo", "dpo": {"hyperparameters": given}}
    elif given:
        asked["hyperparameters"] = given
    return {name: value for name, value in asked.items() if value is not None}


def digest_of(manifest: Mapping[str, Any]) -> str:
    """What names a job: the content it is trained on, and what is asked."""
    job = manifest["job"]
    files = {name: entry["sha256"] for name, entry in manifest["sets"].items() if name in {"train", "validation"}}
    asked = {**request_of(manifest), "extra_body": job["extra_body"], "files": files}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


class Jobs(AtServer):
    """Creates the job of a manifest at one server."""

    async def known(self, manifest: Mapping[str, Any]) -> FineTuningJob | None:
        """The job that the lock file names, as it stands now; None where there is none, or it is gone."""
        from penstock.api.errors import NotFound

        digest = digest_of(manifest)
        job_id = self._known.job(digest).get("id")
        if job_id is None:
            return None
        try:
            job = await self._api.fine_tuning.retrieve(job_id)
        except NotFound:
            self._note(f"the job {job_id} is not at the service any more")
            self._known.forget_job(digest)
            return None
        self.keep(manifest, job)
        self._note(f"the job {job.id} was started before ({job.status}): not started again")
        return job

    def keep(self, manifest: Mapping[str, Any], job: FineTuningJob) -> None:
        """Write down how a job stands."""
        self._known.note_job(
            digest_of(manifest), state="created", id=job.id, status=job.status, model=job.fine_tuned_model
        )

    async def started(
        self, manifest: Mapping[str, Any], files: Mapping[str, str], pay: Callable[[], None] = lambda: None
    ) -> FineTuningJob:
        """The job for these files (by set their ids); created only where it was not.

        Args:
            pay: called right before one is created, and may refuse.

        Raises:
            ApiError: the service fails or refuses.
        """
        from penstock.api.errors import ApiError

        digest = digest_of(manifest)
        found = await self._found(digest, manifest, files)
        if found is not None:
            self.keep(manifest, found)
            self._note(f"the job {found.id} was found at the service ({found.status}): not started again")
            return found
        pay()
        self._known.note_job(
            digest, state="creating", files=dict(files), at=int(time.time()), asked=_readable(manifest)
        )
        try:
            job = await self._created(digest, manifest, files)
        except ApiError as error:
            if _is_refusal(error):
                self._known.note_job(digest, state="refused")
            raise
        self.keep(manifest, job)
        self._note(f"the job {job.id} was started on {job.model}")
        return job

    async def _found(self, digest: str, manifest: Mapping[str, Any], files: Mapping[str, str]) -> FineTuningJob | None:
        """A job that bears our mark; where one may have been created without it, one that is the same in all else."""
        self._tell("looking for the job at the service")
        before = self._known.job(digest)
        given_up = set(self._known.job(f"{digest}, left").get("ids", []))
        listed = 0
        async for job in self._api.fine_tuning.list():
            listed += 1
            if listed > _MOST_LISTED:
                break
            if job.id in given_up:
                continue
            if (job.metadata or {}).get(MARK) == digest:
                return job
            if before.get("state") == "creating" and _is_same(job, before, manifest, files):
                return job
        return None

    async def _created(self, digest: str, manifest: Mapping[str, Any], files: Mapping[str, str]) -> FineTuningJob:
        from penstock.api.errors import BadRequest, Unprocessable

        own = manifest["job"]
        asked: dict[str, Any] = {
            **request_of(manifest),
            "training_file": files["train"],
            "validation_file": files.get("validation"),
            "extra_body": own["extra_body"] or None,
        }
        metadata: dict[str, str] | None = {**own["metadata"], MARK: digest}
        deadline = time.monotonic() + _READY_WITHIN
        while True:
            try:
                return await self._api.fine_tuning.create(**asked, metadata=metadata)
            except (BadRequest, Unprocessable) as error:
                if metadata is not None and not own["metadata"] and _is_about(error, "metadata"):
                    # A server of the 2024 API. It has refused, so nothing was created.
                    metadata = None
                elif time.monotonic() < deadline and any(words in str(error).lower() for words in _NOT_READY):
                    self._tell("the service is still reading the files")
                    await asyncio.sleep(_READY_EVERY)
                else:
                    raise

    def leave(self, manifest: Mapping[str, Any], job: FineTuningJob) -> None:
        """Let the next job of this manifest be another one than `job`."""
        digest = digest_of(manifest)
        left = self._known.job(f"{digest}, left").get("ids", [])
        self._known.note_job(f"{digest}, left", ids=[*left, job.id])
        self._known.forget_job(digest)


def _is_about(error: ApiError, word: str) -> bool:
    return error.param == word or word in str(error).lower()


def _is_refusal(error: ApiError) -> bool:
    """Whether nothing can have been created: the server has said so, or was never reached."""
    from penstock.api.errors import ConnectionFailed

    if isinstance(error, ConnectionFailed):
        return error.never_sent
    return error.status is not None and 300 <= error.status < 500 and error.status not in _UNDECIDED


def _is_same(
    job: FineTuningJob, before: Mapping[str, Any], manifest: Mapping[str, Any], files: Mapping[str, str]
) -> bool:
    """Whether a job without a mark of ours is of these files, asked for as here, and not older than our asking."""
    return (
        MARK not in (job.metadata or {})
        and job.training_file == files["train"]
        and job.validation_file == files.get("validation")
        and (job.raw.get("user_provided_suffix") or None) == manifest["job"]["suffix"]
        and job.created_at >= before["at"] - _CLOCKS_DIFFER
        and _is_asked_alike(job, manifest)
    )


def _is_asked_alike(job: FineTuningJob, manifest: Mapping[str, Any]) -> bool:
    """Whether model, method, hyperparameters and seed are those of the manifest.

    What was left to the service says nothing, for it puts in what it has chosen; nor does what the service leaves out.
    """
    model, seed, method = manifest["model"], manifest["job"]["seed"], manifest["method"]
    # A server may answer with the snapshot that the asked name stands for today.
    if job.model and re.fullmatch(rf"{re.escape(model)}(-\d{{4}}(-?\d{{2}}){{0,2}})?", job.model) is None:
        return False
    if (job.method or {}).get("type", "supervised") != method:
        return False
    if None not in (seed, job.seed) and job.seed != seed:
        return False
    inside = (job.method or {}).get(method) or {}
    used = {**(job.hyperparameters or {}), **(inside.get("hyperparameters") or {})}
    asked = manifest["job"]["hyperparameters"]
    return all(
        value in (None, "auto") or used.get(name) is None or used[name] == value for name, value in asked.items()
    )


def _readable(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {**request_of(manifest), "written": written_now()}
