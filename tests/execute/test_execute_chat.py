"""`chat` in a run: each row has one fate, every attempt is paid for once, and equal rows ask once."""

from __future__ import annotations

import polars as pl
import pytest
from execute_bench import Bench

PLAIN = 'uses: chat\nmodel: gpt-4o-mini\nprompt: "Repeat: {{ text }}"\n'
TOPIC = """
uses: chat
model: gpt-4o-mini
prompt: "{{ text }}"
unpack: true
response_format:
  json_schema:
    type: object
    properties: {topic: {type: string, enum: [billing, technical]}}
    required: [topic]
    additionalProperties: false
"""


def test_rows_get_their_answers_and_copies_ask_once(bench: Bench) -> None:
    bench.texts(["one", "two", "one", "  "])
    bench.pipeline(PLAIN.replace("Repeat: ", ""))
    record = bench.run()
    assert record.account is not None
    assert (record.account.written, record.account.failures) == (3, {"empty_input": 1})
    assert bench.server.stats()["requests"] == {"/v1/chat/completions": {"200": 2}}
    result = bench.result()
    assert result.columns == ["id", "text", "answer", "answer_finish_reason", "answer_refusal", "chat_usage"]
    assert result["answer"][0] == result["answer"][2] != result["answer"][1]


def test_streamed_answers_are_those_that_came_whole(bench: Bench) -> None:
    bench.texts(["one two", "three"])
    bench.pipeline(PLAIN + "stream: true")
    bench.run()
    streamed = bench.result()
    assert streamed["answer"].to_list() == ["one two", "three"]
    assert streamed["chat_usage"].struct.field("completion_tokens").to_list() == [2, 1]


def test_answers_are_mended_and_all_that_was_paid_is_counted(bench: Bench) -> None:
    bench.texts(["The invoice was charged twice."])
    bench.pipeline(TOPIC)
    bench.run()
    once = bench.result()["chat_usage"].struct.unnest()
    bench.server.change(faults=["off-schema:x2"])
    bench.rows([{"id": 1, "text": "The invoice was charged two times."}])
    record = bench.run()
    assert record.account is not None
    assert (record.account.written, record.account.failed) == (1, 0)
    usage = bench.result()["chat_usage"].struct.unnest()
    assert usage["attempts"].item() == 3
    assert usage["prompt_tokens"].item() > 3 * once["prompt_tokens"].item()
    assert usage["usd"].item() > 3 * once["usd"].item()


def test_a_row_whose_answer_never_fits_is_an_error_row_and_was_paid_for(bench: Bench) -> None:
    bench.texts(["The invoice was charged twice."])
    bench.pipeline(TOPIC + "repair: 1")
    bench.server.change(faults=["off-schema:100%"])
    record = bench.run()
    errors = bench.errors(record)
    assert errors["cause"].to_list() == ["invalid_answer"]
    assert "after 1 repair" in errors["message"].item()
    assert errors["attempts"].item() == 2
    assert errors["usd"].item() > 0


def test_a_refusal_is_a_result(bench: Bench) -> None:
    bench.texts(["one"])
    bench.pipeline(TOPIC)
    bench.server.change(faults=["refusal:100%"])
    record = bench.run()
    assert record.account is not None
    assert record.account.failed == 0
    assert bench.result().select("topic", "answer_finish_reason").rows() == [(None, "stop")]
    assert bench.result()["answer_refusal"].item()


def test_a_cut_stream_is_asked_for_again(bench: Bench) -> None:
    bench.texts(["one two three"])
    bench.pipeline(PLAIN + "stream: true")
    bench.server.change(faults=["stream-cut:x1"])
    bench.run()
    assert bench.result()["answer"].to_list() == ["one two three"]


@pytest.mark.parametrize("more", ["n: 2", "logprobs: true", "tools: [{name: find}]"])
def test_lists_and_structs_are_published_as_they_are(bench: Bench, more: str) -> None:
    bench.texts(["one", "two"])
    bench.pipeline(PLAIN + more)
    bench.run()
    result = bench.result()
    assert len(result) == 2
    kinds = {"n: 2": ("answer", pl.List(pl.String)), "logprobs: true": ("answer_logprobs", pl.List)}
    name, kind = kinds.get(more, ("answer_tool_calls", pl.List))
    assert result.schema[name] == kind


def test_a_second_chat_step_reads_what_the_first_has_said(bench: Bench) -> None:
    bench.texts(["one"])
    second = 'uses: chat\nid: again\nmodel: gpt-4o-mini\nprompt: "Repeat: {{ answer }} two"\noutput: more'
    bench.pipeline(f"{PLAIN.strip()}\n---\n{second}")
    bench.run()
    assert bench.result().select("answer", "more").rows() == [("one", "one two")]
