"""The life of a batch: validating → in_progress → finalizing → completed, or another end, by the server's clock.

Each state lasts the server's `pace`. The requests are carried out in four parts over the time in progress, in an order
that is not the file's (as the service does not keep it either), by the handlers that answer the same requests online.
A batch that a server did not end is begun again by the next one with the same state.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.sandbox import errors
from penstock.sandbox.batch_lines import Checked, check_lines
from penstock.sandbox.batch_queue import BatchQueue, count_tokens
from penstock.sandbox.contract import Answer
from penstock.sandbox.errors import ApiError
from penstock.sandbox.exchange import perform
from penstock.sandbox.files import content_path, save
from penstock.sandbox.uploads import StoredUpload

if TYPE_CHECKING:
    from penstock.sandbox.archive import Collection
    from penstock.sandbox.state import Sandbox

ACTIVE = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
OUTCOME = "sandbox_outcome"
"""The metadata that asks for an end: ``expired`` stops a batch at half of its requests."""
_PARTS = 4
_WRITE_AT = 2**18
"""Bytes of results that are gathered before they are written."""
_EXPIRED = ("batch_expired", "This request could not be executed before the completion window expired.")
_CANCELLED = ("batch_cancelled", "This request was not executed before the batch was cancelled.")


def batches(sandbox: Sandbox) -> Collection:
    """All batches, as the API shows them."""
    return sandbox.archive.collection("batches")


def _output_lives(sandbox: Sandbox) -> Collection:
    """How many seconds the results of a batch are kept, for those that ask for an end."""
    return sandbox.archive.collection("batch_output_lives")


def begin(sandbox: Sandbox, batch: dict[str, Any], output_life: int | None) -> None:
    """Start a new batch's life; `output_life` is how many seconds its files are kept."""
    batches(sandbox).put(batch["id"], batch)
    if output_life is not None:
        _output_lives(sandbox).put(batch["id"], {"seconds": output_life})
    sandbox.agenda.start(_Run(sandbox, batch).validate())


def restore(sandbox: Sandbox) -> None:
    """Begin again what an earlier server did not end; what it was cancelling is cancelled."""
    for batch in batches(sandbox):
        if batch["status"] == "cancelling":
            batch |= {"status": "cancelled", "cancelled_at": int(sandbox.agenda.now())}
            batches(sandbox).put(batch["id"], batch)
        elif batch["status"] in ACTIVE:
            batch |= {"status": "validating", "in_progress_at": None, "finalizing_at": None}
            run = _Run(sandbox, batch)
            # Not at once: there is no event loop before the server runs.
            sandbox.agenda.at(sandbox.agenda.now(), lambda run=run: sandbox.agenda.start(run.validate()))  # type: ignore[misc]  # a bound default


def cancel(sandbox: Sandbox, batch: dict[str, Any]) -> None:
    """Stop an active batch: cancelling now, cancelled one `pace` later, with the results it has."""
    if batch["status"] != "cancelling":
        batch |= {"status": "cancelling", "cancelling_at": int(sandbox.agenda.now())}
        batches(sandbox).put(batch["id"], batch)


class _WithUsage(msgspec.Struct):
    usage: dict[str, Any] | None = None


class _Results:
    """The lines of one result file, written as they come; kept only when there is one."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / secrets.token_hex(16)
        self._waiting = bytearray()
        self._size = 0

    def add(self, line: dict[str, Any]) -> None:
        self._waiting += msgspec.json.encode(line) + b"\n"
        if len(self._waiting) >= _WRITE_AT:
            self._write()

    def _write(self) -> None:
        with self._path.open("ab") as file:
            file.write(self._waiting)
        self._size += len(self._waiting)
        self._waiting.clear()

    def finish(self, sandbox: Sandbox, filename: str, life: int | None) -> str | None:
        """Keep the file; its id, None when it has no line."""
        self._write()
        if not self._size:
            self._path.unlink()
            return None
        upload = StoredUpload(filename, "", self._path, self._size)
        expires_at = None if life is None else int(sandbox.agenda.now()) + life
        record = save(sandbox, upload, filename, "batch_output", expires_at)
        return str(record["id"])


class _Run:
    """One batch under way."""

    def __init__(self, sandbox: Sandbox, batch: dict[str, Any]) -> None:
        self._sandbox = sandbox
        self._batch = batch
        life = _output_lives(sandbox).get(batch["id"])
        self._life: int | None = None if life is None else life["seconds"]
        self._pace = sandbox.settings.pace
        self._input = content_path(sandbox, batch["input_file_id"])
        self._found = Checked()
        self._tokens = self._done = 0
        folder = sandbox.archive.folder("uploads")
        self._output, self._errors = _Results(folder), _Results(folder)

    async def validate(self) -> None:
        """Check the input file; what comes of it shows when its time is there."""
        batch, cards = self._batch, self._sandbox.cards
        models = frozenset(cards)
        self._found = await asyncio.to_thread(check_lines, self._input, batch["endpoint"], models)
        if self._sandbox.settings.queue is not None and not self._found.errors:
            # A file that is deleted meanwhile is told when its requests are to be carried out.
            with suppress(FileNotFoundError):
                self._tokens = await count_tokens(self._sandbox, batch["endpoint"], self._input, self._found.offsets)
        self._sandbox.agenda.at(batch["created_at"] + self._pace, self._show_validated)

    def _show_validated(self) -> None:
        batch = self._batch
        if batch["status"] == "cancelling":
            self._found.offsets.clear()
            self._plan_end("cancelled", batch["cancelling_at"] + self._pace)
            return
        at = batch["created_at"] + self._pace
        if mistakes := self._found.errors or self._no_room():
            batch["errors"] = {"object": "list", "data": mistakes}
            self._change("failed", at)
            return
        batch["model"] = self._found.model or None
        batch["request_counts"] = {"total": len(self._found.offsets), "completed": 0, "failed": 0}
        random.Random(batch["id"]).shuffle(self._found.offsets)  # noqa: S311  # has to be repeatable
        self._change("in_progress", at)
        self._plan_part(at, 1)

    def _no_room(self) -> list[dict[str, Any]]:
        limit = self._sandbox.settings.queue
        if limit is None:
            return []
        error = self._sandbox.store(BatchQueue).enter(self._batch["id"], self._found.model, self._tokens, limit)
        return [] if error is None else [error]

    def _plan_part(self, started: float, part: int) -> None:
        due = started + self._pace * part / _PARTS
        self._sandbox.agenda.at(due, lambda: self._sandbox.agenda.start(self._carry_out(started, part)))

    async def _carry_out(self, started: float, part: int) -> None:
        """Do the requests up to the end of `part`, then plan the next one."""
        offsets = self._found.offsets
        try:
            with self._input.open("rb") as file:
                while self._done < len(offsets) * part // _PARTS and not self._stopped(part):
                    file.seek(offsets[self._done])
                    await self._do(msgspec.json.decode(file.readline()))
                    self._done += 1
                    await asyncio.sleep(0)
        except FileNotFoundError:
            self._batch["errors"] = {"object": "list", "data": [_deleted()]}
            self._change("failed", self._sandbox.agenda.now())
            return
        if self._batch["status"] == "cancelling":
            self._plan_end("cancelled", self._batch["cancelling_at"] + self._pace)
        elif self._stopped(part) or part == _PARTS:
            at = self._sandbox.agenda.now()
            self._change("finalizing", at)
            self._plan_end("expired" if self._stopped(part) else "completed", at + self._pace)
        else:
            self._plan_part(started, part + 1)

    def _stopped(self, part: int) -> bool:
        batch = self._batch
        asked = batch["metadata"].get(OUTCOME) == "expired" and part > _PARTS // 2
        return batch["status"] == "cancelling" or asked or self._sandbox.agenda.now() >= batch["expires_at"]

    async def _do(self, request: dict[str, Any]) -> None:
        counts = self._batch["request_counts"]
        answer = await self._answer(request["body"])
        body = msgspec.Raw(_in_json(answer))
        response = {"status_code": answer.status, "request_id": secrets.token_hex(16), "body": body}
        good = answer.status < 400
        counts["completed" if good else "failed"] += 1
        (self._output if good else self._errors).add(_line(request["custom_id"], response, None))
        if good:
            self._count_usage(body)

    async def _answer(self, body: dict[str, Any]) -> Answer:
        try:
            if body.get("stream"):
                raise ApiError(400, "Streaming is not supported in the Batch API.", param="stream")  # noqa: TRY301
            return await perform(self._sandbox, "POST", self._batch["endpoint"], msgspec.json.encode(body))
        except ApiError as error:
            return _refusal(error)
        except Exception:  # noqa: BLE001  # a defect of an endpoint is told as to a request from outside
            traceback.print_exc()
            return _refusal(errors.server_error())

    def _count_usage(self, body: msgspec.Raw) -> None:
        try:
            given = msgspec.json.decode(body, type=_WithUsage).usage
        except msgspec.DecodeError:
            # A fault has put NaN into it.
            return
        if given is None:
            return
        usage = self._batch["usage"]
        usage["input_tokens"] += given.get("prompt_tokens") or 0
        usage["output_tokens"] += given.get("completion_tokens") or 0
        usage["total_tokens"] += given.get("total_tokens") or 0
        cached = (given.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        reasoning = (given.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
        usage["input_tokens_details"]["cached_tokens"] += cached
        usage["output_tokens_details"]["reasoning_tokens"] += reasoning

    def _plan_end(self, status: str, at: float) -> None:
        self._sandbox.agenda.at(at, lambda: self._end(status, at))

    def _end(self, status: str, at: float) -> None:
        batch = self._batch
        # Cancelled while it was finalizing: all its requests are done.
        status = "cancelled" if batch["status"] == "cancelling" else status
        self._tell_undone(_EXPIRED if status == "expired" else _CANCELLED)
        name = batch["id"]
        batch["output_file_id"] = self._output.finish(self._sandbox, f"{name}_output.jsonl", self._life)
        batch["error_file_id"] = self._errors.finish(self._sandbox, f"{name}_error.jsonl", self._life)
        self._change(status, at)

    def _tell_undone(self, why: tuple[str, str]) -> None:
        rest = self._found.offsets[self._done :]
        if not rest:
            return
        self._batch["request_counts"]["failed"] += len(rest)
        with suppress(FileNotFoundError), self._input.open("rb") as file:
            for offset in rest:
                file.seek(offset)
                custom_id = msgspec.json.decode(file.readline())["custom_id"]
                self._errors.add(_line(custom_id, None, {"code": why[0], "message": why[1]}))

    def _change(self, status: str, at: float) -> None:
        self._batch |= {"status": status, f"{status}_at": int(at)}
        if status not in ACTIVE:
            self._sandbox.store(BatchQueue).leave(self._batch["id"])
        batches(self._sandbox).put(self._batch["id"], self._batch)


def _line(custom_id: str, response: dict[str, Any] | None, error: dict[str, str] | None) -> dict[str, Any]:
    return {
        "id": f"batch_req_{secrets.token_hex(16)}",
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }


def _in_json(answer: Answer) -> bytes:
    """The body as it may stand in a line: refusals may be indented, or web pages."""
    body = answer.body if isinstance(answer.body, bytes) else b"null"
    if not answer.media_type.startswith("application/json"):
        return msgspec.json.encode(body.decode(errors="replace"))
    return msgspec.json.format(body, indent=-1) if answer.status >= 400 else body


def _refusal(error: ApiError) -> Answer:
    return Answer(error.body(), error.status)


def _deleted() -> dict[str, Any]:
    message = "The input file was deleted while the batch was in progress."
    return {"code": "file_not_found", "message": message, "param": "input_file_id", "line": None}
