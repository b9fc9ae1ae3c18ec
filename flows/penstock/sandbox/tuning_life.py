"""The life of a fine-tuning job: validating_files → queued → running → succeeded, or failed, by the server's clock.

Each state lasts the server's `pace`, running three times as long. What a job does at a time is decided by its record
alone, so a server that starts with the same state goes on where the last one ended.
"""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING, Any

from penstock.sandbox.contract import ModelCard
from penstock.sandbox.files import content_path, new_id, save_bytes
from penstock.sandbox.limits import ORGANIZATION
from penstock.sandbox.training_data import BadTrainingFile, TrainingData, check_training_file

if TYPE_CHECKING:
    from penstock.sandbox.archive import Collection
    from penstock.sandbox.state import Sandbox

ACTIVE = frozenset({"validating_files", "queued", "running"})
COMPLETION_MODELS = frozenset({"babbage-002", "davinci-002"})
_TRAINING_PACES = 3
_MOST_METRICS = 100
_MOST_CHECKPOINTS = 3
_TARGET_EPOCHS = 3
_LEAST_PASSES = 100
_MOST_PASSES = 25_000
_MOST_EPOCHS = 25


def jobs(sandbox: Sandbox) -> Collection:
    """All jobs: ``{"id", "job" as the API shows it, "events", "checkpoints", "next" (time of the next state)}``."""
    return sandbox.archive.collection("fine_tuning_jobs")


def models(sandbox: Sandbox) -> Collection:
    """All models that jobs made, as cards."""
    return sandbox.archive.collection("fine_tuned_models")


def begin(sandbox: Sandbox, job: dict[str, Any]) -> dict[str, Any]:
    """Start a new job's life; the record that is kept of it."""
    now = sandbox.agenda.now()
    record = {"id": job["id"], "job": job, "events": [], "checkpoints": [], "next": now + sandbox.settings.pace}
    tell(record, now, f"Created fine-tuning job: {job['id']}")
    tell(record, now, f"Validating training file: {job['training_file']}")
    if job["validation_file"]:
        tell(record, now, f"Validating validation file: {job['validation_file']}")
    jobs(sandbox).put(job["id"], record)
    sandbox.agenda.start(_validate(sandbox, record))
    return record


def restore(sandbox: Sandbox) -> None:
    """Take up the jobs and models of an earlier server."""
    for card in models(sandbox):
        sandbox.cards[card["id"]] = ModelCard(**card)
    for record in jobs(sandbox):
        if record["job"]["status"] == "validating_files":
            _restart(sandbox, record)
        elif record["job"]["status"] in ACTIVE:
            _plan(sandbox, record)


def cancel(sandbox: Sandbox, record: dict[str, Any]) -> None:
    """End an active job; what it would have told later is not told."""
    now = sandbox.agenda.now()
    record["events"] = shown_events(sandbox, record)
    _end(record, "cancelled", now)
    tell(record, now, "The job has been cancelled by the user.")
    jobs(sandbox).put(record["id"], record)


def shown_events(sandbox: Sandbox, record: dict[str, Any]) -> list[dict[str, Any]]:
    """The events up to now, oldest first."""
    return [event for event in record["events"] if event["at"] <= sandbox.agenda.now()]


def tell(
    record: dict[str, Any],
    at: float,
    message: str,
    *,
    level: str = "info",
    data: dict[str, Any] | None = None,
    kind: str = "message",
) -> None:
    """Add an event that happens at the time `at`."""
    record["events"].append(
        {
            "object": "fine_tuning.job.event",
            "id": new_id("ftevent-", 24),
            "created_at": int(at),
            "level": level,
            "message": message,
            "data": data or {},
            "type": kind,
            "at": at,
        }
    )


def resolve(asked: dict[str, Any], data: TrainingData) -> dict[str, Any]:
    """Hyperparameters with numbers in place of ``auto``, chosen by the number of examples."""
    epochs = _TARGET_EPOCHS
    if data.examples * epochs < _LEAST_PASSES:
        epochs = min(_MOST_EPOCHS, _LEAST_PASSES // data.examples)
    elif data.examples * epochs > _MOST_PASSES:
        epochs = max(1, _MOST_PASSES // data.examples)
    chosen = {
        "n_epochs": epochs,
        "batch_size": min(256, max(1, round(data.examples * 0.002))),
        "learning_rate_multiplier": 1.8,
        "beta": 0.1,
    }
    return {name: chosen[name] if value == "auto" else value for name, value in asked.items()}


def _restart(sandbox: Sandbox, record: dict[str, Any]) -> None:
    # Not at once: there is no event loop before the server runs.
    sandbox.agenda.at(sandbox.agenda.now(), lambda: sandbox.agenda.start(_validate(sandbox, record)))


async def _validate(sandbox: Sandbox, record: dict[str, Any]) -> None:
    job = record["job"]
    method = "completions" if job["model"] in COMPLETION_MODELS else job["method"]["type"]
    data: TrainingData | None = None
    problem: dict[str, Any] | None = None
    for name in ("training", "validation"):
        file_id = job[f"{name}_file"]
        if file_id and problem is None:
            try:
                found = await asyncio.to_thread(check_training_file, content_path(sandbox, file_id), method, name)
                data = data or found
            except BadTrainingFile as bad:
                problem = {"code": bad.code, "message": bad.message, "param": f"{name}_file"}
    if data is not None and problem is None:
        good = data
        sandbox.agenda.at(record["next"], lambda: _queue(sandbox, record, good))
    else:
        sandbox.agenda.at(record["next"], lambda: _fail(sandbox, record, problem or {}))


def _plan(sandbox: Sandbox, record: dict[str, Any]) -> None:
    step = {"queued": _run, "running": _succeed}[record["job"]["status"]]
    sandbox.agenda.at(record["next"], lambda: step(sandbox, record))


def _fail(sandbox: Sandbox, record: dict[str, Any], problem: dict[str, Any]) -> None:
    if record["job"]["status"] != "validating_files":
        return
    record["job"]["error"] = problem
    _end(record, "failed", record["next"])
    data = {"error_code": problem["code"], "error_param": problem["param"]}
    tell(record, record["next"], problem["message"], level="error", data=data)
    jobs(sandbox).put(record["id"], record)


def _queue(sandbox: Sandbox, record: dict[str, Any], data: TrainingData) -> None:
    job = record["job"]
    if job["status"] != "validating_files":
        return
    kind = job["method"]["type"]
    settled = resolve(job["method"][kind]["hyperparameters"], data)
    job["method"][kind]["hyperparameters"] = settled
    if kind == "supervised":
        job["hyperparameters"] = settled
    record["steps"] = math.ceil(data.examples / settled["batch_size"]) * settled["n_epochs"]
    record["tokens"] = data.tokens * settled["n_epochs"]
    job["status"] = "queued"
    tell(record, record["next"], "Files validated, moving job to queued state")
    pace = sandbox.settings.pace
    job["estimated_finish"] = math.ceil(record["next"] + pace * (1 + _TRAINING_PACES))
    record["next"] += pace
    jobs(sandbox).put(record["id"], record)
    _plan(sandbox, record)


def _run(sandbox: Sandbox, record: dict[str, Any]) -> None:
    job = record["job"]
    if job["status"] != "queued":
        return
    job["status"] = "running"
    started = record["next"]
    tell(record, started, "Fine-tuning job started")
    duration = sandbox.settings.pace * _TRAINING_PACES
    steps = record["steps"]
    shown = sorted({math.ceil(steps * part / min(steps, _MOST_METRICS)) for part in range(1, _MOST_METRICS + 1)})
    for step in (step for step in shown if step <= steps):
        metrics = _metrics(job, step, steps)
        message = f"Step {step}/{steps}: training loss={metrics['train_loss']:.2f}"
        if "valid_loss" in metrics:
            message += f", validation loss={metrics['valid_loss']:.2f}"
        tell(record, started + duration * step / steps, message, data=metrics, kind="metrics")
    record["next"] = started + duration
    jobs(sandbox).put(record["id"], record)
    _plan(sandbox, record)


def _succeed(sandbox: Sandbox, record: dict[str, Any]) -> None:
    job = record["job"]
    if job["status"] != "running":
        return
    done = record["next"]
    base = job["model"].removeprefix("ft:").partition(":")[0]
    name = f"ft:{base}:sandbox:{job['user_provided_suffix'] or ''}:{new_id('', 8)}"
    _add_checkpoints(sandbox, record, name, base)
    _add_model(sandbox, name, base, done)
    results = save_bytes(sandbox, _table(record).encode(), "step_metrics.csv", "fine-tune-results")
    job |= {"fine_tuned_model": name, "trained_tokens": record["tokens"], "result_files": [results["id"]]}
    _end(record, "succeeded", done)
    tell(record, done, f"New fine-tuned model created: {name}")
    tell(record, done, "The job has successfully completed")
    jobs(sandbox).put(record["id"], record)


def _end(record: dict[str, Any], status: str, at: float) -> None:
    record["job"] |= {"status": status, "finished_at": int(at), "estimated_finish": None}


def _add_model(sandbox: Sandbox, name: str, base: str, at: float) -> None:
    card = ModelCard(name, int(at), ORGANIZATION, f"sandbox: answers like {base}; nothing was learnt")
    sandbox.cards[name] = card
    shown = {"id": name, "created": card.created, "owned_by": card.owned_by, "description": card.description}
    models(sandbox).put(name, shown)


def _add_checkpoints(sandbox: Sandbox, record: dict[str, Any], name: str, base: str) -> None:
    """One for each of the last epochs before the end, each a model of its own."""
    job, steps = record["job"], record["steps"]
    kind = job["method"]["type"]
    epochs = job["method"][kind]["hyperparameters"]["n_epochs"]
    for epoch in range(max(1, epochs - _MOST_CHECKPOINTS + 1), epochs):
        step = steps * epoch // epochs
        checkpoint = f"{name}:ckpt-step-{step}"
        at = record["next"] - sandbox.settings.pace * _TRAINING_PACES * (1 - step / steps)
        _add_model(sandbox, checkpoint, base, at)
        record["checkpoints"].append(
            {
                "object": "fine_tuning.job.checkpoint",
                "id": new_id("ftckpt_", 24),
                "created_at": int(at),
                "fine_tuned_model_checkpoint": checkpoint,
                "fine_tuning_job_id": job["id"],
                "metrics": _metrics(job, step, steps),
                "step_number": step,
            }
        )


def _metrics(job: dict[str, Any], step: int, steps: int) -> dict[str, Any]:
    """Made up: a loss that falls with each step, with a little noise; the same for the same seed."""
    noise = random.Random(f"{job['seed']} {step}")  # noqa: S311  # has to be repeatable
    loss = 0.3 + 2.2 * math.exp(-4 * step / steps) + noise.uniform(-0.05, 0.05)
    metrics = {
        "step": step,
        "train_loss": round(loss, 4),
        "train_mean_token_accuracy": round(max(0.0, min(1.0, 1 - loss / 4)), 4),
    }
    if job["validation_file"]:
        valid = loss + 0.1 + noise.uniform(0, 0.05)
        metrics |= {
            "valid_loss": round(valid, 4),
            "valid_mean_token_accuracy": round(max(0.0, min(1.0, 1 - valid / 4)), 4),
        }
    return metrics


def _table(record: dict[str, Any]) -> str:
    columns = ("step", "train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy")
    rows = [event["data"] for event in record["events"] if event["type"] == "metrics"]
    lines = [",".join(columns), *(",".join(str(row.get(column, "")) for column in columns) for row in rows)]
    return "\n".join(lines) + "\n"
