"""`image`: bodies, names of columns and files, and every answer a server may send."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from step_calls import answered, asked

from penstock.engine.prices import price, usd_of
from penstock.errors import UnusableAnswer
from penstock.items import Answer, Cause, Usage
from penstock.sandbox.launch import SandboxProcess, start
from penstock.steps.image import Image

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def step(**settings: Any) -> Image:
    given_ = {"uses": "image", "prompt": "A {{ product }}.", "folder": "out", "file_name": "{{ id }}", **settings}
    return Image.model_validate(given_)


def answer(*pictures: Any, **more: Any) -> bytes:
    data = [{"b64_json": base64.b64encode(each).decode(), "revised_prompt": "Revised."} for each in pictures]
    return json.dumps({"created": 1, "data": data, **more}).encode()


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxProcess]:
    with start() as process:
        yield process


def test_one_picture_is_a_path_a_size_and_the_prompt_as_it_was_drawn() -> None:
    image = step(output="picture")
    assert image.columns_after({"id": None}) == {
        "id": None, "picture_path": "String", "picture_bytes": "Int64", "picture_revised_prompt": "String",
    }  # fmt: skip
    assert image.added_schema().names == [
        "picture_path", "picture_bytes", "picture_revised_prompt", "image_usage",
    ]  # fmt: skip
    assert (image.saved[0].name, image.saved[0].ending) == ("{{ id }}", ".png")
    with pytest.raises(ValueError, match="'path' exists already"):
        step().columns_after({"path": None})


def test_several_pictures_are_numbered() -> None:
    image = step(model="gpt-image-1", n=2, format="jpeg")
    assert list(image.columns_after({})) == [
        "path_1", "bytes_1", "revised_prompt_1", "path_2", "bytes_2", "revised_prompt_2",
    ]  # fmt: skip
    assert [(file.name, file.ending) for file in image.saved] == [("{{ id }}-1", ".jpg"), ("{{ id }}-2", ".jpg")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 2},
        {"n": 0},
        {"model": "dall-e-2", "n": 11},
        {"size": "512x512"},
        {"size": "large"},
        {"quality": "high"},
        {"format": "webp"},
        {"model": "dall-e-2", "style": "vivid"},
        {"style": "odd"},
        {"prompt": ""},
        {"size": "auto"},
        {"model": "dall-e-2", "size": "1792x1024"},
        {"model": "dall-e-2", "quality": "hd"},
        {"model": "gpt-image-1", "size": "1792x1024"},
        {"model": "gpt-image-1", "quality": "hd"},
        {"model": "gpt-image-1-mini", "style": "vivid"},
    ],
)
def test_settings_that_the_model_does_not_take_are_mistakes(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        step(**wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"size": "512x512"}, "dall-e-3 takes 1024x1024 or 1792x1024 or 1024x1792"),
        ({"model": "gpt-image-1", "quality": "standard"}, "gpt-image-1 takes auto or low or medium or high"),
        ({"model": "gpt-image-1", "style": "natural"}, "gpt-image-1 takes none; leave it out, or take dall-e-3"),
        ({"n": 2}, "dall-e-3 draws one picture at a time"),
    ],
    ids=["size", "quality", "style", "number"],
)
def test_a_setting_that_the_model_does_not_take_is_told_with_those_it_takes(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        step(**wrong)


def test_of_a_model_that_is_not_known_anything_is_sent() -> None:
    image = step(model="flux", size="640x480", quality="best", format="webp", n=3)
    assert json.loads(image.body(["A"]))["size"] == "640x480"


def test_the_picture_is_asked_for_in_the_answer_itself() -> None:
    assert json.loads(step(style="natural", size="1792x1024").body(["A kettle."])) == {
        "model": "dall-e-3", "prompt": "A kettle.", "n": 1, "size": "1792x1024", "style": "natural",
        "response_format": "b64_json",
    }  # fmt: skip
    modern = json.loads(step(model="gpt-image-1", quality="low", format="webp", extra_body={"user": "u"}).body(["A"]))
    assert modern == {
        "model": "gpt-image-1", "prompt": "A", "n": 1, "quality": "low", "output_format": "webp", "user": "u",
    }  # fmt: skip


def test_a_template_that_fails_on_a_row_is_an_error_of_that_row() -> None:
    image = step(prompt="{{ product }}{{ 1 / id }}")
    frame = pl.DataFrame({"product": ["a", "b"], "id": [0, 1]})
    assert image.payloads(frame).to_list() == [None, "b1.0"]
    assert image.payload_error({"product": "a", "id": 0}).cause is Cause.EXPRESSION


def test_what_a_picture_costs_is_known_by_quality_and_size() -> None:
    usage = step(quality="hd", size="1024x1792").read(answer(PNG), ["A"]).usage
    assert usd_of(usage, "dall-e-3") == pytest.approx(0.12)
    assert usd_of(step().read(answer(PNG), ["A"]).usage, "dall-e-3") == pytest.approx(0.04)
    two = step(model="dall-e-2", n=2, size="256x256")
    assert usd_of(two.read(answer(PNG, PNG), ["A"]).usage, "dall-e-2") == pytest.approx(0.032)
    assert price("dall-e-2 standard 256x256", two.expected("A")) == pytest.approx(0.032)


def test_tokens_of_models_that_count_them_are_kept() -> None:
    body = answer(PNG, usage={"input_tokens": 9, "output_tokens": 1056, "total_tokens": 1065})
    usage = step(model="gpt-image-1").read(body, ["A"]).usage
    assert usage == Usage(prompt_tokens=9, completion_tokens=1056, images=1)
    assert usd_of(usage, "gpt-image-1") == pytest.approx(9 * 5e-6 + 1056 * 40e-6)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>busy</html>", b"null", b"[]", b'{"data": []}', b'{"error": {"message": "no"}}',
        b'{"data": [{"url": "http://127.0.0.1/x.png"}]}', b'{"data": [{}]}', b'{"data": [{"b64_json": "!!"}]}',
        answer(b""), answer(b"GIF89a"), answer(b"<html>"), answer(PNG, PNG), answer(PNG, error={"message": "x"}),
        answer(PNG)[:-5],
    ],
)  # fmt: skip
def test_what_is_no_picture_is_unusable(body: bytes) -> None:
    with pytest.raises(UnusableAnswer):
        step().read(body, ["A"])


@pytest.mark.parametrize(
    ("form", "content", "right"),
    [
        ("jpeg", b"\xff\xd8\xff\xe0", True), ("jpeg", PNG, False), ("webp", b"RIFF\0\0\0\0WEBPVP8 ", True),
        ("webp", b"RIFF\0\0\0\0WAVEfmt ", False),
    ],
)  # fmt: skip
def test_a_picture_is_of_the_format_that_was_asked_for(form: str, content: bytes, right: bool) -> None:
    image = step(model="gpt-image-1", format=form)
    if right:
        assert image.read(answer(content), ["A"]).columns.column(0).to_pylist() == [content]
    else:
        with pytest.raises(UnusableAnswer, match=f"no {form} picture"):
            image.read(answer(content), ["A"])


_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["data", "b64_json", "usage", "input_tokens"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.binary(max_size=60) | _VALUES.map(lambda value: json.dumps(value).encode())
       | _VALUES.map(lambda value: answer(PNG, usage=value)))  # fmt: skip
def test_any_bytes_are_an_answer_or_unusable(body: bytes) -> None:
    try:
        found = step().read(body, ["A"])
    except UnusableAnswer:
        return
    assert isinstance(found, Answer)
    assert found.columns.column(0).to_pylist() == [PNG]


@pytest.mark.parametrize(
    "settings",
    [{}, {"quality": "hd", "style": "natural"}, {"model": "dall-e-2", "n": 2, "size": "256x256"},
     {"model": "gpt-image-1", "quality": "low"}],
)  # fmt: skip
def test_the_sandbox_draws_with_every_model(server: SandboxProcess, settings: dict[str, Any]) -> None:
    image = step(**settings)
    found = answered(image, server, {"product": "kettle", "id": 7})
    pictures = [cell for name, cell in found.items() if name.startswith("picture")]
    assert len(pictures) == image.n
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert asked(image, server, "A kettle.").usage.images == image.n
