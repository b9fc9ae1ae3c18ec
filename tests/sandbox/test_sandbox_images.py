"""``/v1/images/generations`` through the official client, and the pictures themselves."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import time
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growth import growth
from penstock.sandbox.app import make_app
from penstock.sandbox.launch import SandboxProcess
from penstock.sandbox.models.patterns import draw_pattern
from penstock.sandbox.settings import Settings

CAT = "A white siamese cat"


@pytest.fixture
def client(server: SandboxProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0) as client:
        yield client


def read_png(data: bytes) -> tuple[int, int, bytes]:
    """Width, height and pixels of an indexed PNG without filters; each checksum is checked."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks: dict[bytes, bytes] = {}
    place = 8
    while place < len(data):
        (size,) = struct.unpack_from(">I", data, place)
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + size]
        assert struct.unpack_from(">I", data, place + 8 + size) == (zlib.crc32(kind + body),)
        chunks[kind] = body
        place += size + 12
    assert next(iter(chunks)) == b"IHDR"
    assert list(chunks)[-1] == b"IEND"
    width, height, depth, colours = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    assert (depth, colours, len(chunks[b"PLTE"])) == (8, 3, 768)
    pixels = zlib.decompress(chunks[b"IDAT"])
    assert len(pixels) == (width + 1) * height
    return width, height, pixels


def test_an_image_comes_by_an_address_that_needs_no_key(client: openai.OpenAI, server: SandboxProcess) -> None:
    answer = client.images.generate(model="dall-e-3", prompt=CAT, n=1, size="1024x1024")
    assert answer.data is not None
    [image] = answer.data
    assert image.b64_json is None
    assert image.revised_prompt == "A white siamese cat, in strong colours with high contrast."
    assert image.url is not None
    assert image.url.startswith(server.url.removesuffix("/v1"))
    got = httpx.get(image.url)
    assert (got.status_code, got.headers["content-type"]) == (200, "image/png")
    assert read_png(got.content)[:2] == (1024, 1024)
    assert abs(answer.created - time.time()) < 60


@pytest.mark.parametrize("size", ["1024x1024", "1792x1024", "1024x1792"])
def test_the_picture_has_the_size_that_was_asked_for(client: openai.OpenAI, size: Any) -> None:
    answer = client.images.generate(model="dall-e-3", prompt=CAT, size=size, response_format="b64_json")
    assert answer.data is not None
    assert answer.data[0].b64_json is not None
    assert answer.data[0].url is None
    width, height, _ = read_png(base64.b64decode(answer.data[0].b64_json))
    assert f"{width}x{height}" == size


def test_the_same_prompt_gives_the_same_picture_and_each_of_several_is_another(client: openai.OpenAI) -> None:
    def pictures(prompt: str) -> list[str | None]:
        answer = client.images.generate(
            model="dall-e-2", prompt=prompt, n=3, size="256x256", response_format="b64_json"
        )
        assert answer.data is not None
        assert all(image.revised_prompt is None for image in answer.data)
        return [image.b64_json for image in answer.data]

    first = pictures(CAT)
    assert len(set(first)) == 3
    assert pictures(CAT) == first
    assert not set(pictures("A black dog")) & set(first)


def test_quality_and_style_change_the_picture(client: openai.OpenAI) -> None:
    seen = set()
    for quality in ("standard", "hd"):
        for style in ("vivid", "natural"):
            answer = client.images.generate(prompt=CAT, quality=quality, style=style, response_format="b64_json")
            assert answer.data is not None
            seen.add(answer.data[0].b64_json)
    assert len(seen) == 4


def test_gpt_image_answers_in_base64_with_its_settings_and_usage(client: openai.OpenAI) -> None:
    answer = client.images.generate(model="gpt-image-1", prompt=CAT, size="1536x1024", quality="low", n=2)
    assert answer.data is not None
    assert len(answer.data) == 2
    assert all(image.b64_json and image.url is None for image in answer.data)
    assert (answer.size, answer.quality, answer.output_format) == ("1536x1024", "low", "png")
    assert answer.usage is not None
    assert answer.usage.input_tokens == answer.usage.input_tokens_details.text_tokens == 5
    assert answer.usage.output_tokens == 800
    assert answer.usage.total_tokens == 805


def test_the_defaults_are_those_of_the_reference_and_null_means_default(http: httpx.Client) -> None:
    nulls = dict.fromkeys(("model", "n", "quality", "response_format", "size", "style"))
    for body in ({"prompt": CAT}, {"prompt": CAT, **nulls}):
        answer = http.post("/images/generations", json=body)
        assert answer.headers["openai-model"] == "dall-e-3"
        [image] = answer.json()["data"]
        assert set(image) == {"revised_prompt", "url"}
        assert read_png(httpx.get(image["url"]).content)[:2] == (1024, 1024)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, {"message": "Missing required parameter: 'prompt'.", "param": "prompt"}),
        ({"prompt": ""}, {"param": "prompt", "code": "empty_string"}),
        ({"prompt": 7}, {"param": "prompt", "code": "invalid_type"}),
        (
            {"prompt": "x" * 4001},
            {
                "message": "Invalid 'prompt': string too long. Expected a string with maximum length 4000, but got a "
                "string with length 4001 instead.",
                "param": "prompt",
                "code": "string_above_max_length",
            },
        ),
        ({"prompt": "x" * 1001, "model": "dall-e-2"}, {"param": "prompt", "code": "string_above_max_length"}),
        ({"prompt": CAT, "n": 2}, {"message": "You must provide n=1 for this model."}),
        ({"prompt": CAT, "n": 0}, {"param": "n", "code": "integer_below_min_value"}),
        ({"prompt": CAT, "n": 11, "model": "dall-e-2"}, {"param": "n", "code": "integer_above_max_value"}),
        ({"prompt": CAT, "n": True}, {"param": "n", "code": "invalid_type"}),
        ({"prompt": CAT, "n": 10**4000}, {"param": "n"}),
        (
            {"prompt": CAT, "size": "512x512"},
            {
                "message": "Invalid value: '512x512'. Supported values are: '1024x1024', '1792x1024', and '1024x1792'.",
                "param": "size",
                "code": "invalid_value",
            },
        ),
        ({"prompt": CAT, "size": "1x1"}, {"param": "size", "code": "invalid_value"}),
        ({"prompt": CAT, "size": "1792x1024", "model": "dall-e-2"}, {"param": "size"}),
        ({"prompt": CAT, "quality": "best"}, {"param": "quality", "code": "invalid_value"}),
        ({"prompt": CAT, "quality": "hd", "model": "dall-e-2"}, {"param": "quality"}),
        (
            {"prompt": CAT, "style": "dull"},
            {"message": "Invalid value: 'dull'. Supported values are: 'vivid' and 'natural'.", "param": "style"},
        ),
        ({"prompt": CAT, "response_format": "png"}, {"param": "response_format", "code": "invalid_value"}),
        ({"prompt": CAT, "user": 1}, {"param": "user", "code": "invalid_type"}),
        ({"prompt": CAT, "seed": 1}, {"message": "Unknown parameter: 'seed'.", "param": "seed"}),
        ({"prompt": CAT, "model": "tiny"}, {"param": "model", "code": "invalid_value"}),
        (
            {"prompt": CAT, "model": "gpt-image-1", "response_format": "url"},
            {"message": "Unknown parameter: 'response_format'.", "code": "unknown_parameter"},
        ),
        ({"prompt": CAT, "model": "gpt-image-1", "output_format": "webp"}, {"code": "unsupported_in_sandbox"}),
        ({"prompt": CAT, "model": "gpt-image-1", "stream": True}, {"code": "unsupported_in_sandbox"}),
        ({"prompt": "with arsenic"}, {"param": "input"}),
    ],
)
def test_what_the_service_refuses_is_refused(
    client: openai.OpenAI, fields: dict[str, Any], error: dict[str, Any]
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/images/generations", body=fields, cast_to=object)
    body = caught.value.body
    assert isinstance(body, dict)
    assert set(body) == {"message", "type", "param", "code"}
    assert body["type"] == "invalid_request_error"
    assert error.items() <= body.items()


def test_an_unknown_model_and_an_unknown_picture_are_not_found(client: openai.OpenAI, server: SandboxProcess) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.images.generate(prompt=CAT, model="dall-e-9")
    root = server.url.removesuffix("/v1")
    for name in ("img-unknown.png", "img-unknown", "%2e%2e"):
        assert httpx.get(f"{root}/_images/{name}").status_code == 404
    assert httpx.get(f"{root}/_imagesx").status_code == 401


def test_the_asynchronous_client_gets_the_same(server: SandboxProcess, client: openai.OpenAI) -> None:
    async def run() -> str | None:
        async with openai.AsyncOpenAI(base_url=server.url, api_key=server.key, max_retries=0) as other:
            answer = await other.images.generate(prompt=CAT, response_format="b64_json")
            assert answer.data is not None
            return answer.data[0].b64_json

    same = client.images.generate(prompt=CAT, response_format="b64_json").data
    assert same is not None
    assert asyncio.run(run()) == same[0].b64_json


def test_faults_reach_images_too(client: openai.OpenAI) -> None:
    for fault, kind in (("429", openai.RateLimitError), ("500", openai.InternalServerError)):
        with pytest.raises(kind):
            client.images.generate(prompt=CAT, extra_headers={"x-sandbox-fault": fault})
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-wrong").images.generate(prompt=CAT)


def test_a_million_pixels_take_no_longer_than_their_number_says() -> None:
    assert growth(lambda: draw_pattern("a", 256, 256), lambda: draw_pattern("a", 1024, 1024)) < 5 * 16
    assert len(set(read_png(draw_pattern("a", 1024, 1024))[2])) > 100


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = ("prompt", "model", "n", "size", "quality", "style", "response_format", "output_format", "stream", "user")
BODIES = JSON | st.fixed_dictionaries(
    {"prompt": st.text(max_size=9) | JSON},
    optional={name: JSON | st.sampled_from(["dall-e-2", "256x256", "gpt-image-1", 2]) for name in NAMES[1:]},
)


@settings(max_examples=150, deadline=None)
@given(BODIES)
def test_any_json_gets_an_answer_or_a_well_formed_refusal(body: Any) -> None:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app=make_app(Settings()))
        headers = {"Authorization": "Bearer sk-sandbox", "content-type": "application/json"}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost/v1", headers=headers) as http:
            return await http.post("/images/generations", content=json.dumps(body).encode())

    answer = asyncio.run(run())
    if answer.status_code == 200:
        assert answer.json()["data"]
    else:
        assert answer.status_code in (400, 404)
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
