"""A job's course in one line, its curve, and why it failed with what to do."""

from __future__ import annotations

import base64

import pytest

from penstock.api.fine_tuning import FineTuningEvent, FineTuningJob, JobError
from penstock.outputs.finetune.following import Course, _table, curve, why_failed


def test_a_curve_is_high_where_numbers_are_and_no_longer_than_asked() -> None:
    assert curve([4.0, 3.0, 2.0, 1.0]) == "█▆▃▁"
    assert len(curve([float(n) for n in range(1000)], 20)) == 20
    assert curve([2.0]) == curve([7.0]) == "▁"
    assert curve([]) == ""


def test_the_course_tells_steps_and_losses_of_the_events() -> None:
    course = Course()
    course.status = "running"
    for step in (1, 2):
        data = {"step": step, "train_loss": 2.0 - step / 2, "valid_loss": 3.0 - step / 2}
        course.take(FineTuningEvent(id=str(step), message=f"Step {step}/9: training loss=1", data=data))
    course.take(FineTuningEvent(id="x", message="Files validated"))
    assert course.line("ftjob-1") == "ftjob-1 running · step 2 of 9 · loss 1.000 █▁ · validation 2.000 █▁"


@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "base64"])
def test_a_table_of_results_is_read_however_it_is_encoded(encoded: bool) -> None:
    table = b"step,train_loss\n1,0.5\n"
    assert _table(base64.b64encode(table) if encoded else table) == table.decode()


@pytest.mark.parametrize(
    ("status", "error", "told"),
    [
        ("succeeded", None, ""),
        ("cancelled", None, "the job ftjob-1 was cancelled"),
        ("failed", None, "the job ftjob-1 failed: the service does not say why"),
        (
            "failed",
            JobError(code="invalid_training_file", message="line 3 has no messages.", param="training_file"),
            "the job ftjob-1 failed: invalid_training_file: line 3 has no messages. (training_file). "
            "Mend the rows that the report names, and run again: other content is another job",
        ),
        ("failed", JobError(code="odd", message="no"), "the job ftjob-1 failed: odd: no"),
    ],
    ids=["succeeded", "cancelled", "silent", "explained", "unknown"],
)
def test_a_failure_is_explained(status: str, error: JobError | None, told: str) -> None:
    assert why_failed(FineTuningJob(id="ftjob-1", status=status, error=error)) == told
