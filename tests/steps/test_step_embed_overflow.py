"""`embed` and texts that are too long for the model, and vectors of half the size."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from penstock.errors import InvalidAnswer
from penstock.sandbox.launch import start
from penstock.steps.embed import Embed
from penstock.steps.overflow import cut, pieces
from penstock.steps.vectors import mean_vector, vector_type
from penstock.tokens import counter

SMALL = "text-embedding-3-small"
EXACT, ESTIMATE = counter(SMALL), counter("nomic-embed-text")
LONG = "Every week I boiled the kettle 20 times; naïve, 水, 😀.\n" * 2_000


def step(**settings: Any) -> Embed:
    given_settings = {"uses": "embed", "input": "{{ body }}", "model": SMALL, "dimensions": 3, **settings}
    return Embed.model_validate(given_settings)


def payloads(texts: list[str | None], **settings: Any) -> list[Any]:
    return step(**settings).payloads(pl.DataFrame({"body": texts}, schema={"body": pl.String})).to_list()


TEXT = st.text(st.sampled_from("ab \n\t.,é水\u0301😀👨\u200d<|>1"), max_size=120) | st.text(max_size=60)


@given(TEXT, st.integers(1, 40), st.sampled_from([EXACT, ESTIMATE, counter("gpt-4o")]))
@example("👨\u200d👩\u200d👧" * 10, 5, EXACT)
@example("<|endoftext|>" * 10, 4, EXACT)
@example(" " * 500 + "a", 2, EXACT)
@example("a" * 500, 1, EXACT)
def test_the_pieces_of_a_text_are_the_text_and_none_is_too_long(text: str, most: int, tokens: Any) -> None:
    found = pieces(tokens, text, most)
    assert "".join(found) == text
    assert all(found)
    assert all(tokens.count(piece) <= most or len(piece) == 1 for piece in found)


@given(TEXT, st.integers(4, 40))
def test_a_text_is_cut_no_shorter_than_it_must_be(text: str, most: int) -> None:
    begin = cut(EXACT, text, most)
    assert text.startswith(begin)
    assert (begin == text) == (EXACT.count(text) <= most)
    # One token less than the first `most` of the whole text would have been too little.
    assert len(begin) >= EXACT.head(text, most - 4) or begin == text


def test_truncate_cuts_at_exactly_the_limit() -> None:
    [short, long, nothing, empty] = payloads(["short", LONG, None, ""], overflow="truncate", input="{{ body or '' }}")
    assert (short, nothing, empty) == ("short", "", "")
    assert LONG.startswith(long)
    assert EXACT.count(long) == 8192
    [shorter] = payloads([LONG], overflow="truncate", max_input_tokens=512)
    assert EXACT.count(shorter) == 512


def test_a_text_of_exactly_the_limit_stays_whole() -> None:
    text = cut(EXACT, LONG, 8192)
    assert payloads([text, text + " more"], overflow="truncate") == [text, text]
    assert payloads([text], overflow="split") == [[text]]


def test_split_asks_each_piece_and_gives_a_list_for_every_row() -> None:
    short, long, empty = payloads(["short", LONG, ""], overflow="split")
    assert (short, empty) == (["short"], [""])
    assert "".join(long) == LONG
    assert [EXACT.count(piece) for piece in long[:-1]] == [8192] * (len(long) - 1)
    assert payloads([], overflow="split") == []


def test_a_row_whose_template_fails_has_no_pieces() -> None:
    embed = step(input="{{ 6 / n }}", overflow="split")
    assert embed.payloads(pl.DataFrame({"n": [2, 0]})).to_list() == [["3.0"], None]


def test_pieces_of_white_space_are_not_asked() -> None:
    text = "begin" + "\n" * 40_000 + "end"
    [found] = payloads([text], overflow="split", model="nomic-embed-text", max_input_tokens=4096)
    assert len(found) == 2
    [[blank]] = payloads([" " * 40_000], overflow="split", max_input_tokens=16)
    assert step().is_empty(blank), "a row of nothing else is an error row, as without `split`"


def test_without_a_vocabulary_texts_are_cut_by_the_estimate() -> None:
    [text] = payloads(["é" * 40_000], overflow="truncate", model="nomic-embed-text")
    assert len(text.encode()) == 8192 * 3
    assert ESTIMATE.count(text) == 8192


def test_error_leaves_long_texts_to_the_check_that_makes_them_error_rows() -> None:
    assert payloads([LONG]) == [LONG]
    assert step().packing.max_item_tokens == 8192
    assert step(max_input_tokens=512).packing.max_item_tokens == 512


@pytest.mark.parametrize("wrong", [{"overflow": "cut"}, {"dtype": "float64"}, {"max_input_tokens": 0}])
def test_settings_out_of_bounds_are_mistakes(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        step(**wrong)


def vectors(rows: list[list[float]], kind: pa.DataType | None = None) -> pa.RecordBatch:
    numbers = pa.array([number for row in rows for number in row], pa.float32()).cast(kind or pa.float32())
    column = pa.FixedSizeListArray.from_arrays(numbers, type=vector_type(numbers.type, len(rows[0])))
    return pa.record_batch([column], names=["embedding"])


def combined(rows: list[list[float]], weights: list[int], **settings: Any) -> list[float]:
    kind = pa.float16() if settings.get("dtype") == "float16" else None
    batch = step(dimensions=len(rows[0]), **settings).combine(vectors(rows, kind), weights)
    assert batch.schema.field("embedding").type == step(dimensions=len(rows[0]), **settings).result_schema()[0].type
    [vector] = batch["embedding"].to_pylist()
    found: list[float] = vector
    return found


def test_one_vector_of_several_is_their_mean_by_tokens_at_length_one() -> None:
    found = combined([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [3, 1])
    assert found == pytest.approx([3 / math.sqrt(10), 1 / math.sqrt(10), 0.0], abs=1e-6)
    assert combined([[1.0, 0.0], [0.0, 1.0]], [0, 0]) == pytest.approx([math.sqrt(0.5)] * 2)
    half = combined([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [3, 1], dtype="float16")
    assert half == pytest.approx(found, abs=1e-3)


def test_vectors_that_cancel_each_other_out_give_the_one_of_most_weight() -> None:
    assert combined([[1.0, 0.0], [-1.0, 0.0]], [4, 4]) == [1.0, 0.0]


NUMBERS = st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4).filter(lambda row: math.hypot(*row) > 0.01)


@given(st.lists(st.tuples(NUMBERS, st.integers(1, 8192)), min_size=1, max_size=5))
def test_the_mean_of_unit_vectors_is_a_unit_vector_between_them(parts: list[tuple[list[float], int]]) -> None:
    unit = [[number / math.hypot(*row) for number in row] for row, _ in parts]
    weights = [weight for _, weight in parts]
    mean = [sum(row[place] * weight for row, weight in zip(unit, weights, strict=True)) for place in range(4)]
    assume(math.hypot(*mean) > 1e-3 * sum(weights))
    found = combined(unit, weights)
    assert math.hypot(*found) == pytest.approx(1, abs=1e-5)
    assert found == pytest.approx([number / math.hypot(*mean) for number in mean], abs=1e-3)


def test_a_single_piece_keeps_its_vector_to_the_bit() -> None:
    [vector] = vectors([[0.1, 0.2, 0.7]]).columns
    assert mean_vector(vector, [5]).equals(vector)


def answer(rows: list[list[float]]) -> bytes:
    encoded = [base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode() for row in rows]
    return json.dumps({"data": [{"index": place, "embedding": text} for place, text in enumerate(encoded)]}).encode()


def half(rows: list[list[float]]) -> pa.RecordBatch:
    return step(dtype="float16").read(answer(rows), ["text"] * len(rows)).columns


@given(st.lists(st.lists(st.floats(-60_000, 60_000, width=32), min_size=3, max_size=3), min_size=1, max_size=3))
def test_float16_rounds_to_the_nearest_number(rows: list[list[float]]) -> None:
    nearest = [list(struct.unpack("<3e", struct.pack("<3e", *row))) for row in rows]
    assume(all(any(row) for row in nearest))
    assert half(rows)["embedding"].to_pylist() == nearest


def test_the_column_of_float16_is_a_fixed_size_list_of_them() -> None:
    embed = step(dtype="float16")
    assert embed.columns_after({}) == {"embedding": "Array(Float16, 3)"}
    kind = half([[0.5, 0.25, 1.0]]).schema.field("embedding").type
    assert kind == embed.result_schema().field("embedding").type == vector_type(pa.float16(), 3)
    assert embed.content() != step().content()


@pytest.mark.parametrize("row", [[65_520.0, 0.0, 0.0], [1.0, -1e30, 1.0], [1e-9, -1e-9, 0.0]])
def test_numbers_that_float16_cannot_hold_are_an_invalid_answer_and_not_asked_again(row: list[float]) -> None:
    with pytest.raises(InvalidAnswer, match="use `dtype: float32`"):
        half([[0.5, 0.5, 0.5], row])
    assert half([[65_504.0, -65_504.0, 65_519.0]])["embedding"].to_pylist() == [[65_504.0, -65_504.0, 65_504.0]]


def test_float16_vectors_are_read_by_polars_pyarrow_and_duckdb(tmp_path: Path) -> None:
    rows = [[0.5, 0.25, 1.0], [0.125, -2.0, 3.0]]
    pq.write_table(pa.Table.from_batches([half(rows)]), tmp_path / "x.parquet", compression="zstd")
    read = pl.read_parquet(tmp_path / "x.parquet")
    assert read.schema == {"embedding": pl.Array(pl.Float16, 3)}
    assert read["embedding"].to_list() == rows
    assert pq.read_table(tmp_path / "x.parquet")["embedding"].type.list_size == 3
    found = duckdb.sql(f"SELECT embedding FROM '{tmp_path}/x.parquet'").fetchall()
    assert [list(row) for (row,) in found] == rows


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with (
        start() as server,
        httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.key}"}, timeout=30) as client,
    ):
        yield client


def embedded(http: httpx.Client, embed: Embed, texts: list[str]) -> pa.RecordBatch:
    response = http.post("/embeddings", content=embed.body(texts), headers={"Content-Type": "application/json"})
    assert response.status_code == 200, response.text
    return embed.read(response.content, texts).columns


def test_the_server_takes_what_was_cut_and_refuses_what_was_not(http: httpx.Client) -> None:
    embed = step(dimensions=64, overflow="truncate")
    [text] = embed.payloads(pl.DataFrame({"body": [LONG]})).to_list()
    assert embedded(http, embed, [text]).num_rows == 1
    refused = http.post("/embeddings", content=embed.body([LONG]), headers={"Content-Type": "application/json"})
    assert refused.status_code == 400


@pytest.mark.parametrize(("dtype", "near"), [("float32", 1e-6), ("float16", 1e-3)])
def test_the_vector_of_a_split_text_is_a_unit_vector_near_those_of_its_pieces(
    http: httpx.Client, dtype: str, near: float
) -> None:
    embed = step(dimensions=256, overflow="split", dtype=dtype)
    [texts] = embed.payloads(pl.DataFrame({"body": [LONG]})).to_list()
    assert len(texts) > 2
    parts = embedded(http, embed, texts)
    [vector] = embed.combine(parts, [EXACT.count(text) for text in texts])["embedding"].to_pylist()
    assert math.hypot(*vector) == pytest.approx(1, abs=near)
    first = parts["embedding"].to_pylist()[0]
    assert sum(one * other for one, other in zip(vector, first, strict=True)) > 0.95
