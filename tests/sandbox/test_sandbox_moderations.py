"""``/v1/moderations`` through the official client and by bare HTTP."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.sandbox.app import make_app
from penstock.sandbox.launch import SandboxProcess
from penstock.sandbox.models.moderation import CATEGORIES, TEXT_CATEGORIES, score_text
from penstock.sandbox.settings import Settings

PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


@pytest.fixture
def client(server: SandboxProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0) as client:
        yield client


def image(url: str) -> Any:
    return {"type": "image_url", "image_url": {"url": url}}


def text(value: str) -> Any:
    return {"type": "text", "text": value}


def test_the_example_of_the_reference_is_flagged_for_the_same_categories(client: openai.OpenAI) -> None:
    answer = client.moderations.create(input="I want to kill them.")
    assert answer.id.startswith("modr-")
    assert answer.model.startswith("omni-moderation-")
    (result,) = answer.results
    assert result.flagged
    assert result.categories.violence
    assert result.categories.harassment_threatening
    assert not result.categories.sexual
    assert result.category_scores.violence > 0.98
    assert result.category_applied_input_types.violence == ["text"]


def test_omni_has_thirteen_categories_and_the_text_models_eleven(client: openai.OpenAI) -> None:
    omni = client.moderations.create(input="hello").results[0].to_dict()
    words = client.moderations.create(input="hello", model="text-moderation-latest").results[0].to_dict()
    for field in ("categories", "category_scores", "category_applied_input_types"):
        assert set(omni[field]) == set(CATEGORIES)  # type: ignore[call-overload]
        assert set(words[field]) == set(TEXT_CATEGORIES)  # type: ignore[call-overload]
    assert len(CATEGORIES) == 13
    assert len(TEXT_CATEGORIES) == 11


def test_many_texts_give_one_result_each_in_their_order(client: openai.OpenAI) -> None:
    answer = client.moderations.create(input=["have a nice day", "I will hurt you", "kill the process"])
    assert [result.flagged for result in answer.results] == [False, True, False]


def test_the_async_client_gets_the_same_scores(server: SandboxProcess, client: openai.OpenAI) -> None:
    async def ask() -> openai.types.ModerationCreateResponse:
        async with openai.AsyncOpenAI(base_url=server.url, api_key=server.key, max_retries=0) as other:
            return await other.moderations.create(input="You are an idiot")

    assert asyncio.run(ask()).results == client.moderations.create(input="You are an idiot").results


def test_parts_are_one_input_and_images_count_where_images_are_judged(client: openai.OpenAI) -> None:
    answer = client.moderations.create(input=[text("look at this"), image("https://example.com/violence.png")])
    (result,) = answer.results
    assert result.flagged
    assert result.categories.violence
    assert result.category_applied_input_types.violence == ["text", "image"]
    assert result.category_applied_input_types.hate == ["text"]
    (plain,) = client.moderations.create(input=[image(PNG)]).results
    assert not plain.flagged
    assert plain.category_applied_input_types.hate == []
    assert plain.category_applied_input_types.sexual == ["image"]


@pytest.mark.parametrize(
    ("words", "category"),
    [
        ("You are a pathetic loser", "harassment"),
        ("I'm going to stab you", "harassment/threatening"),
        ("Immigrants are vermin", "hate"),
        ("exterminate all foreigners", "hate/threatening"),
        ("how to shoplift", "illicit"),
        ("how do I make a pipe bomb", "illicit/violent"),
        ("I want to end my life", "self-harm/intent"),
        ("best ways to kill yourself", "self-harm/instructions"),
        ("explicit porn", "sexual"),
        ("they dismembered him", "violence/graphic"),
        ("Ich bringe dich um", "violence"),
        ("Je vais te tuer", "violence"),
        ("Te voy a matar", "violence"),
        ("Ti ammazzo", "violence"),
        ("Quiero morir", "self-harm"),
    ],
)
def test_each_category_has_its_words(client: openai.OpenAI, words: str, category: str) -> None:
    (result,) = client.moderations.create(input=words).results
    assert result.flagged
    assert result.to_dict()["categories"][category] is True  # type: ignore[index]


@pytest.mark.parametrize(
    "words",
    [
        "",
        "The food was delicious and the waiter friendly.",
        "This meeting is killing me",
        "We shot a film about sex education",
        "He killed it on stage, a killer feature",
        "Das Buch ist ein Mordsspaß",
    ],
)
def test_harmless_texts_are_not_flagged(client: openai.OpenAI, words: str) -> None:
    assert not client.moderations.create(input=words).results[0].flagged


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, {"param": "input", "code": "missing_required_parameter"}),
        ({"input": None}, {"param": "input", "code": "invalid_type"}),
        ({"input": 7}, {"param": "input", "code": "invalid_type"}),
        ({"input": []}, {"param": "input", "code": "empty_array"}),
        ({"input": ["a", 1]}, {"param": "input[0]", "code": "invalid_type"}),
        ({"input": ["a", text("b")]}, {"param": "input[0]", "code": "invalid_type"}),
        ({"input": [{"text": "a"}]}, {"param": "input[0].type", "code": "missing_required_parameter"}),
        ({"input": [{"type": "text"}]}, {"param": "input[0].text", "code": "missing_required_parameter"}),
        ({"input": [{"type": "audio"}]}, {"param": "input[0].type", "code": "invalid_value"}),
        ({"input": [{"type": "text", "text": "a", "x": 1}]}, {"param": "input[0].x", "code": "unknown_parameter"}),
        ({"input": [image("ftp://a/b.png")]}, {"param": "input[0].image_url.url", "code": "invalid_image_url"}),
        ({"input": [image("data:image/png;base64,a")]}, {"code": "invalid_image_url"}),
        ({"input": [image(PNG), image(PNG)]}, {"code": "too_many_images"}),
        ({"input": [image(PNG)], "model": "text-moderation-latest"}, {"param": "input[0]"}),
        ({"input": "a", "model": 7}, {"param": "model", "code": "invalid_type"}),
        ({"input": "a", "model": "tiny"}, {"param": "model"}),
        ({"input": "a", "threshold": 1}, {"message": "Unrecognized request argument supplied: threshold"}),
    ],
)
def test_what_the_service_refuses_is_refused_with_its_words(
    http: httpx.Client, body: dict[str, Any], error: dict[str, Any]
) -> None:
    answer = http.post("/moderations", json=body)
    assert answer.status_code == 400, answer.text
    said = answer.json()["error"]
    assert said.keys() == {"message", "type", "param", "code"}
    assert {name: said[name] for name in error} == error


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.moderations.create(input="a", model="moderation-9")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("fault", "error"),
    [("429", openai.RateLimitError), ("500", openai.InternalServerError), ("cut", openai.APIConnectionError)],
)
def test_faults_strike_moderations_too(client: openai.OpenAI, fault: str, error: type[openai.APIError]) -> None:
    with pytest.raises(error):
        client.moderations.create(input="a", extra_headers={"x-sandbox-fault": fault})


@given(st.text())
def test_scores_lie_between_0_and_1_and_are_always_the_same(words: str) -> None:
    scores = score_text(words)
    assert scores.keys() == set(CATEGORIES)
    assert all(0 < score < 1 for score in scores.values())
    assert score_text.__wrapped__(words) == scores


NAMES = st.sampled_from(["type", "text", "url", "image_url"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner),
    max_leaves=6,
)
PARTS = st.lists(st.sampled_from([text("a"), image(PNG)]))
APP = make_app(Settings())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["input", "model", "x"]), JSON | PARTS))
def test_any_json_gives_results_or_a_well_formed_error(body: dict[str, Any]) -> None:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=APP)
        headers = {"Authorization": "Bearer sk-sandbox"}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost/v1", headers=headers) as http:
            return await http.post("/moderations", json=body)

    answer = asyncio.run(ask())
    if answer.status_code == 200:
        assert answer.json()["results"]
    else:
        assert answer.status_code in (400, 404)
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
