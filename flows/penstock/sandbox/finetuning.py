"""``/v1/fine_tuning/jobs``: create, list, retrieve, cancel, events and checkpoints.

Source: API reference, "Fine-tuning"; today's fields (`method`, `seed`, `metadata`, `integrations`) stand beside those
of 2024.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

from penstock.sandbox import errors, fields, tuning_life
from penstock.sandbox.contract import Answer, Call, Operation, Resource, Work, json_answer, json_work
from penstock.sandbox.errors import ApiError
from penstock.sandbox.files import new_id, records
from penstock.sandbox.limits import ORGANIZATION
from penstock.sandbox.pages import page

TUNABLE = {
    "gpt-4.1-2025-04-14": "gpt-4.1-2025-04-14",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini-2025-04-14": "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-nano-2025-04-14": "gpt-4.1-nano-2025-04-14",
    "gpt-4.1-nano": "gpt-4.1-nano-2025-04-14",
    "gpt-4o-2024-08-06": "gpt-4o-2024-08-06",
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini-2024-07-18": "gpt-4o-mini-2024-07-18",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-3.5-turbo-0125": "gpt-3.5-turbo-0125",
    "gpt-3.5-turbo-1106": "gpt-3.5-turbo-1106",
    "gpt-3.5-turbo": "gpt-3.5-turbo-0125",
    "babbage-002": "babbage-002",
    "davinci-002": "davinci-002",
}
"""Models that can be fine-tuned, and the dated name that the job shows."""
LONGEST_SUFFIX = 64
_ARGUMENTS = frozenset(
    {
        "training_file",
        "model",
        "hyperparameters",
        "suffix",
        "validation_file",
        "integrations",
        "method",
        "metadata",
        "seed",
    }
)
_HYPERPARAMETERS = ("n_epochs", "batch_size", "learning_rate_multiplier")
_METHODS = ("supervised", "dpo", "reinforcement")
_MOST_INTEGRATIONS = 5
_LARGEST_SEED = 2**31 - 1


def _create(call: Call) -> Work:
    body = call.json()
    fields.refuse_unknown(body, _ARGUMENTS)
    model = _model(call, body)
    training_file = fields.require_text(body, "training_file")
    _check_file(call, training_file, "training_file")
    validation_file = fields.read_text(body, "validation_file", least=1)
    if validation_file is not None:
        _check_file(call, validation_file, "validation_file")
    suffix = fields.read_text(body, "suffix", least=1, most=LONGEST_SUFFIX)
    method = _method(body)
    seed = fields.read_integer(body, "seed", 0, _LARGEST_SEED)
    integrations = _integrations(body)
    metadata = fields.read_metadata(body)
    shown = method["supervised"]["hyperparameters"] if method["type"] == "supervised" else {}

    async def answer() -> Answer:
        job = {
            "object": "fine_tuning.job",
            "id": new_id("ftjob-", 24),
            "model": model,
            "created_at": int(call.sandbox.agenda.now()),
            "finished_at": None,
            "fine_tuned_model": None,
            "organization_id": ORGANIZATION,
            "result_files": [],
            "status": "validating_files",
            "validation_file": validation_file,
            "training_file": training_file,
            "hyperparameters": shown,
            "trained_tokens": None,
            "error": None,
            "user_provided_suffix": None if suffix is None else re.sub(r"[^A-Za-z0-9_.-]+", "-", suffix),
            "seed": secrets.randbelow(_LARGEST_SEED) if seed is None else seed,
            "estimated_finish": None,
            "integrations": integrations,
            "method": method,
            "metadata": metadata,
        }
        return json_answer(tuning_life.begin(call.sandbox, job)["job"])

    return Work(answer)


def _model(call: Call, body: dict[str, Any]) -> str:
    name = fields.require_text(body, "model")
    if name in TUNABLE:
        return TUNABLE[name]
    if name.startswith("ft:") and name in call.sandbox.cards:
        return name
    raise ApiError(400, f"Model {name} is not available for fine-tuning or does not exist.", code="model_not_available")


def _check_file(call: Call, file_id: str, param: str) -> None:
    record = records(call.sandbox).get(file_id)
    if record is None:
        raise ApiError(400, f"invalid {param}: {file_id}", param=param)
    if record["purpose"] != "fine-tune":
        raise ApiError(
            400,
            f"invalid {param}: the file {file_id} has the purpose '{record['purpose']}', but 'fine-tune' is needed",
            param=param,
        )


def _method(body: dict[str, Any]) -> dict[str, Any]:
    """The method, with ``auto`` for each hyperparameter that is left open."""
    given = fields.read_object(body, "method")
    if given is None:
        hyperparameters = _hyperparameters(body.get("hyperparameters"), "hyperparameters", _HYPERPARAMETERS)
        return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    if body.get("hyperparameters") is not None:
        raise ApiError(400, "Send either 'method' or 'hyperparameters', not both.", param="hyperparameters")
    kind = fields.require_choice(given, "type", _METHODS, "method.")
    if kind == "reinforcement":
        raise ApiError(
            400,
            "Reinforcement fine-tuning is not available for this model.",
            param="method.type",
            code="method_not_available",
        )
    fields.refuse_unknown(given, ("type", kind), "method.")
    inside = fields.read_object(given, kind, "method.")
    names = (*_HYPERPARAMETERS, "beta") if kind == "dpo" else _HYPERPARAMETERS
    path = f"method.{kind}.hyperparameters"
    return {
        "type": kind,
        kind: {"hyperparameters": _hyperparameters((inside or {}).get("hyperparameters"), path, names)},
    }


def _hyperparameters(given: Any, path: str, names: tuple[str, ...]) -> dict[str, Any]:
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise errors.wrong_type(path, "an object", given)
    fields.refuse_unknown(given, names, f"{path}.")
    return {name: _hyperparameter(given.get(name), name, f"{path}.{name}") for name in names}


def _hyperparameter(value: Any, name: str, path: str) -> Any:
    if value is None or value == "auto":
        return "auto"
    if name in ("n_epochs", "batch_size"):
        if type(value) is not int:
            raise errors.wrong_type(path, "one of 'auto' or an integer", value)
        fields.within(path, value, 1, 50 if name == "n_epochs" else 256, "integer")
        return value
    if type(value) not in (int, float):
        raise errors.wrong_type(path, "one of 'auto' or a decimal", value)
    fields.within(path, value, 0.0001 if name == "learning_rate_multiplier" else 0, 10, "decimal")
    return value


def _integrations(body: dict[str, Any]) -> list[dict[str, Any]]:
    given = fields.read_objects(body, "integrations", most=_MOST_INTEGRATIONS)
    for place, one in enumerate(given):
        path = f"integrations[{place}]"
        if one.get("type") != "wandb":
            raise fields.unsupported_value(f"{path}.type", one.get("type"), ["wandb"])
        inside = one.get("wandb")
        if not isinstance(inside, dict):
            raise errors.wrong_type(f"{path}.wandb", "an object", inside)
        fields.require_text(inside, "project", f"{path}.wandb.")
    return given


def _list(call: Call) -> Work:
    wanted = {
        found[1]: value for name, value in call.query.items() if (found := re.fullmatch(r"metadata\[(.+)\]", name))
    }
    shown = [record["job"] for record in tuning_life.jobs(call.sandbox)]
    shown = [job for job in shown if wanted.items() <= job["metadata"].items()]
    if call.query.get("metadata") == "null":
        shown = [job for job in shown if not job["metadata"]]
    return json_work(page(shown, call.query))


def _retrieve(call: Call) -> Work:
    return json_work(_find(call)["job"])


def _cancel(call: Call) -> Work:
    record = _find(call)
    if record["job"]["status"] not in tuning_life.ACTIVE:
        raise ApiError(
            400,
            f"Cannot cancel a job {record['id']} that is already {record['job']['status']}.",
            code="invalid_job_state",
        )

    async def answer() -> Answer:
        tuning_life.cancel(call.sandbox, record)
        return json_answer(record["job"])

    return Work(answer)


def _events(call: Call) -> Work:
    events = tuning_life.shown_events(call.sandbox, _find(call))
    shown = [{name: value for name, value in event.items() if name != "at"} for event in events]
    return json_work(page(shown, call.query))


def _checkpoints(call: Call) -> Work:
    return json_work(page(_find(call)["checkpoints"], call.query, default=10))


def _find(call: Call) -> dict[str, Any]:
    job_id = call.path["job_id"]
    record = tuning_life.jobs(call.sandbox).get(job_id)
    if record is None:
        raise ApiError(404, f"Could not find fine tune: {job_id}", param="fine_tune_id", code="fine_tune_not_found")
    return record


_JOBS = "/v1/fine_tuning/jobs"
RESOURCE = Resource(
    operations=(
        Operation("POST", _JOBS, _create, metered=False),
        Operation("GET", _JOBS, _list, metered=False),
        Operation("GET", _JOBS + "/{job_id}", _retrieve, metered=False),
        Operation("POST", _JOBS + "/{job_id}/cancel", _cancel, metered=False),
        Operation("GET", _JOBS + "/{job_id}/events", _events, metered=False),
        Operation("GET", _JOBS + "/{job_id}/checkpoints", _checkpoints, metered=False),
    ),
    restore=tuning_life.restore,
)
