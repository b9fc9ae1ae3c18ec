"""`incremental`: what changed is told, deleted rows vanish or are kept, and answers stay while a night needs them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import Any

import polars as pl
import pytest
from execute_bench import Bench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import StorageFailed
from penstock.execute.inline import run_inline
from penstock.execute.session import Request, load_request, open_session, plan_request
from penstock.runs.record import RowChanges, RunRecord
from penstock.runs.verify import verify_run

EMBED = 'uses: embed\ninput: "{{ text }}"\nmodel: text-embedding-3-small\ndimensions: 8\nbatch_size: 5'
SOURCE = "partition_rows: 10"
NIGHTLY = "incremental: true\n"
KEEP = "incremental: {on_delete: keep}\n"
RUN_IT = """
import sys
from pathlib import Path
from penstock.execute.inline import run_inline
from penstock.execute.session import Request, open_session
with open_session(Request(Path(sys.argv[1]))) as session:
    run_inline(session)
"""


def _rows(numbers: range) -> list[dict[str, Any]]:
    return [{"id": number, "text": f"row {number} tells of harbours", "note": "x"} for number in numbers]


def _night(bench: Bench, rows: list[dict[str, Any]]) -> RunRecord:
    bench.rows(rows)
    return bench.run()


def _inputs(bench: Bench) -> int:
    return int(bench.server.stats()["inputs"])


def _changes(record: RunRecord) -> tuple[int, int, int, int]:
    assert record.changes is not None
    return record.changes.new, record.changes.changed, record.changes.unchanged, record.changes.deleted


def _parts(bench: Bench) -> set[str]:
    return {path.name for path in bench.folder.glob(".penstock/bench/parts/*/*.parquet")}


def test_plan_and_record_tell_what_is_new_changed_unchanged_and_deleted(bench: Bench) -> None:
    bench.pipeline(EMBED, source=SOURCE, more=NIGHTLY)
    first = _night(bench, _rows(range(30)))
    assert _changes(first) == (30, 0, 0, 0)
    rows = [*_rows(range(28, 33)), *_rows(range(26))]
    rows[7]["note"] = "another"
    bench.rows(rows)
    request = Request(bench.file)
    planned = plan_request(request, load_request(request)).changes
    assert planned is not None
    second = bench.run()
    assert _changes(second) == (3, 1, 27, 2)
    assert second.changes == RowChanges.model_validate(planned)
    assert planned.since == first.run_id
    assert second.usage.requests == 1
    assert bench.result()["id"].to_list() == [row["id"] for row in rows]


@pytest.mark.parametrize(("at_once", "most"), [(7, 64), (1, 4)])
def test_what_changed_is_told_however_many_rows_are_compared_at_a_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, at_once: int, most: int
) -> None:
    monkeypatch.setattr("penstock.execute.changes._AT_ONCE", at_once)
    monkeypatch.setattr("penstock.execute.changes._MOST_BUCKETS", most)
    bench.pipeline(EMBED, source=SOURCE, more=NIGHTLY)
    _night(bench, _rows(range(30)))
    rows = [*_rows(range(28, 33)), *_rows(range(26))]
    rows[7]["note"] = "another"
    assert _changes(_night(bench, rows)) == (3, 1, 27, 2)


def test_columns_that_nothing_reads_change_no_row(bench: Bench) -> None:
    bench.pipeline(f"uses: select\ncolumns: [id, text]\n---\n{EMBED}", more=NIGHTLY)
    _night(bench, _rows(range(10)))
    again = [{**row, "note": "later"} for row in _rows(range(10))]
    again[3]["text"] = "another"
    assert _changes(_night(bench, again)) == (0, 1, 9, 0)


def test_a_source_without_a_key_goes_by_content(bench: Bench) -> None:
    bench.pipeline(EMBED, more=NIGHTLY)
    bench.file.write_text(bench.file.read_text().replace("  key: id\n", ""))
    _night(bench, _rows(range(10)))
    moved = [*_rows(range(20, 21)), *reversed(_rows(range(10)))]
    moved[4]["text"] = "another"
    record = _night(bench, moved)
    assert _changes(record) == (2, 0, 9, 1)
    assert record.usage.requests == 1


def test_rows_deleted_from_the_source_are_kept_night_after_night(bench: Bench) -> None:
    bench.pipeline(EMBED, source=SOURCE, more=KEEP)
    _night(bench, _rows(range(30)))
    whole = bench.result().sort("id")
    second = _night(bench, _rows(range(5, 30)))
    assert (second.outputs[0].kept, second.outputs[0].rows) == (5, 30)
    assert second.account is not None
    assert second.account.written == 25
    third = _night(bench, [*_rows(range(8, 30)), *_rows(range(2))])
    assert third.outputs[0].kept == 6
    assert third.usage.requests == 0, "a row that comes back has its answer"
    assert bench.result().sort("id").equals(whole)
    assert bench.result().height == bench.result()["id"].n_unique() == 30
    with bench.open() as session:
        record = run_inline(session)
        plan, spec, state = session.plan, session.spec, session.state
    from penstock.execute.publish import plan_parts

    assert verify_run(record, plan_parts(plan, state), plan.ends, spec.outputs) == []


def test_kept_rows_take_the_columns_of_now(bench: Bench) -> None:
    bench.pipeline(EMBED, more=KEEP)
    _night(bench, _rows(range(6)))
    bench.pipeline(f"{EMBED}\n---\nuses: derive\ncolumns: {{long: length(text) > 3}}", more=KEEP)
    _night(bench, _rows(range(4)))
    assert bench.result().sort("id")["long"].to_list() == [True] * 4 + [None] * 2


def test_rows_to_keep_that_are_lost_stop_the_run_and_what_stands_stays(bench: Bench) -> None:
    bench.pipeline(EMBED, source=SOURCE, more=KEEP)
    _night(bench, _rows(range(30)))
    before = bench.result()
    next(bench.folder.glob(".penstock/bench/parts/embed/*.parquet")).unlink()
    bench.rows(_rows(range(30, 40)))
    with bench.open() as session, pytest.raises(StorageFailed, match="on_delete: keep"):
        run_inline(session)
    assert bench.result().equals(before)


def test_a_delta_table_is_updated_and_loses_what_is_deleted(bench: Bench) -> None:
    deltalake = pytest.importorskip("deltalake")
    bench.pipeline(EMBED, source=SOURCE, more=NIGHTLY)
    text = bench.file.read_text().replace("uses: parquet", "uses: delta").replace(
        "path: out/result", "path: out/result\n    mode: upsert\n    key: id"
    )  # fmt: skip
    bench.file.write_text(text)
    _night(bench, _rows(range(20)))
    rows = [*_rows(range(50, 52)), *_rows(range(3, 20))]
    rows[5]["text"] = "another text"
    record = _night(bench, rows)
    assert record.usage.requests == 1
    table = deltalake.DeltaTable(str(bench.folder / "out/result"))
    found = pl.from_arrow(table.to_pyarrow_table())
    assert isinstance(found, pl.DataFrame)
    assert found.sort("id").select("id", "text", "note").equals(pl.DataFrame(rows).sort("id"))
    assert table.version() == 1, "one commit a night"
    # Kept, what is gone stays in the table.
    bench.file.write_text(text.replace(NIGHTLY, KEEP))
    _night(bench, rows[4:])
    assert deltalake.DeltaTable(str(bench.folder / "out/result")).to_pyarrow_table().num_rows == len(rows)


def test_answers_stay_for_two_complete_runs_and_then_go(bench: Bench) -> None:
    bench.pipeline(EMBED, source=SOURCE, more=NIGHTLY)
    _night(bench, _rows(range(30)))
    first = _parts(bench)
    # A night with half of the source missing.
    _night(bench, _rows(range(15)))
    assert first <= _parts(bench)
    assert _night(bench, _rows(range(30))).usage.requests == 0
    _night(bench, _rows(range(100, 120)))
    _night(bench, _rows(range(100, 121)))
    assert not first & _parts(bench)
    assert _night(bench, _rows(range(100, 121))).usage.requests == 0


def test_a_refused_fresh_run_leaves_the_answers_of_before(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.pipeline(EMBED, source=SOURCE, more=NIGHTLY)
    rows = _rows(range(12))
    _night(bench, rows)
    asked = _inputs(bench)

    def refused(*_: object) -> None:
        raise StorageFailed("there is no room")

    with monkeypatch.context() as patch:
        patch.setattr("penstock.execute.session.with_changes", refused)
        with pytest.raises(StorageFailed, match="no room"), bench.open(fresh=True):
            pass
    _night(bench, rows)
    assert _inputs(bench) == asked


def test_fresh_asks_everything_anew_and_later_nights_go_by_that(bench: Bench) -> None:
    bench.pipeline(EMBED, source=SOURCE, more=NIGHTLY)
    _night(bench, _rows(range(20)))
    asked = _inputs(bench)
    record = bench.run(fresh=True)
    assert record.fresh
    assert _inputs(bench) == asked + 20
    assert bench.run().usage.requests == 0
    bench.rows([*_rows(range(90, 91)), *_rows(range(20))])
    bench.run()
    assert _inputs(bench) == asked + 21


def test_a_rehearsal_changes_nothing_of_the_nights(bench: Bench) -> None:
    bench.pipeline(EMBED, source=SOURCE, more=NIGHTLY)
    _night(bench, _rows(range(30)))
    parts = _parts(bench)
    record = bench.run(limit=7)
    assert (record.changes, record.usage.requests) == (None, 0)
    assert parts <= _parts(bench)
    assert _changes(bench.run()) == (0, 0, 30, 0)


@pytest.mark.slow
@pytest.mark.parametrize("killed_at", [0, 9, 21])
def test_killed_in_the_second_night_nothing_is_paid_twice(bench: Bench, killed_at: int) -> None:
    bench.pipeline(EMBED, source=SOURCE, more=NIGHTLY, provider="limits: {concurrency: 1}\n")
    _night(bench, _rows(range(40)))
    rows = [*_rows(range(100, 130)), *_rows(range(40))]
    bench.rows(rows)
    bench.server.change(latency="30ms")
    before = _inputs(bench)
    with subprocess.Popen([sys.executable, "-c", RUN_IT, str(bench.file)]) as process:
        while _inputs(bench) - before <= killed_at:
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    # The rows move once more before the next night.
    record = _night(bench, [*_rows(range(200, 203)), *rows])
    assert _changes(record) == (33, 0, 40, 0), "compared with the last complete run"
    # What was on its way at the kill, or had just come home, is asked again: two requests of five.
    assert _inputs(bench) - before <= 33 + 10
    assert bench.result()["id"].to_list() == [*range(200, 203), *range(100, 130), *range(40)]


def test_an_interrupted_run_keeps_its_answers_while_it_can_be_resumed(bench: Bench) -> None:
    budget = f"{NIGHTLY}budget: {{tokens: 60}}\n"
    bench.pipeline(EMBED, source=SOURCE, more=budget, provider="limits: {concurrency: 1}\n")
    bench.rows(_rows(range(30)))
    with bench.open() as session:
        with pytest.raises(Exception, match="budget"):
            run_inline(session)
        stopped = session.run_id
    paid = _inputs(bench)
    assert paid
    bench.run(limit=3)
    bench.pipeline(EMBED, source=SOURCE, more=NIGHTLY)
    bench.run(resumes=stopped)
    assert _inputs(bench) == 30


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    nights=st.lists(
        st.dictionaries(st.integers(0, 12), st.integers(0, 6), min_size=1).map(lambda night: list(night.items())),
        min_size=2,
        max_size=4,
    ),
    sizes=st.lists(st.integers(3, 20), min_size=4, max_size=4),
)
def test_any_edits_give_the_table_of_a_fresh_run_for_what_was_never_answered(
    bench: Bench, nights: list[list[tuple[int, int]]], sizes: list[int]
) -> None:
    """With one worker, so that no two partitions ask for a text at once, and with all answers kept for as long."""
    answered: set[int] = set()
    name = f"state-{time.monotonic_ns()}"
    for night, size in zip(nights, sizes, strict=False):
        bench.pipeline(EMBED, source=f"partition_rows: {size}", more="incremental: {keep_runs: 9}\n")
        bench.rows([{"id": number, "text": f"text {text} of some length"} for number, text in night])
        before = bench.server.stats()
        record = _run(bench, name)
        texts = {text for _, text in night}
        sent = bench.server.stats()["inputs"] - before["inputs"]
        parts_of = [{text for _, text in night[first : first + size]} for first in range(0, len(night), size)]
        expected = sum(len(part - answered) for part in parts_of)
        assert sent == expected
        answered |= texts
        assert record.account is not None
        assert record.account.written == len(night)
    result = bench.result().drop("embed_usage")
    _run(bench, f"{name}-fresh")
    assert bench.result().drop("embed_usage").equals(result)


def _run(bench: Bench, state: str) -> RunRecord:
    with open_session(Request(bench.file, state=bench.folder / state, workers=1)) as session:
        return run_inline(session)
