"""`embed` from YAML text: payloads, bodies, and every answer a server may send."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, StrictUndefined
from pydantic import ValidationError

from penstock.errors import UnusableAnswer
from penstock.items import Usage
from penstock.steps.embed import Embed
from penstock.steps.vectors import read_vectors

Make = Callable[[str], Any]
YAML = 'uses: embed\ninput: "{{ title }}. {{ body }}"\nmodel: m\ndimensions: 3\n'


def step(**settings: Any) -> Embed:
    return Embed.model_validate({"uses": "embed", "input": "{{ body }}", "model": "m", "dimensions": 3, **settings})


def encoded(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def answer(vectors: list[Any], *, indexes: list[Any] | None = None, **more: Any) -> bytes:
    numbers = range(len(vectors)) if indexes is None else indexes
    data = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in zip(numbers, vectors, strict=True)
    ]
    usage = {"prompt_tokens": 7, "total_tokens": 7}
    return json.dumps({"object": "list", "data": data, "model": "m-2", "usage": usage, **more}).encode()


def read(body: bytes, count: int, **settings: Any) -> list[list[float]]:
    batch = step(**settings).read(body, ["text"] * count).columns
    vectors: list[list[float]] = batch.column(0).to_pylist()
    return vectors


def test_the_column_is_a_fixed_size_list_and_may_not_exist_yet(step_of: Make) -> None:
    embed = step_of(YAML)
    assert embed.columns_after({"title": None}) == {"title": None, "embedding": "Array(Float32, 3)"}
    with pytest.raises(ValueError, match="'embedding' exists already"):
        embed.columns_after({"embedding": None})


def test_the_size_is_known_for_models_that_document_it_and_unknown_for_others() -> None:
    assert step(model="text-embedding-3-large", dimensions=None).size == 3072
    assert step(model="text-embedding-3-large", dimensions=256).size == 256
    assert step(model="nomic", dimensions=None).size is None
    assert step(model="nomic", dimensions=None).columns_after({}) == {"embedding": None}


@pytest.mark.parametrize(
    "wrong",
    [
        {"dimensions": 0},
        {"dimensions": 1.5},
        {"batch_size": 2049},
        {"batch_size": 0},
        {"input": ""},
        {"output": ""},
        {"extra": 1},
        {"id": "Not good"},
        {"model": None},
        {"concurrency": 0},
        {"model": "text-embedding-ada-002", "dimensions": 512},
        {"model": "text-embedding-3-small", "dimensions": 1537},
    ],
)
def test_settings_out_of_bounds_are_mistakes(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        step(**wrong)


def test_the_body_holds_texts_model_dimensions_and_asks_for_base64() -> None:
    body = json.loads(step(extra_body={"user": "job"}).body(["a", "é\u0000", ""]))
    assert body == {
        "model": "m",
        "input": ["a", "é\u0000", ""],
        "encoding_format": "base64",
        "dimensions": 3,
        "user": "job",
    }
    assert "dimensions" not in json.loads(step(dimensions=None).body(["a"]))


def test_extra_body_goes_over_what_the_step_says() -> None:
    assert json.loads(step(extra_body={"encoding_format": "float"}).body(["a"]))["encoding_format"] == "float"


def test_how_many_texts_go_in_one_request_is_no_part_of_the_fingerprint() -> None:
    assert step(batch_size=1).content() == step(batch_size=64).content()
    assert step(dimensions=4).content() != step().content()


@pytest.mark.parametrize("how", [encoded, list], ids=["base64", "floats"])
def test_vectors_come_as_base64_or_floats(how: Callable[[list[float]], Any]) -> None:
    given_vectors = [[0.5, -1.0, 2.0], [1.0, 0.0, 0.25]]
    assert read(answer([how(vector) for vector in given_vectors]), 2) == given_vectors


@pytest.mark.parametrize("how", [encoded, list], ids=["base64", "floats"])
def test_vectors_are_ordered_by_their_index(how: Callable[[list[float]], Any]) -> None:
    body = answer([how([2.0, 0, 0]), how([0.5, 0, 0]), how([1.0, 0, 0])], indexes=[2, 0, 1])
    assert [vector[0] for vector in read(body, 3)] == [0.5, 1.0, 2.0]


def test_without_indexes_the_order_is_that_of_the_answer() -> None:
    body = json.dumps({"data": [{"embedding": encoded([1.0, 0, 0])}, {"embedding": encoded([2.0, 0, 0])}]}).encode()
    assert [vector[0] for vector in read(body, 2)] == [1.0, 2.0]


def test_usage_and_the_model_as_answered_are_read() -> None:
    result = step().read(answer([encoded([1.0, 0, 0])]), ["a"])
    assert result.usage == Usage(model="m-2", prompt_tokens=7)
    bare = step().read(json.dumps({"data": [{"embedding": [1, 2, 3]}]}).encode(), ["a"])
    assert bare.usage == Usage(model=None, prompt_tokens=0)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (None, 0),
        ({}, 0),
        ({"prompt_tokens": None, "total_tokens": None}, 0),
        ({"prompt_tokens": 5, "total_tokens": None}, 5),
        ({"prompt_tokens": 5.0}, 5),
        ({"prompt_tokens": -5}, 0),
        ({"prompt_tokens": 10**12}, 0),
    ],
)
def test_a_usage_that_is_no_count_costs_no_paid_vector(usage: Any, tokens: int) -> None:
    body = json.dumps({"data": [{"index": 0, "embedding": [0.5, 1.0]}], "usage": usage}).encode()
    assert read_vectors(body, 1, 2).prompt_tokens == tokens


def test_a_memoryview_is_read_like_bytes() -> None:
    assert step().read(memoryview(answer([encoded([1.0, 0, 0])])), ["a"]).columns.num_rows == 1


def test_without_known_dimensions_the_first_vector_gives_the_size() -> None:
    assert read(answer([[1, 2], [3, 4]]), 2, dimensions=None) == [[1.0, 2.0], [3.0, 4.0]]


GOOD = encoded([1.0, 2.0, 3.0])
BAD: dict[str, tuple[bytes, int]] = {
    "too few": (answer([GOOD]), 2),
    "too many": (answer([GOOD, GOOD]), 1),
    "none": (answer([]), 1),
    "an index twice": (answer([GOOD, GOOD], indexes=[0, 0]), 2),
    "an index too high": (answer([GOOD, GOOD], indexes=[0, 2]), 2),
    "a negative index": (answer([GOOD], indexes=[-1]), 1),
    "an index that is text": (answer([GOOD], indexes=["a"]), 1),
    "wrong dimension": (answer([encoded([1.0, 2.0])]), 1),
    "wrong dimension of floats": (answer([[1.0, 2.0, 3.0, 4.0]]), 1),
    "different dimensions": (answer([GOOD, encoded([1.0])]), 2),
    "no whole numbers of bytes": (answer([base64.b64encode(b"12345").decode()]), 1),
    "empty vector": (answer([""]), 1),
    "empty list": (answer([[]]), 1),
    "NaN": (answer([encoded([1.0, math.nan, 1.0])]), 1),
    "infinity": (answer([encoded([1.0, math.inf, 1.0])]), 1),
    "both infinities": (answer([encoded([math.inf, -math.inf, 1.0])]), 1),
    "NaN in a later vector": (answer([GOOD, encoded([math.nan, 1.0, 1.0])]), 2),
    "all zeros": (answer([encoded([0.0, 0.0, 0.0])]), 1),
    "all zeros as floats": (answer([[0.0, 0.0, 0.0]]), 1),
    "a zero vector among others": (answer([GOOD, encoded([0.0, 0.0, 0.0])]), 2),
    "all negative zeros": (answer([encoded([-0.0, -0.0, 0.0])]), 1),
    "a float over float32": (answer([[1e39, 1.0, 1.0]]), 1),
    "bare NaN in JSON": (answer([[1.0, math.nan, 1.0]]), 1),
    "nested lists per token": (answer([[[1.0, 2.0, 3.0]]]), 1),
    "nulls": (answer([None]), 1),
    "not base64": (answer(["***!"]), 1),
    "text in a vector": (answer([["1", "2", "3"]]), 1),
    "mixed kinds": (answer([GOOD, [1.0, 2.0, 3.0]]), 2),
    "no data": (b'{"object": "list"}', 1),
    "an error object": (b'{"error": {"message": "busy"}}', 1),
    "an error text": (b'{"error": "busy"}', 1),
    "HTML": (b"<html>502 Bad Gateway</html>", 1),
    "cut JSON": (answer([GOOD])[:-20], 1),
    "an empty body": (b"", 1),
    "a list": (b"[]", 1),
    "null": (b"null", 1),
    "a byte order mark": (b"\xef\xbb\xbf" + answer([GOOD]), 1),
    "not UTF-8": (b'{"data": "\xff"}', 1),
    "endless nesting": (b'{"x": ' + b"[" * 100_000, 1),
}


@pytest.mark.parametrize(("body", "count"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("dimensions", [3, None])
def test_an_answer_that_is_not_whole_and_right_is_unusable(body: bytes, count: int, dimensions: int | None) -> None:
    if dimensions is None and body in {BAD["wrong dimension"][0], BAD["wrong dimension of floats"][0]}:
        pytest.skip("without dimensions any size is right")
    with pytest.raises(UnusableAnswer):
        read(body, count, dimensions=dimensions)


def test_numbers_whose_sum_is_not_finite_can_be_finite_themselves() -> None:
    large = [3e38, 3e38, 3e38]
    assert read(answer([encoded(large)]), 1)[0] == pytest.approx(large)


FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
VECTORS = st.lists(st.lists(FINITE, min_size=3, max_size=3).filter(any), min_size=1, max_size=5)


@given(VECTORS, st.randoms(), st.booleans())
def test_every_whole_answer_reads_back_exactly_in_any_order(
    vectors: list[list[float]], random: Any, as_floats: bool
) -> None:
    order = list(range(len(vectors)))
    random.shuffle(order)
    shown = [vectors[number] if as_floats else encoded(vectors[number]) for number in order]
    assert read(answer(shown, indexes=order), len(vectors)) == vectors


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=8) | st.just(GOOD),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["data", "embedding", "index", "usage"]), inner)
    ),
    max_leaves=20,
)


@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60), st.sampled_from([3, None]))
def test_any_body_is_vectors_or_an_unusable_answer(body: bytes, dimensions: int | None) -> None:
    try:
        vectors = read(body, 1, dimensions=dimensions)
    except UnusableAnswer:
        return
    assert len(vectors) == 1
    assert all(map(math.isfinite, vectors[0]))


FRAME = pl.DataFrame({"title": ["A", None, "C"], "body": ["x", "y", None], "n": [1, None, 3], "f": [0.5, None, 2.0]})


@pytest.mark.parametrize(
    ("template", "texts"),
    [
        ("{{ title }}. {{ body }}", ["A. x", ". y", "C. "]),
        ("{{ n }}", ["1", "", "3"]),
        ("{{ f }}", ["0.5", "", "2.0"]),
        ("{{ body | upper }}", ["X", "Y", ""]),
        ("{{ body | replace('x', 'z') | trim }}", ["z", "y", ""]),
        ("{{ [title, body, n] | join('-') }}", ["A-x-1", "y", "C-3"]),
        ("{{ body or 'none' }}", ["x", "y", "none"]),
        ("{% if n %}{{ n * 2 }}{% endif %}", ["2", "", "6"]),
    ],
)
def test_a_null_renders_as_nothing(template: str, texts: list[str]) -> None:
    assert step(input=template).payloads(FRAME).to_list() == texts


def test_a_row_whose_template_fails_has_no_payload_and_says_why() -> None:
    embed = step(input="{{ 6 / n }}")
    frame = pl.DataFrame({"n": [2, 0, None]})
    assert embed.payloads(frame).to_list() == ["3.0", None, None]
    assert "division by zero" in embed.payload_error({"n": 0}).message
    assert embed.payload_error({"n": 1}).message == "the template gave no text"


def test_no_rows_give_no_payloads() -> None:
    assert step().payloads(pl.DataFrame({"body": []}, schema={"body": pl.String})).to_list() == []


TEXT = st.text(alphabet="ab{}%#$ \n\t'\"\\é😀", max_size=8)
PLAIN = st.lists(
    st.sampled_from(["{{ title }}", "{{body}}", "{{ n }}", ". ", "\n", "é ", "%", "{ "]), min_size=1, max_size=6
)


@given(PLAIN.map("".join), st.lists(st.tuples(TEXT, TEXT, st.integers(-(2**40), 2**40)), min_size=1, max_size=4))
def test_plain_templates_run_by_polars_give_what_jinja_gives(template: str, rows: list[tuple[str, str, int]]) -> None:
    schema = {"title": pl.String, "body": pl.String, "n": pl.Int64}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    jinja = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False).from_string(template)  # noqa: S701  # no HTML
    expected = [jinja.render(row) for row in frame.iter_rows(named=True)]
    assert step(input=template).payloads(frame).to_list() == expected
