"""What a run will send and cost, known before it is paid."""

from __future__ import annotations

import random

import pytest
from plan_bench import EMBED, PlanBench
from splintr import Tokenizer

from penstock.errors import InputError
from penstock.plan.model import StepEstimate


def _tokens(texts: list[str]) -> int:
    tokenizer = Tokenizer.from_pretrained("cl100k_base")
    return sum(len(tokenizer.encode_ordinary(text)) for text in texts)


def _estimate(bench: PlanBench, **options: object) -> StepEstimate:
    (estimate,) = bench.plan(**options).estimates
    return estimate


def test_tokens_are_exact_and_dollars_are_those_of_the_list(bench: PlanBench) -> None:
    bench.rows(300, "text number {} with <|endoftext|> and ümläuts")
    bench.write(EMBED + "\nbatch_size: 200")
    estimate = _estimate(bench)
    tokens = _tokens([f"text number {number} with <|endoftext|> and ümläuts" for number in range(300)])
    assert (estimate.rows, estimate.tokens, estimate.exact, estimate.requests) == (300, tokens, True, 2)
    assert estimate.usd == pytest.approx(tokens * 0.02 / 1e6)
    assert estimate.usd_batch == pytest.approx(tokens * 0.01 / 1e6)
    assert estimate.note == ""


def test_copies_count_once_in_each_partition_and_requests_are_counted_by_partition(bench: PlanBench) -> None:
    bench.rows(20, "the same")
    bench.write(source="key: id\npartition_rows: 5")
    estimate = _estimate(bench)
    assert (estimate.rows, estimate.tokens, estimate.requests) == (20, 4 * _tokens(["the same"]), 4)


def test_a_filter_goes_first_and_rows_with_nothing_to_send_are_left_out(bench: PlanBench) -> None:
    (bench.folder / "rows.csv").write_text("id,text\n1,one\n2,two\n3,\n4,four\n5, \n")
    bench.write("uses: filter\nwhere: id > 1", EMBED)
    estimate = _estimate(bench)
    assert (estimate.rows, estimate.tokens) == (2, _tokens(["two", "four"]))
    bench.write(EMBED + "\nwhen: id = 2")
    assert _estimate(bench).rows == 1


def test_a_text_that_the_api_refuses_costs_nothing(bench: PlanBench) -> None:
    (bench.folder / "rows.csv").write_text(f"id,text\n1,short\n2,{'word ' * 9000}\n")
    bench.write()
    assert _estimate(bench).tokens == 1


def test_requests_keep_to_the_limits_of_the_api_and_of_the_provider(bench: PlanBench) -> None:
    bench.rows(100, "word " * 999 + "{}")
    bench.write(EMBED + "\nbatch_size: 100")
    assert _estimate(bench).requests == 1
    bench.write(EMBED + "\nbatch_size: 7")
    assert _estimate(bench).requests == 15
    bench.write(provider="limits: {tokens_per_minute: 10_100, requests_per_minute: 1000}")
    estimate = _estimate(bench)
    assert estimate.requests in {10, 11, 12}
    assert estimate.minutes == pytest.approx(estimate.tokens / 10_100)


def test_one_row_that_fails_a_step_does_not_hide_the_others(bench: PlanBench) -> None:
    (bench.folder / "rows.csv").write_text(
        "id,text,n\n" + "".join(f"{number},row {number},{number}\n" for number in range(2000)) + "2000,bad,\n"
    )
    text = (bench.folder / "rows.csv").read_text().replace("\n700,row 700,700\n", "\n700,row 700,x\n")
    (bench.folder / "rows.csv").write_text(text)
    bench.write('uses: derive\ncolumns: {m: "CAST(n AS INTEGER)"}', EMBED, source="key: id\ntypes: {n: string}")
    estimate = _estimate(bench)
    assert estimate.rows in {1999, 2000}
    assert estimate.tokens > 1990 * 3


def test_a_large_source_is_sampled_within_a_few_percent(bench: PlanBench) -> None:
    dice = random.Random(3)  # the same texts each time
    texts = ["word " * dice.randrange(1, 40) + str(number) for number in range(40_000)]
    lines = [f"{number},{text}\n" for number, text in enumerate(texts)]
    (bench.folder / "rows.csv").write_text("id,text\n" + "".join(lines))
    bench.write(source="key: id\npartition_rows: 2000")
    sampled, whole = _estimate(bench), _estimate(bench, every_row=True)
    assert whole.exact
    assert whole.tokens == _tokens(texts)
    assert not sampled.exact
    assert "sample of" in sampled.note
    assert sampled.rows == pytest.approx(whole.rows, rel=0.001)
    assert sampled.tokens == pytest.approx(whole.tokens, rel=0.05)
    assert sampled.requests == pytest.approx(whole.requests, rel=0.05)


def test_an_unknown_price_is_unknown_and_a_price_of_ones_own_goes_first(bench: PlanBench) -> None:
    bench.rows(10)
    bench.write(EMBED.replace("text-embedding-3-small", "my-model"))
    estimate = _estimate(bench)
    assert estimate.usd is None
    assert estimate.usd_batch is None
    assert not estimate.exact
    assert "estimated" in estimate.note
    bench.write(EMBED, provider="prices: {text-embedding-3-small: {input: 1000}}")
    estimate = _estimate(bench)
    assert estimate.usd == pytest.approx(estimate.tokens / 1000)


def test_a_budget_in_dollars_needs_a_price(bench: PlanBench) -> None:
    bench.rows(10)
    bench.write(EMBED.replace("text-embedding-3-small", "my-model"), more="budget: {usd: 5}\n")
    with pytest.raises(InputError, match=r"my-model is unknown.*provider\.prices"):
        bench.plan()


def test_only_what_is_still_to_do_is_estimated(bench: PlanBench) -> None:
    bench.rows(30)
    bench.write(source="key: id\npartition_rows: 10")
    bench.finish(bench.plan(), "embed", 1)
    assert _estimate(bench).rows == 20
    bench.finish(bench.plan(), "embed", 0)
    bench.finish(bench.plan(), "embed", 2)
    assert bench.plan().estimates == ()


def test_what_a_filter_on_answers_will_drop_is_not_guessed(bench: PlanBench) -> None:
    bench.rows(10)
    second = EMBED + "\nid: again\noutput: second"
    bench.write(EMBED, "uses: filter\nwhere: embed_usage IS NOT NULL AND embedding IS NOT NULL", second)
    first, last = bench.plan().estimates
    assert (first.rows, first.exact) == (10, True)
    assert (last.rows, last.exact) == (10, False)
    assert "depends on answers" in last.note


CHAT = "uses: chat\nid: reply\nmodel: gpt-4o-mini\nprompt: '{{ text }}'\nmax_tokens: 20\noutput: reply"


@pytest.mark.parametrize("said", ["{{ reply }}", "{{ text }} {{ reply or '' }}"], ids=["alone", "beside-text"])
def test_what_is_asked_of_answers_is_unknown_before_they_are_there_and_never_nothing(
    bench: PlanBench, said: str
) -> None:
    bench.rows(10)
    bench.write(CHAT, EMBED.replace("{{ text }}", said.replace("'", "''")))
    first, last = bench.plan().estimates
    assert first.rows == 10
    assert (last.rows, last.requests, last.tokens, last.usd, last.exact) == (10, None, None, None, False)
    assert "what 10 of these rows ask depends on answers" in last.note


def test_what_a_column_made_of_answers_decides_is_not_guessed_either(bench: PlanBench) -> None:
    bench.rows(10)
    made = "uses: derive\ncolumns: {good: \"reply = 'yes'\", long: length(text) > 3}"
    bench.write(CHAT, made, "uses: filter\nwhere: long", "uses: filter\nid: kept\nwhere: good", EMBED)
    last = bench.plan().estimates[-1]
    assert (last.rows, last.tokens is not None, last.exact) == (10, True, False)
    assert "at most: what 'kept' will drop depends on answers" in last.note
    bench.write(CHAT, EMBED + "\nwhen: reply IS NOT NULL")
    assert bench.plan().estimates[-1].rows == 10


def test_how_many_rows_an_answer_becomes_is_unknown(bench: PlanBench) -> None:
    bench.rows(10)
    bench.write(
        CHAT, "uses: chunk\ninput: reply\ntokens: 50\noverlap: 5", EMBED.replace("{{ text }}", "{{ chunk_text }}")
    )
    last = bench.plan().estimates[-1]
    assert (last.rows, last.requests, last.tokens, last.usd) == (None, None, None, None)
    assert "how many rows 'chunk' makes depends on answers" in last.note


def test_a_picture_costs_the_same_whatever_it_is_to_show(bench: PlanBench) -> None:
    bench.rows(10)
    picture = "uses: image\nmodel: dall-e-3\nprompt: '{{ reply }}'\nfolder: pictures\nfile_name: '{{ id }}'"
    bench.write(CHAT, picture)
    last = bench.plan().estimates[-1]
    assert (last.requests, last.tokens, last.usd) == (10, None, pytest.approx(0.4))
