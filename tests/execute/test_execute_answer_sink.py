"""Answers that come home together are kept each by itself: one that cannot be kept takes no other with it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from execute_bench import Bench
from judging_server import vector, vectors

from penstock.errors import InputError
from penstock.execute.answer_sink import JournalSink
from penstock.execute.inline import run_inline
from penstock.items import Answer, AnswerRows, Delivered, Item, Usage
from penstock.tables.journal import DIGEST_BYTES, Journal
from raw_http import RawServer, Reply, Seen, reply

SCHEMA = pa.schema({"number": pa.int64()})


def digest(number: int) -> bytes:
    return number.to_bytes(DIGEST_BYTES, "big")


def delivered(number: int, value: object, schema: pa.Schema = SCHEMA) -> Delivered:
    return Delivered([Item(number, "", 1)], Answer(AnswerRows(schema, [(value,)]), Usage()))


def columns(number: int, values: pa.Array) -> Delivered:
    return Delivered([Item(number, "", 1)], Answer(pa.record_batch([values], names=["number"]), Usage()))


def sink_of(path: Path) -> JournalSink:
    return JournalSink(
        Journal(path), [digest(number) for number in range(20)], note_kept=lambda _: None, note_failed=lambda *_: None
    )


@pytest.mark.parametrize("bad", [0, 1, 2, 4])
@pytest.mark.parametrize("value", ["no number", 2**70, b"bytes"], ids=["text", "too large", "bytes"])
def test_of_rows_that_come_together_only_those_that_cannot_be_kept_are_not(
    tmp_path: Path, bad: int, value: object
) -> None:
    sink = sink_of(tmp_path / "j.journal")
    for number in range(5):
        sink.delivered(delivered(number, value if number == bad else number * 10))
    with pytest.raises((ValueError, TypeError, OverflowError)):
        sink.flush()
    good = [number for number in range(5) if number != bad]
    assert sink.journal.answered == {digest(number) for number in good}
    assert sink.journal.take([digest(number) for number in good])["number"].to_pylist() == [n * 10 for n in good]
    sink.flush()
    sink.delivered(delivered(9, 90))
    sink.flush()
    sink.journal.close()
    assert Journal(tmp_path / "j.journal").answered == {digest(number) for number in [*good, 9]}


def test_a_batch_with_other_columns_does_not_take_those_behind_it_with_it(tmp_path: Path) -> None:
    sink = sink_of(tmp_path / "j.journal")
    sink.delivered(columns(0, pa.array([0])))
    sink.delivered(columns(1, pa.array([[1.0]])))
    sink.delivered(columns(2, pa.array([20])))
    sink.delivered(delivered(3, 30))
    with pytest.raises(InputError, match="other columns"):
        sink.flush()
    assert sink.journal.answered == {digest(0), digest(2), digest(3)}


def test_an_answer_with_other_columns_ends_the_run_and_those_in_flight_beside_it_are_kept(bench: Bench) -> None:
    """The first answer has two numbers, the second three; the others come home after it, and are paid for."""
    asked: list[str] = []

    def answer(seen: Seen) -> Reply:
        (text,) = json.loads(seen.body)["input"]
        asked.append(text)
        numbers = (1.0, 0.0, 0.0) if text == "odd" and asked.count(text) == 1 else (1.0, 0.0)
        entry = {"index": 0, "embedding": vector(*numbers), "object": "embedding"}
        return reply(200, vectors(entry), delay={"first": 0.0, "odd": 0.2}.get(text, 0.5))

    with RawServer(answer) as server:
        bench.texts(["first", "odd", *(f"text {number}" for number in range(6))])
        steps = 'uses: embed\ninput: "{{ text }}"\nmodel: local-model\nbatch_size: 1'
        bench.pipeline(steps, provider="limits: {concurrency: 8}\n")
        bench.file.write_text(bench.file.read_text().replace(bench.server.url, f"{server.url}/v1"))
        with bench.open() as session, pytest.raises(InputError, match="other columns than those answered before"):
            run_inline(session)
        assert len(asked) == 8
        record = bench.run(resumes=session.run_id)
    assert (asked[8:], record.carried_rows) == (["odd"], 7)
    assert bench.result().height == 8
