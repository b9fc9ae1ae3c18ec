"""Verification finds what is not as it was written."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from penstock.items import Cause
from penstock.outputs.folder import replace_folder
from penstock.outputs.parquet import Parquet
from penstock.runs.account import SegmentParts, close_account
from penstock.runs.record import OutputRecord, RunRecord, RunStatus
from penstock.runs.verify import verify_run
from penstock.tables.failures import RowError, error_frame
from penstock.tables.parts import read_counts, write_part
from penstock.tables.state import State


class Run:
    """A complete run of one segment over two partitions, one of whose rows failed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = [State(folder, "p").part_files("embed", f"f{index}") for index in range(2)]
        self.write(0, [1, 2], failed=1)
        self.write(1, [3], failed=0)
        error = RowError(number=2, step="embed", cause=Cause.TIMEOUT, message="late")
        error_frame([error], {}, 0).write_parquet(self.files[0].errors)
        error_frame([error], {}, 0).write_parquet(folder / "errors.parquet")
        self.out = folder / "out"
        done = replace_folder(self.out, [files.part for files in self.files])
        counts = [read_counts(files.part) or {} for files in self.files]
        self.record = RunRecord(
            run_id="r", pipeline="p", file="p.yaml", sha256="", status=RunStatus.COMPLETED,
            started_at=datetime.now(UTC),
            account=close_account([SegmentParts("embed", None, counts)], ["embed"]),
            errors_path=str(folder / "errors.parquet"),
            outputs=[OutputRecord(path=str(done.path), rows=done.rows, files=done.files)],
        )  # fmt: skip

    def write(self, index: int, values: list[int], *, failed: int, said: int | None = None) -> None:
        table = pa.table({"a": pa.array(values, pa.int64())})
        counts = {
            "segment": "embed", "partition": index, "read": len(values) + failed, "filtered": {}, "failed": failed,
            "added": {}, "merged": {}, "made": "m", "of": [],
            "written": len(values) if said is None else said, "failures": {"timeout": failed} if failed else {},
        }  # fmt: skip
        write_part(self.files[index].part, iter([table]), table.schema, lambda: counts)

    def problems(self) -> list[str]:
        parts = [("embed", None, [(files.part, files.errors) for files in self.files])]
        output = Parquet.model_validate({"uses": "parquet", "path": str(self.out)})
        return verify_run(self.record, parts, ["embed"], [output])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_a_run_that_is_as_it_was_written_has_no_problems(run: Run) -> None:
    assert run.problems() == []


def test_a_missing_or_damaged_part_is_found(run: Run) -> None:
    run.files[0].part.unlink()
    run.files[1].part.write_bytes(b"PAR1 and no more")
    assert run.problems() == [f"the part {files.part} is missing or damaged" for files in run.files]


def test_a_part_with_other_rows_than_it_says_is_found(run: Run) -> None:
    run.write(1, [3, 4], failed=0, said=1)
    assert run.problems() == [f"{run.files[1].part} has 2 rows and says 1"]


def test_a_part_with_other_rows_than_the_record_says_is_found(run: Run) -> None:
    run.write(1, [3, 4], failed=0)
    problems = run.problems()
    assert "the account of the parts is not the one in the run record" in problems
    assert f"{run.out} has 3 rows and the account 4" in problems


@pytest.mark.parametrize("how", ["missing", "damaged", "shorter"])
def test_an_errors_part_that_is_not_what_its_part_says_is_found(run: Run, how: str) -> None:
    path = run.files[0].errors
    if how == "missing":
        path.unlink()
    elif how == "damaged":
        path.write_bytes(b"x" * 50)
    else:
        pl.read_parquet(path).clear().write_parquet(path)
    (problem,) = run.problems()
    assert problem in {f"{path} is damaged", f"{path} has 0 rows and its part says 1"}


def test_a_missing_errors_table_of_the_run_is_found(run: Run) -> None:
    (run.folder / "errors.parquet").unlink()
    assert run.problems() == [f"{run.folder / 'errors.parquet'} has 0 rows and the account says 1"]


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_changed_file_of_the_output_is_found(run: Run, content: bytes | None) -> None:
    file = run.out / "part-00001.parquet"
    content = content if content is not None else (run.out / "part-00000.parquet").read_bytes()
    file.unlink()
    file.write_bytes(content)
    assert run.problems() == [f"{file} is not what was written (its SHA-256 differs)"]


def test_a_missing_and_a_foreign_file_of_the_output_are_found(run: Run) -> None:
    (run.out / "part-00000.parquet").rename(run.out / "mine.parquet")
    first, second = run.problems()
    assert first == f"{run.out / 'part-00000.parquet'} is missing"
    assert second == f"{run.out / 'mine.parquet'} was not written by this run"
