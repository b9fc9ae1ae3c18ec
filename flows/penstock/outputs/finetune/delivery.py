"""From a written folder to the service: upload, job, waiting, first answers; each once, however often it is begun."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import AccessDenied, DeliveryFailed, QuotaExhausted
from penstock.outputs.base import Delivery, Desk
from penstock.outputs.finetune.costs import JobCost, check_budget, cost_of
from penstock.outputs.finetune.dataset import TRAIN, VALIDATION, read_manifest
from penstock.outputs.finetune.following import Course, follow, read_results, why_failed
from penstock.outputs.finetune.jobs import Jobs
from penstock.outputs.finetune.lock import Lock, ServerLock, held
from penstock.outputs.finetune.sets import REPORT_TEXT
from penstock.outputs.finetune.tryout import TryOut
from penstock.outputs.finetune.upload import Uploads

if TYPE_CHECKING:
    from penstock.api import Api
    from penstock.api.errors import ApiError
    from penstock.api.fine_tuning import FineTuningEvent, FineTuningJob

_TICK = 0.2


@dataclass(frozen=True, slots=True)
class Wish:
    """How to go on.

    Attributes:
        wait: stay until the job has ended; as the pipeline says if None.
        again: start another job in the place of one that failed or was cancelled.
        upload_only: start no job.
    """

    wait: bool | None = None
    again: bool = False
    upload_only: bool = False


def deliver(target: Path, desk: Desk, *, upload: str, wish: Wish | None = None) -> Delivery:
    """Do what `upload` says with the folder at `target`, and wait for it in this thread.

    Raises:
        RunStopped: the service fails for now, or somebody asks to stop; a job that was started goes on.
    """
    from penstock.outputs.folder import real

    folder = real(target)
    manifest = read_manifest(folder)
    if upload == "never":
        return Delivery()
    if refusal := refused(folder, manifest):
        return Delivery(failure=refusal)
    lock, _ = _locked(target, desk.server)
    if upload == "ask" or desk.rehearses:
        lock.save()
        why = "only the first rows are here, so nothing is uploaded" if desk.rehearses else "nothing is uploaded yet"
        desk.note(f"{why}; go on with: {command_for(target)}")
        return Delivery(facts={"state": "written"})
    with held(lock):
        # Another process may have written it while this one waited for its turn.
        _, server = _locked(target, desk.server)
        return _carried_out(folder, manifest, server, desk, wish or Wish())


def server_lock(target: Path, server: Mapping[str, Any]) -> ServerLock:
    """What the lock file of a folder says of a server."""
    return _locked(target, server)[1]


def _locked(target: Path, server: Mapping[str, Any]) -> tuple[Lock, ServerLock]:
    lock = Lock.of(target)
    about = dict(server)
    if "state" in about:
        # So that a project can be moved, and its lock file kept with it.
        about["state"] = os.path.relpath(about["state"], lock.path.parent)
    return lock, lock.server(place_of(about), about)


def refused(folder: Path, manifest: Mapping[str, Any]) -> str:
    """Why these files cannot be uploaded; empty when they can."""
    check = manifest["check"]
    if not check["errors"]:
        return ""
    first = "; ".join(check["first"])
    return f"nothing was uploaded from {folder}, for the check found {check['errors']:,} errors (all of them: " \
        f"{REPORT_TEXT}): {first}"  # fmt: skip


def place_of(server: Mapping[str, Any]) -> str:
    """What names a server in a lock file: its address, or the folder of an embedded sandbox."""
    return str(server["base_url"]) if server.get("base_url") else f"sandbox {server['state']}"


def command_for(target: Path) -> str:
    """The command that goes on with a folder, from where the user stands."""
    return f"penstock finetune continue {shlex.quote(str(_from_here(target)))}"


def _from_here(path: Path) -> Path:
    """The path from here where it is below, whole elsewhere."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _carried_out(folder: Path, manifest: dict[str, Any], server: ServerLock, desk: Desk, wish: Wish) -> Delivery:
    from penstock.engine.portal import portal

    work = Work(folder, manifest, server, desk, wish)
    future = portal().submit(work.run())
    try:
        while True:
            desk.check()
            with suppress(TimeoutError):
                return future.result(_TICK)
    except BaseException:
        future.cancel()
        work.tell_what_goes_on()
        raise


class Work:
    """One folder's way to one server. `run` is to be awaited once, in a loop of its own."""

    def __init__(self, folder: Path, manifest: dict[str, Any], server: ServerLock, desk: Desk, wish: Wish) -> None:
        self._folder = folder
        self._manifest = manifest
        self._server = server
        self._desk = desk
        self._wish = wish
        self._job: FineTuningJob | None = None
        self.happened: Callable[[FineTuningEvent], None] = lambda event: None  # noqa: ARG005  # shown nowhere

    async def run(self) -> Delivery:
        """Upload, start, wait and try out.

        Raises:
            RunStopped: the service fails for now.
        """
        from penstock.api import Api
        from penstock.api.errors import ApiError

        try:
            async with Api(self._desk.provider) as api:
                return await self._with(api)
        except ApiError as error:
            if not error.retryable:
                _stop_for_good(error)
                return Delivery(failure=f"the service refused: {error}", facts=self._facts())
            raise DeliveryFailed(
                f"{error}. What was sent is written down, and the next time goes on from there"
            ) from error

    def tell_what_goes_on(self) -> None:
        """Note that a job goes on although nobody waits for it any more."""
        job = self._job
        if job is None or job.ended:
            return
        if "state" in self._desk.server:
            self._desk.note(
                f"the job {job.id} goes on as soon as this sandbox runs again: with the next run, or resume"
            )
            return
        self._desk.note(
            f"the job {job.id} goes on at the service; watch it with `penstock finetune watch {job.id}`, end it with "
            f"`penstock finetune cancel {job.id}`"
        )

    async def _with(self, api: Api) -> Delivery:
        manifest, desk = self._manifest, self._desk
        jobs = Jobs(api, self._server, desk.tell, desk.note)
        wanted = manifest["job"] is not None and not self._wish.upload_only
        if wanted:
            self._job = await jobs.known(manifest)
            if self._job is not None and self._wish.again and self._job.status in {"failed", "cancelled"}:
                jobs.leave(manifest, self._job)
                self._job = None
        if self._job is None:
            uploads = Uploads(api, self._server, desk.tell, desk.note)
            files = {
                name: await uploads.file_id(self._folder / entry["file"], entry)
                for name in (TRAIN, VALIDATION)
                if (entry := manifest["sets"].get(name))
            }
            if not wanted:
                return Delivery(facts={"state": "uploaded", "files": files})
            self._job = await self._started(jobs, files)
        wait = manifest["job"]["wait"] if self._wish.wait is None else self._wish.wait
        if wait and not self._job.ended:
            self._job = await self._waited(api, jobs, self._job)
        return await self._ended(self._job, wait=wait)

    async def _started(self, jobs: Jobs, files: Mapping[str, str]) -> FineTuningJob:
        """The job of these files; what a new one costs must fit into the budget, and counts against it.

        Raises:
            BudgetSpent: it does not fit, and was not created.
        """
        control, manifest = self._desk.control, self._manifest
        paid: list[JobCost | None] = []

        def before() -> None:
            if control is not None:
                check_budget(manifest, control.usd_left, command_for(self._folder))
            paid.append(cost_of(manifest))

        job = await jobs.started(manifest, files, before)
        for cost in paid:
            if cost is not None:
                self._desk.note(f"it trains for {cost.words()}, beside the dollars of requests")
            if control is not None and cost is not None:
                control.spend(cost.usd or 0.0)
        return job

    async def _waited(self, api: Api, jobs: Jobs, job: FineTuningJob) -> FineTuningJob:
        def changed(course: Course) -> None:
            self._desk.tell(course.line(job.id))

        every = self._manifest["job"]["every"]
        ended, course = await follow(api, job.id, every=every, changed=changed, happened=self.happened)
        jobs.keep(self._manifest, ended)
        if not course.losses:
            await read_results(api, ended, course)
        if course.losses:
            self._desk.note(course.line(ended.id))
        return ended

    async def _ended(self, job: FineTuningJob, *, wait: bool) -> Delivery:
        facts = self._facts()
        if not job.ended:
            if not wait:
                self._desk.note(f"follow it with `penstock finetune watch {job.id}`")
            return Delivery(facts=facts)
        if failure := why_failed(job):
            return Delivery(failure=f"{failure}. Another one: {command_for(self._folder)} --again", facts=facts)
        model = job.fine_tuned_model or ""
        tokens = f", {job.trained_tokens:,} tokens trained on" if job.trained_tokens else ""
        self._desk.note(f"the new model is {model}{tokens}")
        if "state" in self._desk.server:
            shown = shlex.quote(str(_from_here(Path(self._desk.server["state"]))))
            self._desk.note(f"the sandbox holds it: penstock sandbox --state {shown}")
        if wait and self._manifest["job"]["try_out"]:
            trial = TryOut(job, self._folder, self._manifest, self._desk)
            if (done := await trial.ask()) is not None:
                first, asked = done
                self._desk.note(f"it {'answers' if asked else 'answered'}: {first} ({trial.file.name})")
                facts["answers"] = trial.file.name
        return Delivery(facts=facts)

    def _facts(self) -> dict[str, Any]:
        job = self._job
        if job is None:
            return {}
        about = {"job": job.id, "state": job.status, "training_file": job.training_file}
        more = {"validation_file": job.validation_file, "model": job.fine_tuned_model}
        return about | {name: value for name, value in more.items() if value}


def _stop_for_good(error: ApiError) -> None:
    """Stop for what somebody must mend at the account, and what concerns the whole run."""
    from penstock.api.errors import Forbidden, QuotaExceeded, Unauthorized

    said = str(error).rstrip(". ")
    if isinstance(error, QuotaExceeded):
        raise QuotaExhausted(f"{said}. Go on when the account has money again; nothing is done twice") from error
    if isinstance(error, Unauthorized | Forbidden):
        raise AccessDenied(f"{said}. Mend the key or its rights, then go on; nothing is done twice") from error
