"""A further resource of the API joins as one module: its checks, limits, faults, headers and counts come with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx

from penstock.sandbox.app import make_app
from penstock.sandbox.contract import Answer, Call, ModelCard, Operation, Resource, Work
from penstock.sandbox.resources import RESOURCES
from penstock.sandbox.settings import Settings


def prepare_echo(call: Call) -> Work:
    body = call.json()
    prompt = str(body["prompt"])

    async def pieces() -> AsyncIterator[bytes]:
        for word in prompt.split():
            yield f"data: {word}\n\n".encode()
        yield b"data: [DONE]\n\n"

    async def answer() -> Answer:
        if body.get("stream"):
            return Answer(pieces(), media_type="text/event-stream")
        return Answer(prompt.encode(), media_type="text/plain")

    return Work(answer, model="echo", tokens=len(prompt), texts=(prompt,), key=("echo",))


def echo_cards(settings: Settings) -> list[ModelCard]:
    return [ModelCard("echo", 1, "sandbox", "says what you say"), ModelCard("ft:echo:mine", 2, "user", "tuned")]


ECHO = Resource((Operation("POST", "/v1/echo", prepare_echo),), echo_cards)


def test_a_new_resource_brings_its_paths_and_models_and_gets_everything_else() -> None:
    app = make_app(Settings.parse(rpm=4, poison=["arsenic"]), resources=(*RESOURCES, ECHO))

    async def run() -> None:
        headers = {"Authorization": "Bearer sk-sandbox"}
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost/v1", headers=headers) as client:
            answer = await client.post("/echo", json={"prompt": "hello you"})
            assert answer.text == "hello you"
            assert answer.headers["x-ratelimit-remaining-requests"] == "3"
            streamed = await client.post("/echo", json={"prompt": "hello you", "stream": True})
            assert streamed.text == "data: hello\n\ndata: you\n\ndata: [DONE]\n\n"
            assert streamed.headers["content-type"] == "text/event-stream"
            assert "content-length" not in streamed.headers
            garbled = await client.post(
                "/echo", json={"prompt": "a", "stream": True}, headers={"x-sandbox-fault": "badjson"}
            )
            assert garbled.text == "data: a\n\nda"
            assert (await client.post("/echo", json={"prompt": "arsenic"})).status_code == 400
            assert (await client.post("/echo", json={"prompt": "a"})).status_code == 429
            assert (await client.get("/models/echo")).json()["owned_by"] == "sandbox"
            embedding = await client.post("/embeddings", json={"model": "ft:echo:mine", "input": "a"})
            assert embedding.status_code == 403
            deleted = await client.delete("/models/ft:echo:mine")
            assert deleted.json() == {"id": "ft:echo:mine", "object": "model", "deleted": True}
            assert (await client.get("/models/ft:echo:mine")).status_code == 404
        report = app.state.sandbox.stats.report()
        assert report["requests"]["/v1/echo"] == {"200": 3, "400": 1, "429": 1}
        assert report["repeated_inputs"] == 1

    asyncio.run(run())


def test_a_defect_of_a_resource_is_told_as_the_service_tells_it() -> None:
    def broken(call: Call) -> Work:
        raise RuntimeError("a bug")

    app = make_app(Settings(), resources=(Resource((Operation("GET", "/v1/broken", broken),)),))

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/v1/broken", headers={"Authorization": "Bearer sk-sandbox"})

    answer = asyncio.run(run())
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
