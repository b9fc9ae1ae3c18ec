"""``/v1/assistants`` through the official client. The service ended this API; the client still has its calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from penstock.sandbox.app import make_app
from penstock.sandbox.launch import SandboxProcess, start
from penstock.sandbox.settings import Settings

# The official client warns at each call that the service ended this API.
pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")

BETA = {"OpenAI-Beta": "assistants=v2"}
MODEL = "gpt-4o"
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxProcess]:
    with start() as process:
        yield process


@pytest.fixture
def client(server: SandboxProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0) as client:
        yield client
        for assistant in client.beta.assistants.list():
            client.beta.assistants.delete(assistant.id)


def test_an_assistant_is_created_with_all_fields_of_the_reference(client: openai.OpenAI) -> None:
    made = client.beta.assistants.create(
        instructions="You are a personal math tutor.",
        name="Math Tutor",
        tools=[{"type": "code_interpreter"}],
        model=MODEL,
    )
    assert made.id.startswith("asst_")
    assert made.object == "assistant"
    assert (made.name, made.description, made.model) == ("Math Tutor", None, MODEL)
    assert made.instructions == "You are a personal math tutor."
    assert [tool.type for tool in made.tools] == ["code_interpreter"]
    assert (made.metadata, made.top_p, made.temperature, made.response_format) == ({}, 1.0, 1.0, "auto")


def test_an_assistant_is_retrieved_changed_and_deleted(client: openai.OpenAI) -> None:
    made = client.beta.assistants.create(model=MODEL, name="A", metadata={"team": "x"})
    assert client.beta.assistants.retrieve(made.id) == made
    changed = client.beta.assistants.update(made.id, name="B", temperature=0.5)
    assert (changed.name, changed.temperature, changed.metadata) == ("B", 0.5, {"team": "x"})
    assert changed.created_at == made.created_at
    gone = client.beta.assistants.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "assistant.deleted", True)
    for call in (client.beta.assistants.retrieve, client.beta.assistants.delete):
        with pytest.raises(openai.NotFoundError, match=f"No assistant found with id '{made.id}'"):
            call(made.id)


def test_the_client_iterates_over_all_pages_in_both_orders(client: openai.OpenAI) -> None:
    made = [client.beta.assistants.create(model=MODEL, name=str(number)).id for number in range(7)]
    assert [one.id for one in client.beta.assistants.list(limit=3)] == made[::-1]
    assert [one.id for one in client.beta.assistants.list(limit=2, order="asc")] == made
    first = client.beta.assistants.list(limit=3, order="asc")
    assert (first.has_more, len(first.data)) == (True, 3)
    last = client.beta.assistants.list(limit=3, order="asc", after=made[5])
    assert ([one.id for one in last.data], last.has_more) == (made[6:], False)
    before = client.beta.assistants.list(limit=2, order="asc", before=made[5])
    assert ([one.id for one in before.data], before.has_more) == (made[3:5], True)
    between = client.beta.assistants.list(order="asc", after=made[1], before=made[5])
    assert [one.id for one in between.data] == made[2:5]


def test_a_page_names_its_first_and_last(client: openai.OpenAI, http: httpx.Client) -> None:
    empty = http.get("/assistants", headers=BETA).json()
    assert empty == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    made = [client.beta.assistants.create(model=MODEL).id for _ in range(2)]
    full = http.get("/assistants", headers=BETA).json()
    assert (full["first_id"], full["last_id"], full["has_more"]) == (made[1], made[0], False)


@pytest.mark.parametrize(
    ("query", "param"),
    [("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit"), ("order=up", "order"), ("after=x", "after")],
)
def test_wrong_pages_are_refused(http: httpx.Client, query: str, param: str) -> None:
    answer = http.get(f"/assistants?{query}", headers=BETA)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(("header", "word"), [("", "You must provide"), ("assistants=v1", "deprecated")])
def test_every_call_needs_the_header_of_version_2(http: httpx.Client, header: str, word: str) -> None:
    headers = {"OpenAI-Beta": header} if header else {}
    answers = [
        http.post("/assistants", json={"model": MODEL}, headers=headers),
        http.get("/assistants", headers=headers),
        http.get("/assistants/asst_x", headers=headers),
        http.delete("/assistants/asst_x", headers=headers),
    ]
    for answer in answers:
        assert answer.status_code == 400
        assert word in answer.json()["error"]["message"]
        assert answer.json()["error"]["code"] == "invalid_beta"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"model": None}, {"param": "model"}),
        ({"model": "gpt-none"}, {"message": "The requested model 'gpt-none' does not exist.", "param": "model"}),
        ({"model": "text-embedding-3-small"}, {"param": "model", "code": "unsupported_model"}),
        ({"name": "x" * 257}, {"param": "name", "code": "string_above_max_length"}),
        ({"description": "x" * 513}, {"param": "description", "code": "string_above_max_length"}),
        ({"instructions": "x" * 256_001}, {"param": "instructions", "code": "string_above_max_length"}),
        ({"tools": [{"type": "code_interpreter"}] * 129}, {"param": "tools", "code": "array_above_max_length"}),
        ({"tools": [{"type": "browser"}]}, {"param": "tools[0].type", "code": "invalid_value"}),
        ({"tools": [{}]}, {"message": "Missing required parameter: 'tools[0].type'."}),
        ({"tools": "x"}, {"param": "tools", "code": "invalid_type"}),
        ({"tools": [WEATHER, {"type": "function"}]}, {"param": "tools[1].function"}),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, {"param": "tools[0].function.name"}),
        ({"metadata": {str(n): "x" for n in range(17)}}, {"param": "metadata", "code": "object_above_max_properties"}),
        ({"metadata": {"k" * 65: "x"}}, {"param": "metadata"}),
        ({"metadata": {"k": "x" * 513}}, {"param": "metadata.k", "code": "string_above_max_length"}),
        ({"metadata": {"k": 1}}, {"param": "metadata.k", "code": "invalid_type"}),
        ({"temperature": 2.5}, {"param": "temperature", "code": "decimal_above_max_value"}),
        ({"top_p": -1}, {"param": "top_p", "code": "decimal_below_min_value"}),
        ({"response_format": "json"}, {"param": "response_format"}),
        ({"tool_resources": {"code_interpreter": {"file_ids": ["f"] * 21}}}, {"code": "array_above_max_length"}),
        ({"file_ids": []}, {"message": "Unknown parameter: 'file_ids'."}),
    ],
)
def test_what_the_reference_forbids_is_refused(
    client: openai.OpenAI, fields: dict[str, Any], error: dict[str, Any]
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/assistants", body={"model": MODEL} | fields, cast_to=object, options={"headers": BETA})
    body = caught.value.body
    assert isinstance(body, dict)
    assert error.items() <= body.items()


def test_what_the_reference_just_allows_is_accepted(client: openai.OpenAI) -> None:
    made = client.beta.assistants.create(
        model=MODEL,
        name="x" * 256,
        description="y" * 512,
        instructions="z" * 256_000,
        tools=[WEATHER] * 128,  # type: ignore[list-item]  # one of the client's typed dicts
        metadata={"k" * 63 + chr(97 + number): "v" * 512 for number in range(16)},
        response_format={"type": "json_object"},
    )
    assert len(made.tools) == 128
    assert made.metadata is not None
    assert len(made.metadata) == 16


def test_the_asynchronous_client_iterates_too(server: SandboxProcess, client: openai.OpenAI) -> None:
    made = [client.beta.assistants.create(model=MODEL).id for _ in range(3)]

    async def run() -> list[str]:
        async with openai.AsyncOpenAI(base_url=server.url, api_key=server.key, max_retries=0) as other:
            return [one.id async for one in other.beta.assistants.list(limit=1, order="asc")]

    assert asyncio.run(run()) == made


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("401", openai.AuthenticationError),
        ("404", openai.NotFoundError),
        ("409", openai.ConflictError),
        ("422", openai.UnprocessableEntityError),
        ("429", openai.RateLimitError),
        ("500", openai.InternalServerError),
    ],
)
def test_errors_are_raised_with_the_right_class(client: openai.OpenAI, fault: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        client.beta.assistants.create(model=MODEL, extra_headers={"x-sandbox-fault": fault})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = ("name", "tools", "tool_resources", "metadata", "temperature", "top_p", "response_format", "reasoning_effort")
TOOL = st.fixed_dictionaries({"type": st.sampled_from(["function", "file_search"])}, optional={"function": JSON})
BODIES = JSON | st.fixed_dictionaries(
    {"model": st.just(MODEL) | JSON},
    optional={name: JSON | st.lists(TOOL, max_size=2) for name in NAMES},
)


@pytest.fixture(scope="module")
def app() -> Starlette:
    return make_app(Settings())


@settings(max_examples=150, deadline=None)
@given(BODIES)
def test_any_json_gets_an_answer_or_a_well_formed_refusal(app: Starlette, body: Any) -> None:
    async def run() -> httpx.Response:
        headers = {"Authorization": "Bearer sk-sandbox", "content-type": "application/json", **BETA}
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost/v1", headers=headers) as http:
            return await http.post("/assistants", content=json.dumps(body).encode())

    answer = asyncio.run(run())
    if answer.status_code == 200:
        assert answer.json()["object"] == "assistant"
    else:
        assert answer.status_code == 400
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
