"""Pipelines that branch, that look at all rows, and that make several rows of one: each row has its fate."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from execute_bench import Bench

from penstock.errors import SpecError, TooManyFailures
from penstock.execute.inline import run_inline
from penstock.plan.model import WHOLE

EMBED = 'uses: embed\ninput: "{{ text }}"\nmodel: text-embedding-3-small\ndimensions: 8\n'


def _ids(bench: Bench, name: str) -> list[int]:
    return sorted(pl.read_parquet(bench.folder / "out" / name)["id"].to_list())


SPLIT_IN_TWO = f"""{EMBED}---
id: low
from: embed
uses: filter
where: id < 5
---
id: high
from: embed
uses: filter
where: id >= 5"""


def test_branches_take_the_same_answers_and_each_row_is_counted_in_each(bench: Bench) -> None:
    bench.texts([f"text {number}" for number in range(12)])
    bench.branched(SPLIT_IN_TWO, {"low": "low", "high": "high", "all": "embed"})
    record = bench.proven()
    assert record.account is not None
    assert record.account.outputs == [5, 7, 12]
    assert (record.account.read, record.account.branched, record.account.filtered) == (12, 24, 12)
    assert _ids(bench, "low") == list(range(5))
    assert _ids(bench, "high") == list(range(5, 12))
    assert _ids(bench, "all") == list(range(12))
    assert record.usage.requests == 3, "one for each partition"
    again = bench.proven()
    assert again.usage.requests == 0


def test_branches_may_begin_at_the_source(bench: Bench) -> None:
    bench.texts([f"text {number}" for number in range(6)])
    steps = (
        "id: low\nfrom: source\nuses: filter\nwhere: id < 2\n---\nid: high\nfrom: source\nuses: filter\nwhere: id >= 2"
    )
    bench.branched(steps, {"low": "low", "high": "high", "raw": "source"})
    record = bench.proven()
    assert record.account is not None
    assert record.account.outputs == [2, 4, 6]
    assert _ids(bench, "raw") == list(range(6))


def test_a_row_that_fails_in_the_trunk_is_in_the_errors_table_once(bench: Bench) -> None:
    bench.texts(["fine", "POISON", "", "good", "well", "better", "best"])
    bench.branched(SPLIT_IN_TWO, {"low": "low", "high": "high"}, more="errors: {stop_above: 100%}\n")
    bench.server.change(poison=["POISON"])
    record = bench.proven()
    assert record.account is not None
    assert record.account.failures == {"empty_input": 1, "invalid_request": 1}
    assert bench.errors(record)["id"].to_list() == [1, 2]
    bench.server.change(poison=[])
    mended = bench.proven()
    assert mended.account is not None
    assert mended.account.failures == {"empty_input": 1}
    assert _ids(bench, "low") == [0, 1, 3, 4]
    assert mended.usage.requests == 1, "only the row that had failed is asked again"


def test_duplicates_are_merged_over_all_partitions_and_only_one_of_them_is_asked(bench: Bench) -> None:
    bench.texts(["same", "a", "same", "b", "c", "same", "a", "d"])
    bench.pipeline(f"uses: dedupe\nby: [text]\n---\n{EMBED}", source="partition_rows: 3")
    record = bench.proven()
    assert record.account is not None
    assert (record.account.read, record.account.merged, record.account.written) == (8, 3, 5)
    assert bench.result()["text"].to_list() == ["same", "a", "b", "c", "d"]
    assert record.merged_path is not None
    merged = pl.read_parquet(record.merged_path)
    assert merged.select("step", "key", "into").rows() == [
        ("dedupe", "2", "0"),
        ("dedupe", "5", "0"),
        ("dedupe", "6", "1"),
    ]
    assert bench.proven().usage.requests == 0


def test_a_row_that_a_deciding_step_cannot_look_at_is_an_error_row(bench: Bench) -> None:
    bench.rows([{"id": number, "text": f"text {number}", "by": number % 4} for number in range(1, 9)])
    steps = "uses: dedupe\nid: near\ntext: '{{ 12 // by }} {{ text }}'\nnear: 99%"
    bench.pipeline(steps, source="partition_rows: 3", more="errors: {stop_above: 100%}\n")
    record = bench.proven()
    assert record.account is not None
    assert record.account.failures == {"expression": 2}
    assert bench.errors(record).select("id", "step").rows() == [(4, "near"), (8, "near")]
    assert _ids(bench, "result") == [1, 2, 3, 5, 6, 7]


def test_a_decision_that_was_taken_on_other_rows_is_taken_again(bench: Bench) -> None:
    """A retry mends a row before the barrier: what was decided without it does not stand."""
    bench.texts(["a", "POISON", "b", "c", "d"])
    steps = f"{EMBED}---\nuses: dedupe\nby: [text]\n---\nuses: derive\ncolumns: {{size: length(text)}}"
    bench.pipeline(steps, source="partition_rows: 2", more="errors: {stop_above: 100%}\n")
    bench.server.change(poison=["POISON"])
    assert len(bench.result()) == 4 if bench.proven() else None
    bench.server.change(poison=[])
    with bench.open() as session:
        tasks = [(task.segment, task.partition) for task in session.plan.tasks]
        assert ("dedupe.decide", WHOLE) in tasks

        run_inline(session)
    assert bench.result()["text"].to_list() == ["a", "POISON", "b", "c", "d"]


def test_a_part_older_than_the_one_it_was_made_of_is_made_again(bench: Bench) -> None:
    """Killed between the two, the part before is new and the part after is not."""
    bench.texts(["a", "POISON"])
    steps = f"{EMBED}---\nuses: derive\ncolumns: {{size: length(text)}}"
    bench.pipeline(steps, more="errors: {stop_above: 100%}\n")
    bench.server.change(poison=["POISON"])
    bench.proven()
    bench.server.change(poison=[])
    from penstock.execute.segment import run_segment

    with bench.open() as session:
        run_segment(str(session.plan_file), "embed", 0)
    record = bench.proven()
    assert record.account is not None
    assert record.account.written == 2
    assert record.usage.requests == 0


def test_a_task_that_begins_again_does_not_ask_for_the_partitions_that_it_had_finished(bench: Bench) -> None:
    bench.texts(["a", "b"])
    bench.pipeline(EMBED, source="partition_rows: 1")
    from penstock.execute.segment import run_segment

    with bench.open() as session:
        for partition in (0, 0, 1, 0, 1):
            counts = run_segment(str(session.plan_file), "embed", partition)
            assert (counts["partition"], counts["written"]) == (partition, 1)
        record = session.finish()
    assert record.usage.requests == 2


def test_chunks_are_rows_of_their_own_with_a_key_of_their_own(bench: Bench) -> None:
    long = " ".join(f"word{number}." for number in range(40))
    bench.texts(["short", long, "other"])
    steps = "uses: chunk\ninput: text\ntokens: 20\noutput: piece\n---\n" + EMBED.replace("{{ text }}", "{{ piece }}")
    bench.pipeline(steps, more="errors: {stop_above: 100%}\n")
    record = bench.proven()
    assert record.account is not None
    result = bench.result()
    assert record.account.read + record.account.added == record.account.written == len(result) > 5
    assert result.select("id", "chunk").n_unique() == len(result)
    assert not any("key" in note for note in record.notes)
    for row in result.iter_rows(named=True):
        assert row["text"][row["start"] : row["end"]] == row["piece"]


def test_a_failed_chunk_is_told_by_its_position_and_asked_again_alone(bench: Bench) -> None:
    bench.texts(["one two three four POISON six seven eight nine ten eleven twelve thirteen fourteen", "fine"])
    steps = (
        "uses: chunk\ninput: text\ntokens: 8\noutput: piece\nat: words\n---\n"
        + EMBED.replace("{{ text }}", "{{ piece }}")
        + "batch_size: 1"
    )
    bench.pipeline(steps, more="errors: {stop_above: 100%}\n")
    bench.server.change(poison=["POISON"])
    record = bench.proven()
    errors = bench.errors(record)
    assert errors.columns[:2] == ["id", "chunk"]
    assert "asked" not in errors.columns
    assert len(errors) == 1
    bench.server.change(poison=[])
    assert bench.proven().usage.requests == 1


def test_a_text_over_the_limit_is_asked_in_pieces_and_its_usage_is_their_sum(bench: Bench) -> None:
    long = " ".join(f"number {number}" for number in range(6000))
    bench.texts(["short", long, "other"])
    bench.pipeline(EMBED + "overflow: split\nbatch_size: 1")
    record = bench.proven()
    result = bench.result()
    assert len(result) == 3
    assert record.usage.requests > 3
    tokens = result["embed_usage"].struct.field("prompt_tokens").to_list()
    assert sum(tokens) == record.usage.prompt_tokens
    assert sum(number * number for number in result["embedding"][1]) == pytest.approx(1, abs=1e-3)


def test_a_failure_of_one_piece_costs_the_other_pieces_nothing_when_it_is_asked_again(bench: Bench) -> None:
    long = " ".join(f"number {number}" for number in range(6000)) + " POISON"
    bench.texts(["short", long])
    bench.pipeline(EMBED + "overflow: split\nbatch_size: 1", more="errors: {stop_above: 100%}\n")
    bench.server.change(poison=["POISON"])
    assert bench.errors(bench.proven())["id"].to_list() == [1]
    bench.server.change(poison=[])
    record = bench.proven()
    assert record.usage.requests == 1
    assert _ids(bench, "result") == [0, 1]


CHUNKED = "uses: chunk\ninput: text\ntokens: 8\nat: words\noutput: piece\n---\n"


@pytest.mark.parametrize(
    "step",
    ["uses: split\nid: last\nsets: {a: 50%, b: 50%}", "uses: sample\nid: last\nshare: 50%"],
    ids=["split", "sample"],
)
def test_pieces_of_a_row_stay_together_wherever_an_output_cuts_the_steps(bench: Bench, step: str) -> None:
    """A step that goes by the key goes by that of the source, which all pieces of a row share."""
    bench.texts([" ".join(f"word{number}" for number in range(length)) for length in range(8, 40)])
    bench.branched(CHUNKED + step, {"last": "last"})
    bench.run()
    once = pl.read_parquet(bench.folder / "out" / "last")
    bench.branched(CHUNKED + step, {"chunk": "chunk", "last": "last"})
    bench.run()
    assert pl.read_parquet(bench.folder / "out" / "last").equals(once)
    pieces = pl.read_parquet(bench.folder / "out" / "chunk")
    kept = pieces.filter(pl.col("id").is_in(once["id"].to_list()))
    assert len(kept) == len(once)
    if "set" in once.columns:
        assert once.group_by("id").agg(pl.col("set").n_unique())["set"].unique().to_list() == [1]


def test_a_step_that_goes_by_a_key_that_is_no_more_is_a_mistake_with_its_place(bench: Bench) -> None:
    bench.texts(["a"])
    bench.pipeline("uses: select\ncolumns: [text]\n---\nuses: sample\nshare: 50%")
    with pytest.raises(
        SpecError, match=r"pipeline.yaml:\d+:11: the key's column 'id' does not reach the step 'sample'"
    ):
        bench.open()
    bench.pipeline("uses: select\ncolumns: [text]\n---\nuses: sample\nshare: 50%\nby: text")
    bench.run()


@pytest.mark.parametrize("size", [2, 100])
@pytest.mark.parametrize("after", ["CAST(id AS VARCHAR)", "CAST(id AS DOUBLE)", "concat('no. ', CAST(id AS VARCHAR))"])
def test_rows_that_fail_before_and_after_a_change_of_the_keys_type_are_named(
    bench: Bench, after: str, size: int
) -> None:
    """Before it a row has the source's key, after it the new one; the table of errors then has both as text."""
    bench.rows([{"id": n, "number": "x" if n == 1 else str(n), "text": "" if n == 3 else "a"} for n in range(5)])
    bench.pipeline(
        "uses: derive\nid: number\ncolumns: {number: CAST(number AS BIGINT)}\n---\n"
        f'uses: derive\nid: retyped\ncolumns: {{id: "{after}"}}\n---\n{EMBED}',
        source=f"types: {{text: string, number: string}}\npartition_rows: {size}",
        more="errors: {stop_above: 100%}\n",
    )
    record = bench.proven()
    assert record.account is not None
    assert record.account.failures == {"empty_input": 1, "expression": 1}
    kept = str(bench.result()["id"][0])
    named = {step: str(key) for key, step in bench.errors(record).select("id", "step").rows()}
    assert named == {"number": named["number"], "embed": kept.replace("0", "3", 1)}
    assert named["number"] in {"1", "1.0"}


SPEAK = "uses: speak\ninput: '{{ text }}'\nvoice: alloy\nfolder: spoken\nfile_name: '{{ id }}'\nformat: wav\n"


def test_a_row_that_comes_late_from_the_step_before_costs_the_files_of_the_others_nothing(bench: Bench) -> None:
    bench.texts(["one", "POISON", "three"])
    bench.pipeline(f"{EMBED}---\n{SPEAK}", more="errors: {stop_above: 100%}\n")
    bench.server.change(poison=["POISON"])
    assert bench.proven().usage.requests >= 3
    before = {path: path.read_bytes() for path in (bench.folder / "spoken").iterdir()}
    assert len(before) == 2
    bench.server.change(poison=[])
    record = bench.proven()
    assert record.usage.requests == 2, "the row that had failed, in both steps"
    after = {path: path.read_bytes() for path in (bench.folder / "spoken").iterdir()}
    assert after.items() >= before.items()
    assert len(after) == 3


def test_another_voice_writes_other_files_into_the_same_folder(bench: Bench) -> None:
    bench.texts(["one", "two"])
    other = SPEAK.replace("alloy", "nova") + "id: again\noutput: other\n"
    bench.pipeline(f"{SPEAK}---\n{other}")
    bench.proven()
    result = bench.result()
    paths = [path for name in result.columns if name.endswith("path") for path in result[name].to_list()]
    assert len(set(paths)) == len(paths) == 4
    for path in paths:
        assert Path(path).is_file()


def test_a_retry_of_one_cause_leaves_a_row_with_several_failed_pieces_as_it_was(bench: Bench) -> None:
    long = "POISON " + " ".join(f"number {number}" for number in range(6000)) + " POISON"
    bench.texts(["short", long])
    bench.pipeline(EMBED + "overflow: split\nbatch_size: 1", more="errors: {stop_above: 100%}\n")
    bench.server.change(poison=["POISON"])
    first = bench.proven()
    record = bench.proven(retries=first.run_id, retry_causes=["timeout"])
    assert record.account is not None
    assert record.account.failures == {"invalid_request": 1}
    assert record.usage.requests == 0


def test_sets_by_numbers_can_be_planned_again_when_only_a_partition_is_left(bench: Bench) -> None:
    bench.texts([f"text {number}" for number in range(19)] + ["POISON"])
    steps = f"uses: split_exact\nsets: {{test: 8, train: rest}}\n---\n{EMBED}batch_size: 1"
    bench.pipeline(steps, source="partition_rows: 5", more="errors: {stop_above: 100%}\n")
    bench.server.change(poison=["POISON"])
    bench.proven()
    bench.server.change(poison=[])
    record = bench.proven()
    assert record.account is not None
    assert record.account.written == 20
    assert record.usage.requests == 1
    assert bench.result()["set"].to_list().count("test") == 8


def test_steps_may_ask_different_providers(bench: Bench) -> None:
    bench.texts(["a", "b"])
    steps = EMBED + f"---\n{EMBED}id: second\nprovider: other\noutput: again"
    providers = f"providers:\n  other:\n    base_url: {bench.server.url}\n    api_key: ${{BENCH_API_KEY}}\n"
    bench.pipeline(steps, more=providers)
    assert bench.run().usage.requests == 2
    bench.file.write_text(bench.file.read_text().replace("  other:\n", "  other:\n    limits: {concurrency: 1}\n"))
    assert bench.run().usage.requests == 0, "how fast a provider is asked changes no answer"


def test_one_model_may_cost_something_else_at_each_provider(bench: Bench) -> None:
    bench.texts(["a", "b"])
    own = "prices: {text-embedding-3-small: {input: 1000000}}\n"
    providers = (
        f"providers:\n  other:\n    base_url: {bench.server.url}\n    api_key: ${{BENCH_API_KEY}}\n"
        "    prices: {text-embedding-3-small: {input: 3000000}}\n"
    )
    bench.pipeline(f"{EMBED}---\n{EMBED}id: second\nprovider: other\noutput: again", provider=own, more=providers)
    with bench.open() as session:
        assert [one.usd for one in session.plan.estimates] == [2.0, 6.0]
        assert run_inline(session).usage.usd == 8.0
    result = bench.result()
    costs = [result[name].struct.field("usd").to_list() for name in ("embed_usage", "second_usage")]
    assert costs == [[1.0, 1.0], [3.0, 3.0]]


def test_on_error_stop_ends_the_run_at_the_first_failed_row(bench: Bench) -> None:
    bench.texts([f"text {number}" for number in range(20)] + ["POISON"] + [f"more {number}" for number in range(20)])
    bench.pipeline(EMBED + "on_error: stop\nbatch_size: 1\nconcurrency: 1")
    bench.server.change(poison=["POISON"])
    with pytest.raises(TooManyFailures, match="on_error"):
        bench.run()
    assert not (bench.folder / "out" / "result").exists()
    bench.server.change(poison=[])
    record = bench.proven()
    assert record.account is not None
    assert record.account.written == 41
    assert record.carried_rows >= 20


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("dimensions: 8", "dimensions: 4", "3 parts of before do not count: `dimensions` of the step 'embed' changed"),
        ("> 0", ">= 0", "3 parts of before do not count: `where` of the step 'filter' changed"),
        ("uses: filter\n    where", "uses: filter\n    id: kept\n    where", ""),
        ("5,five", "5,six", "1 part of before does not count: 1 of 3 partitions has other rows"),
        ("key: id", "key: text", "3 parts of before do not count: the source's key was id"),
        ("partition_rows: 2", "partition_rows: 3", "3 parts of before do not count: 2 of 2 partitions have other rows"),
    ],
    ids=["setting", "setting before", "name", "rows", "key", "partitions"],
)
def test_the_plan_says_which_parts_do_not_count_any_more_and_why(bench: Bench, old: str, new: str, said: str) -> None:
    bench.rows([{"id": n, "text": word} for n, word in enumerate(["nil", "one", "two", "three", "four", "five"])])
    bench.pipeline(f"uses: filter\nwhere: length(text) > 0\n---\n{EMBED}", source="partition_rows: 2")
    bench.run()
    for file in (bench.file, bench.folder / "rows.csv"):
        file.write_text(file.read_text().replace(old, new))
    with bench.open() as session:
        (reuse,) = session.plan.reuse
        run_inline(session)
    assert reuse.reason == said
