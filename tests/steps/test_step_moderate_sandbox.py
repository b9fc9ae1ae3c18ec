"""`moderate` and a server: what it asks is understood, and what comes back is read."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from step_calls import finished

from penstock.items import Answer
from penstock.sandbox.launch import start
from penstock.steps.moderate import Moderate

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with (
        start() as server,
        httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.key}"}, timeout=10) as client,
    ):
        yield client


def step(**settings: Any) -> Moderate:
    return Moderate.model_validate({"uses": "moderate", **settings})


def asked(http: httpx.Client, moderate: Moderate, rows: dict[str, list[Any]]) -> list[Answer]:
    """The answers to all rows, in requests as large as the step allows."""
    payloads = moderate.payloads(pl.DataFrame(rows)).to_list()
    most = moderate.packing.max_items
    answers = []
    for first in range(0, len(payloads), most):
        pack = payloads[first : first + most]
        response = http.post("/moderations", content=moderate.body(pack), headers={"Content-Type": "application/json"})
        assert response.status_code == 200, response.text
        answers.append(moderate.read(response.content, pack))
    return answers


def test_many_texts_are_judged_in_one_request_each_by_itself(http: httpx.Client) -> None:
    texts = ["have a nice day", "I will hurt you", '{"url": "https://example.com"}', "you are an idiot", "merci"]
    [answer] = asked(http, step(input="{{ body }}"), {"body": texts})
    assert answer.columns["flagged"].to_pylist() == [False, True, False, True, False]
    by = answer.columns["flagged_categories"].to_pylist()
    assert "violence" in by[1]
    assert by[3] == ["harassment"]
    assert answer.usage.model == "omni-moderation-2024-09-26"


def test_all_thirteen_categories_have_a_verdict_and_a_score(http: httpx.Client) -> None:
    [answer] = asked(http, step(input="{{ body }}"), {"body": ["have a nice day"]})
    assert set(answer.columns["categories"].to_pylist()[0].values()) == {False}
    assert None not in answer.columns["category_scores"].to_pylist()[0].values()
    assert answer.columns["other_categories"].to_pylist() == [None]


def test_the_older_models_leave_two_categories_open(http: httpx.Client) -> None:
    [answer] = asked(http, step(input="{{ body }}", model="text-moderation-latest"), {"body": ["hello"]})
    [row] = answer.columns["categories"].to_pylist()
    assert {name for name, verdict in row.items() if verdict is None} == {"illicit", "illicit/violent"}


def test_a_low_threshold_flags_what_the_service_lets_pass(http: httpx.Client) -> None:
    rows = {"body": ["shut up"]}
    [lenient] = asked(http, step(input="{{ body }}"), rows)
    strict = step(input="{{ body }}", thresholds={"harassment": "30%"})
    [answer] = asked(http, strict, rows)
    assert lenient.columns["flagged"].to_pylist() == [False]
    assert [row["flagged"] for row in finished(strict, answer.columns)] == [True]
    assert [row["flagged_categories"] for row in finished(strict, answer.columns)] == [["harassment"]]


def test_images_are_judged_by_address_and_by_file_with_their_text(http: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(PNG)
    moderate = step(input="{{ body }}", image="{{ photo }}", folder=str(tmp_path), input_types=True)
    rows = {
        "body": ["my cat", "look", "I will hurt you", "no picture"],
        "photo": ["cat.png", "https://example.com/violence.png", "cat.png", None],
    }
    answers = asked(http, moderate, rows)
    assert [answer.columns["flagged"].to_pylist() for answer in answers] == [[False], [True], [True], [False]]
    kinds = [answer.columns["category_applied_input_types"].to_pylist()[0]["violence"] for answer in answers]
    assert kinds == [["text", "image"], ["text", "image"], ["text", "image"], ["text"]]
