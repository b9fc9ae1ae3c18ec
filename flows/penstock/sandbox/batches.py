"""``/v1/batches``: create, list, retrieve, cancel. Source: today's API reference, "Batch"."""

from __future__ import annotations

import secrets
from typing import Any

from penstock.sandbox import batch_life, fields
from penstock.sandbox.contract import Answer, Call, Operation, Resource, Work, json_answer, json_work
from penstock.sandbox.errors import ApiError
from penstock.sandbox.files import lifetime, records
from penstock.sandbox.pages import page

ENDPOINTS = ("/v1/chat/completions", "/v1/embeddings", "/v1/moderations")
WINDOW = "24h"
_WINDOW_SECONDS = 86_400
_ARGUMENTS = frozenset({"input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"})
_TIMES = (
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)


def _create(call: Call) -> Work:
    body = call.json()
    fields.refuse_unknown(body, _ARGUMENTS)
    file_id = fields.require_text(body, "input_file_id")
    endpoint = fields.require_choice(body, "endpoint", ENDPOINTS)
    fields.require_choice(body, "completion_window", [WINDOW])
    metadata = fields.read_metadata(body)
    output_life = _output_life(body)
    _check_file(call, file_id)

    async def answer() -> Answer:
        batch = _batch(call, file_id, endpoint, metadata)
        batch_life.begin(call.sandbox, batch, output_life)
        return json_answer(batch)

    return Work(answer)


def _output_life(body: dict[str, Any]) -> int | None:
    given = fields.read_object(body, "output_expires_after")
    return None if given is None else lifetime(given, "output_expires_after")


def _check_file(call: Call, file_id: str) -> None:
    record = records(call.sandbox).get(file_id)
    if record is None:
        raise ApiError(400, f"Invalid 'input_file_id': no file with the id '{file_id}'.", param="input_file_id")
    if record["purpose"] != "batch":
        raise ApiError(
            400,
            f"Invalid 'input_file_id': the file '{file_id}' has the purpose '{record['purpose']}', but 'batch' is "
            "needed.",
            param="input_file_id",
            code="invalid_file_purpose",
        )


def _batch(call: Call, file_id: str, endpoint: str, metadata: dict[str, str]) -> dict[str, Any]:
    now = int(call.sandbox.agenda.now())
    return {
        "id": f"batch_{secrets.token_hex(16)}",
        "object": "batch",
        "endpoint": endpoint,
        "model": None,
        "errors": None,
        "input_file_id": file_id,
        "completion_window": WINDOW,
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": now,
        "expires_at": now + _WINDOW_SECONDS,
        **dict.fromkeys(_TIMES),
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "usage": {
            "input_tokens": 0,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 0,
        },
        "metadata": metadata,
    }


def _list(call: Call) -> Work:
    return json_work(page(list(batch_life.batches(call.sandbox)), call.query))


def _retrieve(call: Call) -> Work:
    return json_work(_find(call))


def _cancel(call: Call) -> Work:
    batch = _find(call)
    if batch["status"] not in batch_life.ACTIVE:
        raise ApiError(409, f"Cannot cancel a batch with status '{batch['status']}'.")

    async def answer() -> Answer:
        batch_life.cancel(call.sandbox, batch)
        return json_answer(batch)

    return Work(answer)


def _find(call: Call) -> dict[str, Any]:
    batch_id = call.path["batch_id"]
    batch = batch_life.batches(call.sandbox).get(batch_id)
    if batch is None:
        raise ApiError(404, f"No batch found with id '{batch_id}'.")
    return batch


RESOURCE = Resource(
    operations=(
        Operation("POST", "/v1/batches", _create, metered=False),
        Operation("GET", "/v1/batches", _list, metered=False),
        Operation("GET", "/v1/batches/{batch_id}", _retrieve, metered=False),
        Operation("POST", "/v1/batches/{batch_id}/cancel", _cancel, metered=False),
    ),
    restore=batch_life.restore,
)
