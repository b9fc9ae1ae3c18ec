"""A job from its start to its end: what happens, how far it is, and its losses."""

from __future__ import annotations

import base64
import binascii
import csv
import io
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.api import Api
    from penstock.api.fine_tuning import FineTuningEvent, FineTuningJob

_MARKS = "▁▂▃▄▅▆▇█"
_WIDTH = 32
_WHAT_TO_DO = {
    "invalid_training_file": "mend the rows that the report names, and run again: other content is another job",
    "invalid_validation_file": "mend the rows of the validation set, and run again",
    "invalid_n_examples": "add examples, and run again",
    "exceeded_quota": "the account has no money or quota left; mend that, then start it again",
    "insufficient_quota": "the account has no money or quota left; mend that, then start it again",
    "unsafe_file": "the service found content that it does not train on; moderate and filter the rows, and run again",
    "model_not_available": "choose another `model`",
    "server_error": "the service failed; start it again",
}


class Course:
    """What a job has told so far.

    Attributes:
        status: of the job.
        step, steps: how far training is; 0 before it has begun.
        losses: of training, in their order; `valid_losses` on the validation set.
    """

    def __init__(self) -> None:
        self.status = ""
        self.step = 0
        self.steps = 0
        self.losses: list[float] = []
        self.valid_losses: list[float] = []

    def take(self, event: FineTuningEvent) -> None:
        """Add an event."""
        data = event.data or {}
        if not isinstance(step := data.get("step"), int):
            return
        self.step = max(self.step, step)
        self.steps = max(self.steps, _total(data, event.message))
        for name, losses in (("train_loss", self.losses), ("valid_loss", self.valid_losses)):
            if isinstance(value := data.get(name), int | float):
                losses.append(float(value))

    def line(self, job_id: str) -> str:
        """In one line: state, step, losses and their curve."""
        parts = [f"{job_id} {self.status}".strip()]
        if self.step:
            parts.append(f"step {self.step:,}" + (f" of {self.steps:,}" if self.steps else ""))
        for name, losses in (("loss", self.losses), ("validation", self.valid_losses)):
            if losses:
                parts.append(f"{name} {losses[-1]:.3f} {curve(losses)}")
        return " · ".join(parts)


def curve(values: Sequence[float], width: int = _WIDTH) -> str:
    """Numbers as a row of bars, the highest for the largest; means where there are more numbers than places."""
    if not values:
        return ""
    size = min(width, len(values))
    ends = [round(place * len(values) / size) for place in range(size + 1)]
    means = [sum(values[low:high]) / (high - low) for low, high in pairwise(ends)]
    low, high = min(means), max(means)
    scale = (len(_MARKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_MARKS[round((value - low) * scale)] for value in means)


async def follow(
    api: Api,
    job_id: str,
    *,
    every: float,
    changed: Callable[[Course], None],
    happened: Callable[[FineTuningEvent], None] = lambda event: None,  # noqa: ARG005  # shown nowhere
) -> tuple[FineTuningJob, Course]:
    """Wait until a job has ended.

    Args:
        every: seconds between two looks.
        changed: told of the job's course after each look.
        happened: told of each event, the oldest first.

    Raises:
        ApiError: the service fails for longer than the provider's `retry` bears.
    """
    from penstock.api.fine_tuning import FineTuningJob

    course = Course()
    async for one in api.fine_tuning.watch(job_id, every=every, looked=_note_status(course, changed)):
        if isinstance(one, FineTuningJob):
            course.status = one.status
            changed(course)
            return one, course
        course.take(one)
        happened(one)
    raise AssertionError("watching ends with the job")


async def read_results(api: Api, job: FineTuningJob, course: Course) -> None:
    """The losses of a job that has ended, from its table of results, where its events told none."""
    from penstock.api.errors import ApiError

    for file_id in job.result_files:
        with tempfile.TemporaryDirectory() as folder, suppress(ApiError):
            # The curve is a courtesy: without it the job has ended all the same.
            path = await api.files.content(file_id, Path(folder) / "results.csv")
            for row in csv.DictReader(io.StringIO(_table(path.read_bytes()))):
                for name, losses in (("train_loss", course.losses), ("valid_loss", course.valid_losses)):
                    with suppress(ValueError):
                        losses.append(float(row.get(name) or ""))


def _table(content: bytes) -> str:
    """The text of a table, which some services give as base64."""
    if not content.lstrip().startswith(b"step"):
        with suppress(binascii.Error):
            content = base64.b64decode(content, validate=True)
    return content.decode("utf-8", "replace")


def why_failed(job: FineTuningJob) -> str:
    """Why a job did not succeed, in a sentence that says what to do; empty when it did."""
    if job.status == "succeeded":
        return ""
    if job.status == "cancelled":
        return f"the job {job.id} was cancelled"
    error = job.error
    told = [f"{error.code}: " if error.code else "", error.message or "", f" ({error.param})" if error.param else ""]\
        if error else []  # fmt: skip
    hint = _WHAT_TO_DO.get((error.code if error else None) or "", "")
    reason = "".join(told).strip().rstrip(".") or "the service does not say why"
    return f"the job {job.id} failed: {reason}" + (f". {hint[0].upper()}{hint[1:]}" if hint else "")


def _note_status(course: Course, changed: Callable[[Course], None]) -> Callable[[FineTuningJob], None]:
    def looked(job: FineTuningJob) -> None:
        course.status = job.status
        changed(course)

    return looked


def _total(data: dict[str, Any], message: str) -> int:
    """How many steps there are, from the figures or from ``Step 12/90: …``."""
    if isinstance(total := data.get("total_steps"), int):
        return total
    _, slash, rest = message.partition("/")
    digits = rest.split(":")[0].strip()
    return int(digits) if slash and digits.isdecimal() else 0
