"""Segments, partitions, fingerprints, and what of earlier runs still counts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_bench import EMBED, PlanBench

from penstock.plan.partitions import group_slices, limit_slices, partition_rows
from penstock.plan.segments import cut_segments
from penstock.sources import Slice
from penstock.steps import KINDS, Step

FILTER = "uses: filter\nwhere: id >= 0"
DERIVE = "uses: derive\ncolumns: {size: length(text)}"


def _step(kind: str, **settings: object) -> Step:
    return KINDS[kind].model_validate({"uses": kind, **settings})


def _embed(name: str, **settings: object) -> Step:
    settings = {"input": "{{ text }}", "model": "text-embedding-3-small", "output": f"{name}_vector", **settings}
    return _step("embed", id=name, **settings)


def test_a_segment_ends_at_each_step_that_asks_a_model_and_steps_after_the_last_make_their_own() -> None:
    keep, big = _step("filter", where="true"), _step("filter", id="big", where="true")
    segments = cut_segments([keep, _embed("one"), _embed("two"), big])
    assert [(segment.id, segment.steps, segment.api, segment.reads) for segment in segments] == [
        ("one", (0, 1), True, None),
        ("two", (2,), True, "one"),
        ("big", (3,), False, "two"),
    ]


def test_a_pipeline_without_steps_copies() -> None:
    (segment,) = cut_segments([])
    assert (segment.id, segment.steps, segment.api) == ("source", (), False)
    assert [one.id for one in cut_segments([_step("filter", where="true")])] == ["filter"]


@pytest.mark.parametrize(
    "change",
    [
        {"steps": (EMBED.replace("8", "9"),)},
        {"steps": (EMBED.replace("3-small", "3-large"),)},
        {"steps": (EMBED.replace("{{ text }}", "{{ text }}."),)},
        {"steps": (EMBED + "\noutput: vector",)},
        {"steps": (EMBED + "\nextra_body: {user: nightly}",)},
        {"steps": (EMBED + "\nwhen: id > 1",)},
        {"steps": (EMBED + "\nusage: false",)},
        {"steps": (FILTER, EMBED)},
        {"url": "http://127.0.0.1:10/v1"},
        {"source": "key: id\ntypes: {id: string}"},
        {"source": "key: text"},
    ],
)
def test_what_reaches_the_wire_or_the_table_makes_other_parts(bench: PlanBench, change: dict[str, object]) -> None:
    bench.rows(5)
    bench.write()
    before = bench.names()
    settings = dict(change)
    bench.write(*settings.pop("steps", ()), **settings)  # type: ignore[misc,arg-type]
    assert not {name for part in before for name in part.values()} & {
        name for part in bench.names() for name in part.values()
    }


@pytest.mark.parametrize(
    "change",
    [
        {"steps": (EMBED + "\nbatch_size: 3",)},
        {"steps": (EMBED + "\nconcurrency: 3",)},
        {"provider": "limits: {concurrency: 3, requests_per_minute: 50}\nretry: {attempts: 2}\ntimeout: {total: 9s}"},
        {"more": "budget: {tokens: 1M}\nerrors: {stop_above: 50%}\ndescription: of the day\ntags: [nightly]"},
        {"name": "renamed"},
        {"url": "http://127.0.0.1:9/v1/"},
        {"source": "key: id\nformat: csv"},
        {"source": "key: [id]"},
        {"source": "key: id\ndelimiter: ','"},
        {"source": "key: id\ntypes: {id: integer}"},
    ],
)
def test_what_only_says_how_or_how_fast_keeps_parts(bench: PlanBench, change: dict[str, object]) -> None:
    bench.rows(5)
    bench.write()
    before = bench.names()
    settings = dict(change)
    bench.write(*settings.pop("steps", ()), **settings)  # type: ignore[misc,arg-type]
    assert bench.names() == before


def test_the_delimiter_is_what_it_is_whether_the_ending_or_the_pipeline_says_so(bench: PlanBench) -> None:
    """One column, so that the same bytes are a file of commas and one of tabs, but not the same rows."""
    text = "text\n" + "".join(f"row {number}\n" for number in range(5))
    for name in ("rows.csv", "rows.tsv"):
        (bench.folder / name).write_text(text)
    bench.write(source="key: text")
    commas = bench.names()
    bench.write(source="key: text", path="rows.tsv")
    tabs = bench.names()
    assert tabs != commas
    bench.write(source='key: text\ndelimiter: "\\t"', path="rows.tsv")
    assert bench.names() == tabs


def test_a_step_that_is_renamed_and_names_its_usage_column_by_it_makes_other_parts(bench: PlanBench) -> None:
    """Parts of the segments after it are found by their own names, and hold the usage column of before."""
    bench.rows(5)
    last = "id: last\n" + FILTER
    names = []
    for name in ("one", "two"):
        bench.write(f"id: {name}\n{EMBED}", last)
        names.append(bench.names()[0]["last"])
    assert names[0] != names[1]


def test_only_partitions_whose_rows_changed_get_other_parts(bench: PlanBench) -> None:
    bench.write(source="key: id\npartition_rows: 10")
    bench.rows(35)
    before = bench.names()
    bench.rows(36)
    after = bench.names()
    assert after[:3] == before[:3]
    assert after[3] != before[3]


def test_partitions_of_the_same_content_have_parts_of_their_own(bench: PlanBench) -> None:
    (bench.folder / "rows.csv").write_text("id,text\n" + "1,same\n" * 6)
    bench.write(source="key: id\npartition_rows: 2")
    names = [part["embed"] for part in bench.names()]
    assert len(set(names)) == 3
    assert [part["embed"] for part in bench.names()] == names


def test_partitions_are_as_large_as_the_widest_step_allows() -> None:
    table = _step("filter", where="true")
    assert partition_rows([table], None) == 100_000
    sizes = [8, 512, 1536, 3072, 100_000]
    rows = [partition_rows([table, _embed("e", dimensions=size, model="wide")], None) for size in sizes]
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] == 1_000
    assert rows[0] <= 50_000
    assert all(count * size * 4 <= 100e6 for count, size in zip(rows[:-1], sizes[:-1], strict=True))
    assert partition_rows([_embed("e")], None) == rows[2]
    assert partition_rows([_embed("e")], 7) == 7


@given(st.lists(st.integers(1, 40), max_size=20), st.integers(1, 50), st.none() | st.integers(1, 100))
def test_slices_are_grouped_in_their_order_and_no_row_is_lost(counts: list[int], rows: int, limit: int | None) -> None:
    slices = [Slice(number, 0, count) for number, count in enumerate(counts)]
    kept = limit_slices(iter(slices), limit)
    total = sum(counts) if limit is None else min(limit, sum(counts))
    assert sum(piece.rows for piece in kept) == total
    groups = group_slices(kept, rows)
    assert [piece for group in groups for piece in group] == kept
    assert all(len(group) == 1 or sum(piece.rows for piece in group) <= rows for group in groups)
    assert len(groups) >= 1
    for one, other in itertools.pairwise(groups):
        assert sum(piece.rows for piece in one) + other[0].rows > rows


def test_many_small_files_are_few_partitions_and_an_empty_source_is_one(bench: PlanBench) -> None:
    for number in range(12):
        (bench.folder / f"small-{number:02}.csv").write_text(f"id,text\n{number},x\n")
    bench.write(path="small-*.csv", source="key: id\npartition_rows: 5")
    assert [partition.rows for partition in bench.plan().partitions] == [5, 5, 2]
    bench.rows(0)
    bench.write()
    plan = bench.plan()
    assert [(partition.rows, partition.slices) for partition in plan.partitions] == [(0, ())]
    assert len(plan.tasks) == 1


def test_finished_parts_are_left_out_and_what_follows_a_missing_one_is_done_again(bench: PlanBench) -> None:
    bench.rows(30)
    bench.write(EMBED, "id: last\n" + FILTER, source="key: id\npartition_rows: 10")
    plan = bench.plan()
    assert [(task.segment, task.partition, task.after) for task in plan.tasks] == [
        (segment, partition, (("embed", partition),) if segment == "last" else ())
        for partition in range(3)
        for segment in ("embed", "last")
    ]
    bench.finish(plan, "embed", 0)
    bench.finish(plan, "last", 0)
    bench.finish(plan, "embed", 1)
    bench.finish(plan, "last", 2)
    again = bench.plan()
    assert [(task.segment, task.partition, task.after) for task in again.tasks] == [
        ("last", 1, ()),
        ("embed", 2, ()),
        ("last", 2, (("embed", 2),)),
    ]
    embed, last = again.reuse
    assert (embed.finished, embed.begun, embed.missing, embed.answered_rows) == (2, 0, 1, 20)
    assert (last.finished, last.begun, last.missing) == (1, 1, 1)


def test_a_part_with_a_journal_is_begun_and_a_damaged_one_is_done_again(bench: PlanBench) -> None:
    bench.rows(20)
    bench.write(source="key: id\npartition_rows: 10")
    plan = bench.plan()
    bench.finish(plan, "embed", 0)
    files = [bench.state.part_files("embed", partition.fingerprints["embed"]) for partition in plan.partitions]
    files[1].journal.touch()
    (reuse,) = bench.plan().reuse
    assert (reuse.finished, reuse.begun, reuse.missing) == (1, 1, 0)
    files[0].part.write_bytes(files[0].part.read_bytes()[:-10])
    assert len(bench.plan().tasks) == 2


def test_rows_whose_requests_failed_are_asked_again_and_those_with_bad_data_are_not(bench: PlanBench) -> None:
    bench.rows(30)
    bench.write(source="key: id\npartition_rows: 10")
    plan = bench.plan()
    bench.finish(plan, "embed", 0, {"timeout": 1})
    bench.finish(plan, "embed", 1, {"empty_input": 2, "source": 1})
    bench.finish(plan, "embed", 2)
    assert [task.partition for task in bench.plan().tasks] == [0]
    assert bench.plan(retry_causes=["server_error"]).tasks == ()
    assert [task.partition for task in bench.plan(retry_causes=["timeout"]).tasks] == [0]


def test_the_plan_says_why_parts_of_before_do_not_count(bench: PlanBench) -> None:
    bench.rows(5)
    bench.write()
    assert bench.plan().reuse[0].reason == ""
    bench.finish(bench.plan(), "embed", 0)
    bench.write(EMBED.replace("8", "16"))
    assert "changed" in bench.plan().reuse[0].reason
