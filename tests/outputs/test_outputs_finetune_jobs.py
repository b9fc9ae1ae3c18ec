"""A job is created once, and only a job that was asked for in just this way is taken for one that died unnoted."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from penstock.api import Api
from penstock.api.errors import ApiError
from penstock.api.provider import Provider, RetryPolicy
from penstock.outputs.finetune.jobs import Jobs, digest_of
from penstock.outputs.finetune.lock import Lock
from raw_http import RawServer, Reply, Seen, error, reply

FILES = {"train": "file-1"}


def manifest(method: str = "supervised", **more: Any) -> dict[str, Any]:
    job = {"hyperparameters": {"n_epochs": 3}, "suffix": None, "seed": 7, "extra_body": {}, "metadata": {}}
    return {
        "model": "gpt-4o-mini",
        "method": method,
        "job": job | more,
        "sets": {"train": {"sha256": "aa"}},
    }


def listed(**more: Any) -> dict[str, Any]:
    """A job at the service that is asked for as `manifest` says, without a mark."""
    return {
        "id": "ftjob-other",
        "object": "fine_tuning.job",
        "status": "running",
        "model": "gpt-4o-mini-2024-07-18",
        "created_at": int(time.time()),
        "training_file": "file-1",
        "hyperparameters": {"n_epochs": 3, "batch_size": 1},
        "seed": 7,
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": 1}}},
        "metadata": {},
    } | more


def started(folder: Path, held: list[dict[str, Any]], created: Reply, asked: dict[str, Any]) -> str:
    """The id of the job that `Jobs.started` returns at a server that holds `held`."""

    def answer(seen: Seen) -> Reply:
        return created if seen.method == "POST" else reply(200, {"object": "list", "data": held, "has_more": False})

    async def main(url: str) -> str:
        async with Api(Provider("test", url, None, retry=RetryPolicy(1, 0.1))) as api:
            server = Lock.of(folder).server(url_in_lock, {})
            return (await Jobs(api, server, lambda _: None, lambda _: None).started(asked, FILES)).id

    url_in_lock = "https://example.org/v1"
    with RawServer(answer) as server:
        return asyncio.run(main(server.url))


def state(folder: Path, asked: dict[str, Any]) -> Any:
    return Lock.of(folder).server("https://example.org/v1", {}).job(digest_of(asked))["state"]


def died(folder: Path, asked: dict[str, Any]) -> None:
    """Leave the lock file as a process does that dies while it creates the job."""
    Lock.of(folder).server("https://example.org/v1", {}).note_job(
        digest_of(asked), state="creating", files=FILES, at=int(time.time())
    )


NEW = reply(200, listed(id="ftjob-new"))
OTHERS: dict[str, dict[str, Any]] = {
    "mark": {"metadata": {"penstock": "another-digest"}},
    "model": {"model": "gpt-4.1-mini-2025-04-14"},
    "larger-model": {"model": "gpt-4o-mini-audio-2024-07-18"},
    "method": {"method": {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 3}}}},
    "epochs": {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}},
    "epochs-of-the-2024-API": {"method": None, "hyperparameters": {"n_epochs": 2}},
    "seed": {"seed": 8},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_a_job_that_was_asked_for_in_another_way_is_not_adopted(tmp_path: Path, other: dict[str, Any]) -> None:
    died(tmp_path / "model", manifest())
    assert started(tmp_path / "model", [listed(**other)], NEW, manifest()) == "ftjob-new"


@pytest.mark.parametrize(
    "alike",
    [{}, {"method": None}, {"method": None, "hyperparameters": None, "seed": None}],
    ids=["today", "2024", "terse"],
)
def test_a_job_without_a_mark_that_is_the_same_in_all_that_the_service_tells_is_adopted(
    tmp_path: Path, alike: dict[str, Any]
) -> None:
    died(tmp_path / "model", manifest())
    assert started(tmp_path / "model", [listed(**alike)], NEW, manifest()) == "ftjob-other"


def test_what_was_left_to_the_service_does_not_tell_jobs_apart(tmp_path: Path) -> None:
    asked = manifest(hyperparameters={"n_epochs": "auto", "batch_size": "auto", "beta": None}, seed=None)
    died(tmp_path / "model", asked)
    assert started(tmp_path / "model", [listed()], NEW, asked) == "ftjob-other"


@pytest.mark.parametrize(
    ("status", "left"),
    [(400, "refused"), (401, "refused"), (403, "refused"), (429, "refused"), (409, "creating"), (500, "creating")],
)
def test_after_a_definite_refusal_the_job_is_not_creating_any_more(tmp_path: Path, status: int, left: str) -> None:
    with pytest.raises(ApiError):
        started(tmp_path / "model", [], error(status), manifest())
    assert state(tmp_path / "model", manifest()) == left


def test_after_a_refusal_a_job_of_somebody_else_is_not_adopted(tmp_path: Path) -> None:
    with pytest.raises(ApiError):
        started(tmp_path / "model", [], error(403), manifest())
    assert started(tmp_path / "model", [listed()], NEW, manifest()) == "ftjob-new"
