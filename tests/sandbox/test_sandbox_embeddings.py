"""``/v1/embeddings`` and ``/v1/models`` through the official client and by bare HTTP."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from sandbox_requests import embed
from splintr import Tokenizer

from penstock.sandbox.launch import SandboxProcess

INVALID_INPUT = "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."


@pytest.fixture
def client(server: SandboxProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0) as client:
        yield client


@pytest.mark.parametrize(
    ("model", "size"),
    [("text-embedding-3-small", 1536), ("text-embedding-3-large", 3072), ("text-embedding-ada-002", 1536), ("tiny", 8)],
)
def test_the_official_client_gets_vectors_of_the_models_size(client: openai.OpenAI, model: str, size: int) -> None:
    answer = client.embeddings.create(model=model, input=["one", "two words", "one"])
    assert [item.index for item in answer.data] == [0, 1, 2]
    assert {len(item.embedding) for item in answer.data} == {size}
    assert answer.data[0].embedding == answer.data[2].embedding != answer.data[1].embedding
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 4
    assert answer.model == ("text-embedding-ada-002-v2" if "ada" in model else model)


def test_base64_and_floats_hold_the_same_numbers_of_32_bits(http: httpx.Client) -> None:
    floats = embed(http, "hello", encoding_format="float").json()["data"][0]["embedding"]
    packed = base64.b64decode(embed(http, "hello", encoding_format="base64").json()["data"][0]["embedding"])
    assert struct.unpack("<8f", packed) == tuple(floats)


def test_tokens_give_the_vector_of_their_text(http: httpx.Client) -> None:
    ids = Tokenizer.from_pretrained("cl100k_base").encode_ordinary("the food was delicious")
    text = embed(http, "the food was delicious").json()
    assert embed(http, ids).json() == text
    assert embed(http, [ids]).json() == text
    assert text["usage"]["prompt_tokens"] == len(ids)


def test_text_that_looks_like_a_special_token_is_counted_as_text(http: httpx.Client) -> None:
    assert embed(http, "<|endoftext|>").json()["usage"]["prompt_tokens"] == 7


def test_dimensions_give_shorter_vectors(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="text-embedding-3-large", input="hello", dimensions=256)
    assert len(answer.data[0].embedding) == 256


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({"input": ""}, 400, {"message": INVALID_INPUT, "param": None, "code": None}),
        ({"input": []}, 400, {"message": INVALID_INPUT}),
        ({"input": ["a", ""]}, 400, {"message": INVALID_INPUT}),
        ({"input": [[]]}, 400, {"message": INVALID_INPUT}),
        ({"input": ["a", [1]]}, 400, {"message": INVALID_INPUT}),
        ({"input": [1, 100_277]}, 400, {"message": INVALID_INPUT}),
        ({"input": [True]}, 400, {"message": INVALID_INPUT}),
        ({"input": {"text": "a"}}, 400, {"message": INVALID_INPUT}),
        (
            {"input": ["a"] * 2049},
            400,
            {
                "message": "Invalid 'input': array too long. Expected an array with maximum length 2048, "
                "but got an array with length 2049 instead.",
                "param": "input",
                "code": "array_above_max_length",
            },
        ),
        (
            {"input": [1] * 8193},
            400,
            {
                "message": "This model's maximum context length is 8192 tokens, however you requested 8193 tokens "
                "(8193 in your prompt; 0 for the completion). Please reduce your prompt; or completion length."
            },
        ),
        (
            {"input": [[1] * 8000] * 38},
            400,
            {
                "message": "Requested 304000 tokens, max 300000 tokens per request",
                "type": "max_tokens_per_request",
                "code": "max_tokens_per_request",
            },
        ),
        ({"model": "gpt-9"}, 404, {"code": "model_not_found"}),
        ({"model": ""}, 400, {"message": "you must provide a model parameter"}),
        ({"model": 7}, 400, {"param": "model", "code": "invalid_type"}),
        (
            {"model": "text-embedding-ada-002", "dimensions": 8},
            400,
            {"message": "This model does not support specifying dimensions."},
        ),
        (
            {"model": "text-embedding-3-small", "dimensions": 1537},
            400,
            {"message": "Invalid value for 'dimensions' = 1537. Must be less than or equal to 1536."},
        ),
        ({"dimensions": 0}, 400, {"param": "dimensions", "code": "integer_below_min_value"}),
        ({"dimensions": "8"}, 400, {"param": "dimensions", "code": "invalid_type"}),
        ({"dimensions": True}, 400, {"param": "dimensions", "code": "invalid_type"}),
        ({"dimensions": None}, 400, {"param": "dimensions", "code": "invalid_type"}),
        ({"encoding_format": "int8"}, 400, {"param": "encoding_format", "code": "invalid_value"}),
        ({"user": 7}, 400, {"param": "user", "code": "invalid_type"}),
        ({"temperature": 1}, 400, {"message": "Unrecognized request argument supplied: temperature"}),
    ],
)
def test_what_the_service_refuses_is_refused_with_its_words(
    http: httpx.Client, fields: dict[str, Any], status: int, error: dict[str, Any]
) -> None:
    answer = http.post("/embeddings", json={"model": "tiny", "input": "a", **fields})
    assert answer.status_code == status
    said = answer.json()["error"]
    assert said.keys() == {"message", "type", "param", "code"}
    assert {name: said[name] for name in error} == error


def test_missing_fields_are_named(http: httpx.Client) -> None:
    assert http.post("/embeddings", json={"input": "a"}).json()["error"]["message"] == (
        "you must provide a model parameter"
    )
    error = http.post("/embeddings", json={"model": "tiny"}).json()["error"]
    assert (error["param"], error["code"]) == ("input", "missing_required_parameter")


def test_exactly_the_limits_are_allowed(http: httpx.Client) -> None:
    assert len(embed(http, ["a"] * 2048).json()["data"]) == 2048
    assert embed(http, [1] * 8192).json()["usage"]["total_tokens"] == 8192
    assert embed(http, [[1] * 7500] * 40).json()["usage"]["total_tokens"] == 300_000


def test_models_are_listed_with_the_services_fields_and_say_what_they_are(client: openai.OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert models.keys() >= {"text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002", "tiny"}
    small = models["text-embedding-3-small"]
    assert (small.object, small.owned_by, small.created) == ("model", "system", 1705948997)
    assert small.to_dict()["description"] == "sandbox: lexical, not semantic"
    assert client.models.retrieve("tiny").id == "tiny"


def test_an_unknown_model_is_not_found_and_a_base_model_cannot_be_deleted(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="The model 'gpt-9' does not exist") as unknown:
        client.models.retrieve("gpt-9")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.delete("ft:tiny:none")
    with pytest.raises(openai.PermissionDeniedError, match="base model"):
        client.models.delete("tiny")
    assert client.models.retrieve("tiny").id == "tiny"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("400", openai.BadRequestError),
        ("401", openai.AuthenticationError),
        ("403", openai.PermissionDeniedError),
        ("404", openai.NotFoundError),
        ("409", openai.ConflictError),
        ("422", openai.UnprocessableEntityError),
        ("429", openai.RateLimitError),
        ("quota", openai.RateLimitError),
        ("500", openai.InternalServerError),
        ("reset", openai.APIConnectionError),
    ],
)
def test_the_official_client_raises_its_own_error_for_each(
    client: openai.OpenAI, fault: str, error: type[openai.APIError]
) -> None:
    with pytest.raises(error):
        client.embeddings.create(model="tiny", input="a", extra_headers={"x-sandbox-fault": fault})


def test_the_official_client_gets_through_a_fault_by_its_own_retries(server: SandboxProcess) -> None:
    server.change(faults=["503:x1", "reset:x1"])
    with openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=3) as client:
        assert client.embeddings.create(model="tiny", input="a").data
    server.reset()
