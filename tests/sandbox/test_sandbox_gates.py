"""What every request meets: host, key, paths, methods, bodies, headers, and never a 500."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sandbox_requests import embed

from penstock.sandbox.errors import mask_key
from penstock.sandbox.launch import SandboxProcess, start


@pytest.fixture(scope="module")
def connection(server: SandboxProcess) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    yield connection
    connection.close()


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    sent = {"Authorization": "Bearer sk-sandbox", "Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, sent)
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def error_of(body: bytes) -> dict[str, Any]:
    value = json.loads(body)
    assert value.keys() == {"error"}
    assert value["error"].keys() == {"message", "type", "param", "code"}
    error: dict[str, Any] = value["error"]
    return error


@pytest.mark.parametrize("header", ["", "Basic abc", "sk-sandbox", "Bearer", "Bearer  "])
def test_a_request_without_a_key_is_told_how_to_give_one(connection: http.client.HTTPConnection, header: str) -> None:
    status, headers, body = ask(connection, "GET", "/v1/models", Authorization=header)
    assert status == 401
    error = error_of(body)
    assert error["message"].startswith("You didn't provide an API key.")
    assert (error["type"], error["code"]) == ("invalid_request_error", None)
    assert "x-request-id" in headers


def test_a_wrong_key_is_quoted_masked(connection: http.client.HTTPConnection) -> None:
    status, _, body = ask(connection, "GET", "/v1/models", Authorization="Bearer sk-abcdefghijklmnop1234")
    error = error_of(body)
    assert (status, error["type"], error["code"]) == (401, "invalid_request_error", "invalid_api_key")
    assert error["message"] == (
        "Incorrect API key provided: sk-abcde***********1234. "
        "You can find your API key at https://platform.openai.com/account/api-keys."
    )


@pytest.mark.parametrize(
    ("key", "masked"),
    [
        ("kk", "kk"),
        ("YOUR_API_KEY", "YOUR_API*KEY"),
        ("YOUR-API-KEY-HERE", "YOUR-API*****HERE"),
        ("undefined", "undefine*"),
    ],
)
def test_keys_are_masked_as_the_service_masks_them(key: str, masked: str) -> None:
    assert mask_key(key) == masked


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil", ""])
@pytest.mark.parametrize("path", ["/v1/models", "/_sandbox/stats"])
def test_other_host_names_are_refused(server: SandboxProcess, host: str, path: str) -> None:
    with httpx.Client() as client:
        answer = client.get(
            server.url.removesuffix("/v1") + path, headers={"Host": host, "Authorization": "Bearer sk-sandbox"}
        )
    assert answer.status_code == 403
    assert error_of(answer.content)["code"] == "host_not_allowed"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9", "[::1]:9", "[::1]"])
def test_names_of_this_machine_are_allowed(connection: http.client.HTTPConnection, host: str) -> None:
    connection.putrequest("GET", "/_sandbox/stats", skip_host=True)
    connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200


def test_unknown_paths_and_wrong_methods_are_told_apart(connection: http.client.HTTPConnection) -> None:
    status, _, body = ask(connection, "POST", "/v1/foo", b"{}")
    assert (status, error_of(body)["message"]) == (404, "Invalid URL (POST /v1/foo)")
    assert ask(connection, "GET", "/v1/models/")[0] == 404
    status, _, body = ask(connection, "GET", "/v1/embeddings")
    assert status == 405
    assert error_of(body)["message"] == (
        "Not allowed to GET on /v1/embeddings. (HINT: Perhaps you meant to use a different HTTP method?)"
    )
    assert ask(connection, "POST", "/v1/models", b"{}")[0] == 405


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"a"', b"[" * 100_000, b"\xff", b"{}{}", b"\xef\xbb\xbf{}", b'{"input": "\\ud800"}'],
)
def test_a_body_that_is_no_json_object_is_refused(connection: http.client.HTTPConnection, body: bytes) -> None:
    status, _, said = ask(connection, "POST", "/v1/embeddings", body)
    assert status == 400
    assert error_of(said)["message"].startswith("We could not parse the JSON body of your request.")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_content_type_is_refused(connection: http.client.HTTPConnection, content_type: str) -> None:
    body = b'{"model": "tiny", "input": "a"}'
    status, _, said = ask(connection, "POST", "/v1/embeddings", body, Content_Type=content_type)
    assert (status, error_of(said)["code"]) == (400, "unsupported_content_type")
    assert ask(connection, "POST", "/v1/embeddings", body, Content_Type="application/json; charset=utf-8")[0] == 200


def test_a_huge_body_is_refused_before_it_is_read(server: SandboxProcess) -> None:
    with httpx.Client(headers={"Authorization": "Bearer sk-sandbox"}, timeout=30) as client:
        try:
            answer = client.post(f"{server.url}/embeddings", content=b"a" * (33 * 2**20))
        except httpx.WriteError:
            return
    assert answer.status_code == 413


def test_every_answer_has_the_services_headers(http: httpx.Client) -> None:
    answers = [
        embed(http, "a"),
        embed(http, ""),
        http.get("/models"),
        http.get("/nothing"),
        embed(http, "a", fault="500"),
    ]
    for answer in answers:
        headers = answer.headers
        assert re.fullmatch(r"req_[0-9a-f]{32}", headers["x-request-id"])
        assert headers["openai-version"] == "2020-10-01"
        assert headers["openai-organization"] == "org-sandbox"
        assert headers["openai-processing-ms"].isdigit()
        for kind in ("requests", "tokens"):
            assert int(headers[f"x-ratelimit-remaining-{kind}"]) <= int(headers[f"x-ratelimit-limit-{kind}"])
            assert re.fullmatch(r"\d+ms|(\d+h)?(\d+m)?[\d.]+s", headers[f"x-ratelimit-reset-{kind}"])
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=12,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["tiny", "text-embedding-3-small", "text-embedding-ada-002"]) | JSON,
        "input": st.text(max_size=30) | st.lists(st.text(max_size=10), max_size=4) | st.lists(st.integers()) | JSON,
        "encoding_format": st.sampled_from(["float", "base64"]) | JSON,
        "dimensions": st.integers() | JSON,
        "user": JSON,
    },
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=FIELDS | JSON)
def test_any_json_gets_an_answer_or_a_well_formed_refusal(connection: http.client.HTTPConnection, value: Any) -> None:
    status, _, body = ask(connection, "POST", "/v1/embeddings", json.dumps(value).encode())
    if status == 200:
        answer = json.loads(body)
        assert [item["index"] for item in answer["data"]] == list(range(len(answer["data"])))
    else:
        assert status in {400, 404}
        assert error_of(body)["message"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "PUT", "PATCH"]),
    name=st.text(alphabet=st.characters(codec="utf-8", exclude_characters="?#"), max_size=20),
    body=st.binary(max_size=20),
)
def test_any_path_gets_an_answer_or_a_well_formed_refusal(
    connection: http.client.HTTPConnection, method: str, name: str, body: bytes
) -> None:
    path = "/v1/models/" + "".join(f"%{byte:02x}" for byte in name.encode())
    status, _, said = ask(connection, method, path, body)
    assert status in {200, 403, 404, 405}
    if status != 200:
        error_of(said)


def test_a_host_that_was_named_opens_the_server_to_other_names() -> None:
    import asyncio

    from penstock.sandbox.app import make_app
    from penstock.sandbox.settings import Settings

    async def status(host: str | None) -> int:
        transport = httpx.ASGITransport(app=make_app(Settings.parse(host=host)))
        async with httpx.AsyncClient(transport=transport, base_url="http://box.example") as client:
            answer = await client.get("/v1/models", headers={"Authorization": "Bearer sk-sandbox"})
            return answer.status_code

    assert asyncio.run(status(None)) == 403
    assert asyncio.run(status("0.0.0.0")) == 200  # noqa: S104  # nothing listens here


def test_another_key_can_be_chosen() -> None:
    with start(key="sk-mine", models=["tiny:8"]) as server:
        for key, status in (("sk-mine", 200), ("sk-sandbox", 401)):
            with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {key}"}) as client:
                assert embed(client, "a").status_code == status
