"""Files that answers became: where a run puts them, and that they are there."""

from __future__ import annotations

from pathlib import Path

from execute_bench import Bench

from penstock.execute.publish import plan_parts
from penstock.execute.session import Request, load_request, plan_request
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


def _planned(bench: Bench) -> dict[str, tuple[int | None, int | None, float | None, bool]]:
    request = Request(bench.file)
    estimates = plan_request(request, load_request(request)).estimates
    return {one.step: (one.rows, one.tokens, one.usd, one.exact) for one in estimates}


def test_the_plan_knows_that_what_is_only_restored_is_not_sent(bench: Bench) -> None:
    bench.texts(["one", "two", "three", "four"])
    reply = CHAT.replace("id: chat", "id: reply\noutput: reply\nmax_tokens: 9")
    hear = "uses: transcribe\nfile: '{{ path }}'\noutput: heard"
    last = (
        "uses: chat\nid: last\nmodel: gpt-4o-mini\noutput: last\nprompt: '{{ text }} {{ reply }} {{ heard_text or 0 }}'"
    )
    bench.pipeline(f"{reply}\n---\n{SPEAK}---\n{hear}\n---\n{last}", source="partition_rows: 2")
    first = bench.run()
    assert first.usage.requests == 16
    assert _planned(bench) == {}, "nothing is left to do"
    _spoken(bench)[0].unlink()
    nothing = (0, 0, 0.0, True)
    assert _planned(bench) == {"reply": nothing, "speak": nothing, "transcribe": nothing, "last": nothing}
    assert bench.run().usage.requests == 0


def test_the_plan_counts_what_new_rows_ask_beside_files_that_are_only_restored(bench: Bench) -> None:
    bench.texts(["one", "two", "three", "four"])
    bench.pipeline(f"{SPEAK}---\n{CHAT}", source="partition_rows: 2")
    bench.run()
    _spoken(bench)[0].unlink()
    bench.texts(["one", "two", "three", "four", "five", "six"])
    planned = _planned(bench)
    assert {step: rows for step, (rows, *_) in planned.items()} == {"speak": 2, "chat": 2}
    assert bench.run().usage.requests == 4
