"""Any request to any endpoint, of any kind of body, gets an answer or a well-formed error, and never a 500."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.sandbox.app import make_app
from penstock.sandbox.resources import RESOURCES
from penstock.sandbox.settings import Settings

OPERATIONS = sorted((one.method, one.path) for resource in RESOURCES for one in resource.operations)
HEADERS = {"Authorization": "Bearer sk-sandbox", "OpenAI-Beta": "assistants=v2"}
LINE = json.dumps({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}) + "\n"
REQUEST = {
    "custom_id": "a",
    "method": "POST",
    "url": "/v1/embeddings",
    "body": {"model": "text-embedding-3-small", "input": "a", "dimensions": 1},
}
VALID: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]},
    "/v1/embeddings": {"model": "text-embedding-3-small", "input": "a", "dimensions": 2},
    "/v1/moderations": {"input": "a"},
    "/v1/images/generations": {"prompt": "a", "model": "dall-e-2", "size": "256x256"},
    "/v1/audio/speech": {"model": "tts-1", "voice": "alloy", "input": "a", "response_format": "pcm"},
    "/v1/fine_tuning/jobs": {"model": "gpt-4o-mini-2024-07-18", "training_file": "{fine-tune}"},
    "/v1/batches": {"input_file_id": "{batch}", "endpoint": "/v1/embeddings", "completion_window": "24h"},
    "/v1/assistants": {"model": "gpt-4o"},
    "/v1/assistants/{assistant}": {"name": "b"},
    "/v1/audio/transcriptions": {"model": "whisper-1"},
    "/v1/files": {"purpose": "batch"},
}
OTHERS = """
n stream tools tool_choice response_format metadata hyperparameters method suffix seed integrations temperature
timestamp_granularities[] language stream_options logit_bias expires_after[anchor] expires_after[seconds] name stop
output_expires_after validation_file tool_resources dimensions quality style user encoding_format
"""
NAMES = sorted({*itertools.chain.from_iterable(VALID.values()), *OTHERS.split()})
KEYS = st.sampled_from(["type", "function", "name", "url", "content", "role"]) | st.text(max_size=6)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
KINDS = {"files": "files", "fine_tuning": "fine_tuning_jobs", "batches": "batches", "assistants": "assistant"}
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)
CONTENT = st.binary(max_size=60) | st.sampled_from([LINE.encode() * 10, (json.dumps(REQUEST) + "\n").encode(), b"RIFF"])
FILE = st.tuples(st.sampled_from(["a.jsonl", "a.wav", "a.mp3", "", '../ä".x']), CONTENT)
QUERIES = st.dictionaries(
    st.sampled_from(["limit", "after", "before", "order", "purpose", "metadata[a]"]),
    st.sampled_from(["1", "0", "-1", "asc", "desc", "9" * 30, "batch"]) | st.text(max_size=5),
    max_size=3,
)


class World:
    """One server without a network; a second goes by with each request, so that jobs and batches live their lives."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.defects: list[dict[str, Any]] = []
        ticks = itertools.count(1_700_000_000)
        app = make_app(Settings(pace=2), wall=lambda: float(next(ticks)))
        self.sandbox = app.state.sandbox
        # A defect of the sandbox comes out here as itself, not as a 500.
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://localhost", headers=HEADERS
        )
        self.runner.get_loop().set_exception_handler(lambda _, context: self.defects.append(context))
        self.ids = {
            purpose: self.send(
                "POST", "/v1/files", data={"purpose": purpose}, files={"file": ("a.jsonl", content)}
            ).json()["id"]
            for purpose, content in (("fine-tune", LINE * 10), ("batch", json.dumps(REQUEST)))
        }

    def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self.runner.run(self.http.request(method, path, **more))

    def known(self, path: str, number: int) -> str:
        """One of the ids that may stand in a path, not of the files that jobs and batches begin with."""
        if path.startswith("/v1/models"):
            found = list(self.sandbox.cards)[::-1]
        else:
            kind = KINDS.get(path.split("/")[2], "files")
            found = [one["id"] for one in self.sandbox.archive.collection(kind) if one["id"] not in self.ids.values()]
        return found[number % len(found)] if found else "none"

    def close(self) -> None:
        self.runner.run(self.sandbox.agenda.settle())
        self.runner.run(self.http.aclose())
        self.runner.close()
        self.sandbox.archive.close()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def check(answer: httpx.Response, world: World) -> None:
    assert world.defects == []
    if answer.status_code == 200:
        return
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    assert answer.json()["error"]["message"]


def named(world: World, value: Any) -> Any:
    """The body with the ids of files that exist."""
    if isinstance(value, str):
        return world.ids.get(value.strip("{}"), value) if value.startswith("{") else value
    return value


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_request_gets_an_answer_or_a_well_formed_error(
    method: str, path: str, data: st.DataObject, world: World
) -> None:
    for parameter in re.findall(r"\{[^}]+\}", path):
        chosen = data.draw(st.integers(0, 5) | st.text(min_size=1, max_size=8))
        value = world.known(path, chosen) if isinstance(chosen, int) else chosen
        path = path.replace(parameter, quote(value, safe=""))
    known = VALID.get(path.partition("?")[0], {})
    kind = data.draw(st.sampled_from(["nearly", "nearly", "any", "form", "bytes", "none"]))
    more: dict[str, Any] = {"params": data.draw(QUERIES)}
    if kind == "nearly":
        body = {name: named(world, value) for name, value in known.items()}
        body |= data.draw(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=2))
        more |= {"content": json.dumps(body), "headers": {"content-type": "application/json"}}
    elif kind == "any":
        more |= {"content": json.dumps(data.draw(JSON)), "headers": {"content-type": "application/json"}}
    elif kind == "form":
        fields = {name: value for name, value in known.items() if isinstance(value, str)}
        fields |= data.draw(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=8), max_size=2))
        more |= {"data": fields, "files": {data.draw(st.sampled_from(["file", "file", "other"])): data.draw(FILE)}}
    elif kind == "bytes":
        types = ["application/json", "multipart/form-data; boundary=b", "multipart/form-data", "text/plain", "é"]
        header = data.draw(st.sampled_from(types)).encode("latin-1")
        more |= {"content": data.draw(st.binary(max_size=60)), "headers": {b"content-type": header}}
    check(world.send(method, path, **more), world)


def test_every_operation_is_tried_and_each_that_takes_a_body_has_a_valid_one(world: World) -> None:
    takes = {path for method, path in OPERATIONS if method == "POST" and not path.endswith("/cancel")}
    assert takes == VALID.keys()
    made: dict[str, Any] = {}
    for path, body in VALID.items():
        fields = {name: named(world, value) for name, value in body.items()}
        if path == "/v1/files":
            answer = world.send("POST", path, data=fields, files={"file": ("a.jsonl", b"x")})
        elif path == "/v1/audio/transcriptions":
            answer = world.send("POST", path, data=fields, files={"file": ("a.wav", b"RIFF")})
            assert answer.json()["error"]["message"].startswith("Audio file")
            continue
        else:
            answer = world.send("POST", path.replace("{assistant}", made.get("id", "")), json=fields)
        assert answer.status_code == 200, answer.text
        made = answer.json() if path == "/v1/assistants" else {}
