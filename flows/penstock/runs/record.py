"""The run record: what a run was asked, what it did, what it cost, and where everything is. One JSON file per run."""

from __future__ import annotations

import json
import os
import secrets
import socket
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from penstock.errors import InputError
from penstock.runs.account import Account
from penstock.secrets import redact
from penstock.tables.parts import whole_or_absent

RECORD = "run.json"
PLAN = "plan.json"
ERRORS = "errors.parquet"
MERGED = "merged.parquet"
ROWS = "rows.parquet"
"""Of incremental pipelines: the keys of the source's rows and hashes of what they were."""


class RunStatus(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    CRASHED = "crashed"
    FAILED = "failed"


class RunUsage(BaseModel):
    """What the run sent and what that cost, failed attempts included. Dollars are None when a price is unknown."""

    model_config = ConfigDict(frozen=True)

    requests: int = Field(default=0, description="Requests that were sent, every attempt counted.")
    retried: int = Field(default=0, description="Attempts that followed a failed one.")
    prompt_tokens: int = Field(default=0, description="Tokens of requests, as the server counted them.")
    completion_tokens: int = Field(default=0, description="Tokens of answers.")
    cached_tokens: int = Field(default=0, description="Tokens of requests that the server had cached.")
    seconds: float = Field(default=0.0, description="Seconds of sound that were heard.")
    characters: int = Field(default=0, description="Characters that were spoken.")
    images: int = Field(default=0, description="Images that were drawn.")
    usd: float | None = Field(default=0.0, description="US dollars at list prices; null when a price is unknown.")


class OutputRecord(BaseModel):
    """One published output."""

    model_config = ConfigDict(frozen=True)

    number: int = Field(default=0, description="Its place among the pipeline's outputs, from 0.")
    path: str = Field(description="Where it stands.")
    rows: int = Field(description="Its rows.")
    kept: int = Field(default=0, description="Those of them that are no longer in the source: `on_delete: keep`.")
    files: list[dict[str, Any]] = Field(description="Its files: name, rows, bytes and SHA-256.")
    refused: dict[str, int] = Field(
        default_factory=dict, description="Rows in the errors table that it could not take, by cause."
    )
    delivered: dict[str, Any] = Field(
        default_factory=dict, description="What became of it at a server: ids of files and jobs, a new model's name."
    )


class RowChanges(BaseModel):
    """How the rows of the source differed from those of the last complete run."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    new: int = Field(description="Rows whose key was not there.")
    changed: int = Field(description="Rows of which something that the pipeline reads is not what it was.")
    unchanged: int = Field(description="Rows that are as they were.")
    deleted: int = Field(description="Rows that were there and are not any more.")
    since: str = Field(default="", description="The run they are compared with; empty for the first.")


class RunRecord(BaseModel):
    """One run."""

    model_config = ConfigDict(extra="ignore")

    run_id: str = Field(description="Time of the start and four random digits.")
    pipeline: str = Field(description="The pipeline's name.")
    file: str = Field(description="The pipeline file.")
    sha256: str = Field(description="SHA-256 of the pipeline file.")
    status: RunStatus = Field(default=RunStatus.RUNNING, description="How the run stands.")
    reason: str = Field(default="", description="Why it stopped early: budget, quota, access, failures, …")
    message: str = Field(default="", description="The same as a sentence that says what to do.")
    started_at: datetime = Field(description="When it began (UTC).")
    ended_at: datetime | None = Field(default=None, description="When it ended (UTC).")
    resumes: str | None = Field(default=None, description="The run that this one goes on with.")
    batch: str = Field(default="", description="The first run of those that go on with one another.")
    params: dict[str, str] = Field(default_factory=dict, description="Parameters given on the command line.")
    provider: str | None = Field(default=None, description="The provider given on the command line.")
    limit: int | None = Field(default=None, description="How many rows it was limited to.")
    rehearsal: str = Field(default="", description="Not empty when the result stands beside the pipeline's own output.")
    pid: int = Field(default_factory=os.getpid, description="The process.")
    host: str = Field(default_factory=socket.gethostname, description="The machine.")
    flow_run_id: str | None = Field(default=None, description="Prefect's id of the run.")
    crash_told: bool = Field(default=False, description="Whether Prefect was told that the run crashed.")
    flow_run_url: str | None = Field(default=None, description="The run's page in Prefect's UI, where there is one.")
    account: Account | None = Field(default=None, description="Where every row went; once the run is complete.")
    usage: RunUsage = Field(default_factory=RunUsage, description="What was sent and what it cost in this run.")
    carried_rows: int = Field(default=0, description="Rows whose answers were paid in earlier runs.")
    changes: RowChanges | None = Field(
        default=None, description="How the source changed since the last complete run; of incremental pipelines."
    )
    fresh: bool = Field(default=False, description="Whether no answer of before was to be used.")
    publishing_at: datetime | None = Field(
        default=None, description="When it began to put its outputs in place (UTC); they may stand however it ended."
    )
    outputs: list[OutputRecord] = Field(default_factory=list, description="What was published.")
    errors_path: str | None = Field(default=None, description="The errors table; none when no row failed.")
    merged_path: str | None = Field(
        default=None, description="The table of rows that were merged into others; none when there is none."
    )
    notes: list[str] = Field(default_factory=list, description="What is no failure but worth knowing.")
    versions: dict[str, str] = Field(
        default_factory=dict, description="Versions of Penstock, Python and the price table."
    )

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        return (self.ended_at - self.started_at).total_seconds() if self.ended_at else None

    def save(self, folder: Path) -> None:
        """Write the record, whole or not at all.

        Texts are written without keys. Names and paths are written as they are, since the next run goes by them, and a
        local server's made-up key may well be a word that stands in them.
        """
        shown = self.model_copy(
            update={
                "message": redact(self.message),
                "notes": [redact(note) for note in self.notes],
                "params": {name: redact(value) for name, value in self.params.items()},
            }
        )
        with whole_or_absent(folder / RECORD) as temporary:
            temporary.write_text(shown.model_dump_json(indent=1))


def new_run_id(now: datetime | None = None) -> str:
    """For example ``20261122-140503-9f3a``; sorts by time."""
    moment = now or datetime.now(UTC)
    return f"{moment:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def read_record(folder: Path) -> RunRecord:
    """The record in a run's folder.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    try:
        return RunRecord.model_validate_json((folder / RECORD).read_text())
    except FileNotFoundError:
        raise InputError(f"there is no run in {folder}") from None
    except (ValidationError, json.JSONDecodeError, OSError) as error:
        raise InputError(f"the run record in {folder} cannot be read: {error}") from None
