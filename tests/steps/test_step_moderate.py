"""`moderate` from YAML text: payloads, bodies, and every answer a server may send."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from step_calls import finished

from penstock.engine.prices import usd_of
from penstock.errors import FileChanged, UnusableAnswer
from penstock.items import Cause, Usage
from penstock.steps.categories import CATEGORIES
from penstock.steps.moderate import Moderate

Make = Callable[[str], Any]
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
NAMES = ["flagged", "flagged_categories", "categories", "category_scores", "other_categories"]


def step(**settings: Any) -> Moderate:
    return Moderate.model_validate({"uses": "moderate", "input": "{{ body }}", **settings})


def result(flagged: bool = False, scores: dict[str, Any] | None = None, **verdicts: bool | None) -> dict[str, Any]:
    hits = {name.replace("__", "/").replace("_", "-"): hit for name, hit in verdicts.items()}
    return {
        "flagged": flagged,
        "categories": {**dict.fromkeys(CATEGORIES, False), **hits},
        "category_scores": {**dict.fromkeys(CATEGORIES, 0.01), **(scores or {})},
        "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
    }


def answer(*results: Any, **more: Any) -> bytes:
    return json.dumps({"id": "modr-1", "model": "omni-moderation-2024-09-26", "results": results, **more}).encode()


def rows(body: bytes, count: int = 1, **settings: Any) -> list[dict[str, Any]]:
    moderate = step(**settings)
    return finished(moderate, moderate.read(body, ["text"] * count).columns)


def test_the_columns_are_five_and_their_types_are_fixed(step_of: Make) -> None:
    moderate = step_of('uses: moderate\ninput: "{{ body }}"\n')
    after = moderate.columns_after({"body": "String"})
    kinds = ["Boolean", "List(String)", "Struct", "Struct", "List(Struct)"]
    assert after == {"body": "String", **dict(zip(NAMES, kinds, strict=True))}
    assert moderate.result_schema().names == NAMES
    assert [field.name for field in moderate.result_schema().field("categories").type] == list(CATEGORIES)


def test_a_prefix_keeps_two_moderations_of_one_row_apart() -> None:
    first, second = step(), step(prefix="title_")
    after = first.columns_after({})
    with pytest.raises(ValueError, match=r"'flagged' exists already; give the new ones a `prefix`"):
        first.columns_after(after)
    assert list(second.columns_after(after)) == [*NAMES, *(f"title_{name}" for name in NAMES)]
    assert second.read(answer(result()), ["a"]).columns.schema.names == [f"title_{name}" for name in NAMES]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"input": None}, "give it an `input`, an `image`, or both"),
        ({"input": ""}, "at least 1 character"),
        ({"image": "{{ p }}", "model": "text-moderation-latest"}, "takes no image"),
        ({"thresholds": {"self_harm": 0.2}}, "has no category 'self_harm'; it has harassment"),
        ({"thresholds": {"illicit": 0.2}, "model": "text-moderation-stable"}, "has no category 'illicit'"),
        ({"thresholds": {"violence": 1.2}}, "is not a share"),
        ({"thresholds": {"violence": "110%"}}, "is not a share"),
        ({"batch_size": 0}, "greater than or equal to 1"),
        ({"threshold": {}}, "Extra inputs"),
    ],
)
def test_settings_out_of_bounds_are_mistakes(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        step(**wrong)


def test_models_of_others_may_have_categories_of_their_own() -> None:
    assert step(model="llama-guard", thresholds={"weapons": "20%"}).thresholds == {"weapons": 0.2}


def test_many_texts_go_in_one_request_as_an_array() -> None:
    body = json.loads(step(extra_body={"user": "job"}).body(["a", '{"text": "b"}', "é\u0000"]))
    assert body == {"model": "omni-moderation-latest", "input": ["a", '{"text": "b"}', "é\u0000"], "user": "job"}
    assert step().packing.max_items == 32
    assert step(batch_size=1).packing.max_items == 1


@given(st.lists(st.text(min_size=1) | st.sampled_from(['{"url": "https://x/y.png"}', '{"file": "/etc/passwd"}', "{"])))
def test_a_text_is_sent_as_the_text_it_is_whatever_it_looks_like(texts: list[str]) -> None:
    moderate = step()
    payloads = moderate.payloads(pl.DataFrame({"body": texts}, schema={"body": pl.String})).to_list()
    assert json.loads(moderate.body(payloads))["input"] == texts


@given(st.text())
def test_beside_an_image_a_text_is_still_the_text_it_is(text: str) -> None:
    moderate = step(image="{{ photo }}")
    frame = pl.DataFrame({"body": [text], "photo": ["https://example.com/a.png"]})
    parts = json.loads(moderate.body(moderate.payloads(frame).to_list()))["input"]
    assert parts[-1] == {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    assert parts[:-1] == ([{"type": "text", "text": text}] if text.strip() else [])


def test_an_image_file_is_sent_as_a_data_url_and_read_when_it_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "a b.png"
    file.write_bytes(PNG)
    moderate = step(input=None, image="{{ photo }}", folder=str(tmp_path))
    payloads = moderate.payloads(pl.DataFrame({"photo": ["a b.png", str(file)]})).to_list()
    assert payloads[0] == payloads[1], "one file is asked once, however it is named"
    url = json.loads(moderate.body(payloads[:1]))["input"][0]["image_url"]["url"]
    assert url == "data:image/png;base64," + base64.b64encode(PNG).decode()
    file.write_bytes(PNG + b"more")
    changed = moderate.payloads(pl.DataFrame({"photo": ["a b.png"]})).to_list()
    assert changed != payloads[:1], "other content is another question"


def test_the_type_of_an_image_is_that_of_its_content_not_of_its_name(tmp_path: Path) -> None:
    kinds = {"png": PNG, "jpeg": b"\xff\xd8\xff\xe0rest", "gif": b"GIF89a rest", "webp": b"RIFF\x04\0\0\0WEBPrest"}
    moderate = step(input=None, image="{{ photo }}", folder=str(tmp_path))
    for kind, content in kinds.items():
        (tmp_path / "image.bin").write_bytes(content)
        [payload] = moderate.payloads(pl.DataFrame({"photo": ["image.bin"]})).to_list()
        url = json.loads(moderate.body([payload]))["input"][0]["image_url"]["url"]
        assert url.startswith(f"data:image/{kind};base64,")


def unreadable(folder: Path) -> dict[str, tuple[str, str]]:
    (folder / "secret.txt").write_text("key=value, and more than twelve bytes")
    (folder / "empty.png").touch()
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    with (folder / "large.png").open("wb") as file:
        file.write(PNG)
        file.truncate(20_000_001)
    return {
        "missing": ("none.png", "No such file"),
        "no image": ("secret.txt", "is no PNG, JPEG, GIF or WebP image"),
        "empty": ("empty.png", "is no PNG"),
        "a folder": ("folder.png", "is not a file"),
        "a pipe that nobody writes": ("pipe.png", "is not a file"),
        "too large": ("large.png", "20,000,001 bytes"),
        "a null byte": ("a\0.png", "cannot be read"),
        "a very long name": ("x" * 5000, "cannot be read"),
        "another scheme": ("s3://bucket/a.png", "neither an http"),
        "data of another kind": ("data:text/html;base64,AAAA", "neither an http"),
        "spaces in an address": ("https://example.com/a b.png", "neither an http"),
    }


def test_an_image_that_cannot_be_read_is_an_error_of_its_row_before_any_request(tmp_path: Path) -> None:
    moderate = step(image="{{ photo }}", folder=str(tmp_path))
    for name, (place, why) in unreadable(tmp_path).items():
        frame = pl.DataFrame({"body": ["text"], "photo": [place]})
        assert moderate.payloads(frame).to_list() == [None], name
        fault = moderate.payload_error({"body": "text", "photo": place})
        assert fault.cause is Cause.UNREADABLE_FILE, name
        assert why in fault.message, name


def test_an_image_that_is_changed_or_gone_before_its_request_stops_the_run_until_it_is_looked_at_again(
    tmp_path: Path,
) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(PNG)
    moderate = step(image="{{ photo }}", folder=str(tmp_path))
    payloads = moderate.payloads(pl.DataFrame({"body": ["x"], "photo": ["a.png"]})).to_list()
    file.write_bytes(PNG + b"more")
    with pytest.raises(FileChanged, match="was changed since it was looked at"):
        moderate.body(payloads)
    file.unlink()
    with pytest.raises(FileChanged, match="No such file"):
        moderate.body(payloads)


def test_a_row_without_text_and_image_has_nothing_to_ask() -> None:
    moderate = step(image="{{ photo }}")
    frame = pl.DataFrame({"body": [" ", "x", None], "photo": [None, "", "https://example.com/a.png"]})
    nothing, text, image = moderate.payloads(frame).to_list()
    assert moderate.is_empty(nothing)
    assert not moderate.is_empty(text)
    assert json.loads(moderate.body([text]))["input"] == ["x"]
    assert [part["type"] for part in json.loads(moderate.body([image]))["input"]] == ["image_url"]
    assert moderate.packing.max_items == 1


def test_a_template_that_fails_on_a_row_says_why() -> None:
    moderate = step(input="{{ 6 / n }}", image="{{ photo }}")
    frame = pl.DataFrame({"n": [0], "photo": ["https://example.com/a.png"]})
    assert moderate.payloads(frame).to_list() == [None]
    assert "division by zero" in moderate.payload_error({"n": 0, "photo": None}).message


def test_an_image_counts_tokens_beside_its_text() -> None:
    moderate = step(image="{{ photo }}")
    frame = pl.DataFrame({"body": ["abc", "abc", None], "photo": ["https://e.org/a.png", None, "https://e.org/a.png"]})
    payloads = moderate.payloads(frame).to_list()
    assert moderate.tokens(payloads, lambda texts: [len(text) for text in texts]) == [768, 3, 765]
    assert step().tokens(["abc"], lambda texts: [len(text) for text in texts]) == [3]


def test_how_texts_are_packed_and_where_images_are_found_is_no_part_of_the_fingerprint() -> None:
    assert step(batch_size=1).content() == step(folder="/photos").content() == step().content()
    assert step(thresholds={"violence": 0.1}).content() != step().content()


def test_verdicts_come_in_the_order_of_the_inputs_with_the_model_as_answered() -> None:
    body = answer(result(), result(True, violence=True, scores={"violence": 0.9}), result())
    read = step().read(body, ["a", "b", "c"])
    assert read.usage == Usage(model="omni-moderation-2024-09-26")
    assert read.columns["flagged"].to_pylist() == [False, True, False]
    assert read.columns["flagged_categories"].to_pylist() == [[], ["violence"], []]
    assert read.columns["category_scores"].to_pylist()[1]["violence"] == 0.9
    assert read.columns["other_categories"].null_count == 3
    assert read.columns.schema == step().result_schema()


def test_moderation_costs_nothing_which_is_known_and_not_unknown() -> None:
    assert usd_of(Usage(model="omni-moderation-2024-09-26"), "omni-moderation-latest") == 0.0


def test_what_the_service_leaves_out_is_null() -> None:
    bare = {"flagged": False, "categories": {"violence": False, "illicit": None}, "category_scores": {"hate": 0.1}}
    [row] = rows(answer(bare), input_types=True)
    assert row["categories"] == {**dict.fromkeys(CATEGORIES), "violence": False}
    assert row["category_scores"] == {**dict.fromkeys(CATEGORIES), "hate": 0.1}
    assert row["category_applied_input_types"] == dict.fromkeys(CATEGORIES)


def test_categories_that_are_not_known_yet_are_kept_and_speak() -> None:
    future = result(True, scores={"fraud": 0.8, "spam": 0.2}, fraud=True)
    [row] = rows(answer(future))
    assert row["other_categories"] == [
        {"category": "fraud", "flagged": True, "score": 0.8},
        {"category": "spam", "flagged": None, "score": 0.2},
    ]
    assert row["flagged_categories"] == ["fraud"]


def test_input_types_are_a_column_when_asked_for() -> None:
    [row] = rows(answer(result()), input_types=True)
    assert list(row) == [*NAMES, "category_applied_input_types"]
    assert row["category_applied_input_types"]["sexual"] == ["text"]


@pytest.mark.parametrize(
    ("thresholds", "verdict", "flagged", "by"),
    [
        ({}, result(True, violence=True), True, ["violence"]),
        ({}, result(True), True, []),
        ({}, result(False, violence=True), False, ["violence"]),
        ({"violence": 0.5}, result(True, violence=True, scores={"violence": 0.4}), False, []),
        ({"violence": 0.5}, result(False, scores={"violence": 0.5}), True, ["violence"]),
        ({"violence": 0.5}, result(True, violence=True, hate=True, scores={"violence": 0.4}), True, ["hate"]),
        ({"violence": 0.5}, result(True), True, []),
        ({"violence": 0.0, "hate": 1.0}, result(False), True, ["violence"]),
        ({"self-harm/intent": 0.2}, result(False, scores={"self-harm/intent": 0.3}), True, ["self-harm/intent"]),
    ],
)
def test_a_threshold_goes_before_the_verdict_on_its_category_only(
    thresholds: dict[str, float], verdict: dict[str, Any], flagged: bool, by: list[str]
) -> None:
    [row] = rows(answer(verdict), thresholds=thresholds)
    assert (row["flagged"], row["flagged_categories"]) == (flagged, by)
    assert {name: row["categories"][name] for name in CATEGORIES} == verdict["categories"], "kept as the service said"


def changed(**fields: Any) -> dict[str, Any]:
    return {**result(), **fields}


BAD: dict[str, tuple[bytes, int]] = {
    "too few": (answer(result()), 2),
    "too many": (answer(result(), result()), 1),
    "none": (answer(), 1),
    "a score over 1": (answer(result(scores={"hate": 1.5})), 1),
    "a score under 0": (answer(result(scores={"hate": -0.1})), 1),
    "NaN": (answer(result(scores={"hate": float("nan")})), 1),
    "infinity": (answer(result()).replace(b"0.01", b"1e999", 1), 1),
    "an endless number": (answer(result()).replace(b"0.01", b"9" * 400, 1), 1),
    "a score of an unknown category over 1": (answer(result(scores={"spam": 7})), 1),
    "a score as text": (answer(result(scores={"hate": "0.5"})), 1),
    "a verdict as number": (answer(changed(categories={"hate": 1})), 1),
    "flagged as text": (answer(changed(flagged="yes")), 1),
    "no flagged": (answer({"categories": {}, "category_scores": {}}), 1),
    "no scores": (answer({"flagged": True, "categories": {}}), 1),
    "no categories": (answer({"flagged": True, "category_scores": {}}), 1),
    "results no list": (b'{"results": {}}', 1),
    "no results": (b'{"id": "modr-1"}', 1),
    "a null result": (answer(None), 1),
    "an error object": (b'{"error": {"message": "busy"}}', 1),
    "HTML": (b"<html>502 Bad Gateway</html>", 1),
    "cut JSON": (answer(result())[:-20], 1),
    "an empty body": (b"", 1),
    "null": (b"null", 1),
    "not UTF-8": (b'{"results": "\xff"}', 1),
    "endless nesting": (b'{"x": ' + b"[" * 100_000, 1),
}


@pytest.mark.parametrize(("body", "count"), BAD.values(), ids=BAD)
def test_an_answer_that_is_not_whole_and_right_is_unusable(body: bytes, count: int) -> None:
    with pytest.raises(UnusableAnswer):
        rows(body, count)


def test_a_threshold_without_a_score_to_hold_it_against_is_never_passed_over() -> None:
    bare = {"flagged": False, "categories": {"violence": False}, "category_scores": {"violence": None}}
    assert rows(answer(bare))[0]["flagged"] is False
    with pytest.raises(UnusableAnswer, match="no score came for 'violence'"):
        rows(answer(bare), thresholds={"violence": 0.9})


WORDS = ["results", "flagged", "categories", "category_scores", "category_applied_input_types", "hate", "new", "model"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=6),
    max_leaves=25,
)
RESULT = st.fixed_dictionaries(
    {"flagged": st.booleans() | JSON},
    optional={
        "categories": st.dictionaries(st.sampled_from([*CATEGORIES, "new"]), st.booleans() | st.none() | JSON),
        "category_scores": st.dictionaries(st.sampled_from([*CATEGORIES, "new"]), st.floats(0, 1) | JSON),
        "category_applied_input_types": st.none() | st.dictionaries(st.sampled_from(CATEGORIES), JSON),
    },
)
NEARLY = st.fixed_dictionaries({"results": st.lists(RESULT, min_size=1, max_size=2), "model": JSON})


@given(
    (JSON | NEARLY).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60),
    st.sampled_from([{}, {"hate": 0.5}]),
)
def test_any_body_is_verdicts_or_an_unusable_answer(body: bytes, thresholds: dict[str, float]) -> None:
    moderate = step(thresholds=thresholds, input_types=True)
    try:
        read = moderate.read(body, ["text"]).columns
    except UnusableAnswer:
        return
    read.validate(full=True)
    assert read.num_rows == 1
    assert read.schema == moderate.result_schema()
    scores = [score for score in read["category_scores"].to_pylist()[0].values() if score is not None]
    assert all(0 <= score <= 1 for score in scores)


VERDICT = st.tuples(
    st.booleans(),
    st.dictionaries(st.sampled_from([*CATEGORIES, "new"]), st.booleans()),
    st.dictionaries(st.sampled_from([*CATEGORIES, "new"]), st.floats(0, 1)),
)


@given(st.lists(VERDICT, min_size=1, max_size=4))
def test_nothing_that_the_service_said_is_lost(verdicts: list[tuple[bool, dict[str, bool], dict[str, float]]]) -> None:
    results = [{"flagged": hit, "categories": names, "category_scores": scores} for hit, names, scores in verdicts]
    for row, (hit, names, scores) in zip(rows(answer(*results), len(results)), verdicts, strict=True):
        others = row["other_categories"] or []
        told = {name: value for name, value in row["categories"].items() if value is not None}
        told |= {one["category"]: one["flagged"] for one in others if one["flagged"] is not None}
        scored = {name: value for name, value in row["category_scores"].items() if value is not None}
        scored |= {one["category"]: one["score"] for one in others if one["score"] is not None}
        assert (row["flagged"], told, scored) == (hit, names, scores)
