"""Files that answers became: where a run puts them, and that they are there."""

from __future__ import annotations

from pathlib import Path

from execute_bench import Bench

from penstock.execute.publish import plan_parts
from penstock.runs.record import RunRecord
from penstock.runs.verify import verify_run

SPEAK = "uses: speak\ninput: '{{ text }}'\nvoice: alloy\nfolder: spoken\nfile_name: '{{ id }}'\nformat: wav\n"
CHAT = "uses: chat\nmodel: gpt-4o-mini\nprompt: '{{ text }}'\nid: chat"


def _problems(bench: Bench, record: RunRecord) -> list[str]:
    with bench.open() as session:
        pass
    outputs = [output.at(Path(one.path)) for output, one in zip(session.spec.outputs, record.outputs, strict=True)]
    return verify_run(record, plan_parts(session.plan, session.state), session.plan.ends, outputs)


def _spoken(bench: Bench) -> list[Path]:
    return [Path(path) for path in bench.result()["path"].to_list()]


def test_a_full_run_after_one_of_the_first_rows_has_its_files_in_the_real_folder(bench: Bench) -> None:
    bench.texts(["one", "two", "three", "four"])
    bench.pipeline(f"{SPEAK}---\n{CHAT}", source="partition_rows: 2")
    assert bench.run(limit=2).usage.requests == 4
    assert len(list((bench.folder / "spoken.first-2").iterdir())) == 2
    assert bench.run().usage.requests == 4, "the first rows were paid"
    assert {path.parent for path in _spoken(bench)} == {bench.folder / "spoken"}
    assert all(path.is_file() for path in _spoken(bench))
    assert bench.run(limit=2).usage.requests == 0
    assert {path.parent for path in _spoken(bench)} == {bench.folder / "spoken"}


def test_deleted_and_damaged_files_are_told_and_restored_without_paying(bench: Bench) -> None:
    bench.texts(["one", "two", "three"])
    bench.pipeline(SPEAK)
    record = bench.run()
    assert _problems(bench, record) == []
    first, second, _ = _spoken(bench)
    before = first.read_bytes(), second.read_bytes()
    first.unlink()
    (problem,) = _problems(bench, record)
    assert str(first) in problem
    second.write_bytes(b"short")
    (problem,) = _problems(bench, record)
    assert "and 1 more file" in problem
    again = bench.run()
    assert again.usage.requests == 0
    assert (first.read_bytes(), second.read_bytes()) == before
    assert _problems(bench, again) == []
