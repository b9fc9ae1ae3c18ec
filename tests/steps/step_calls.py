"""The sample calls, a sandbox that is asked by a step itself, and the share of words that were heard right."""

from __future__ import annotations

import csv
import difflib
import re
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pyarrow as pa

from penstock.items import Answer
from penstock.sandbox.launch import SandboxProcess
from penstock.steps.base import ApiStep

DATA = Path(__file__).parents[2] / "sample_data"


def calls() -> list[dict[str, str]]:
    """The rows of calls.csv."""
    with (DATA / "calls.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def asked(step: ApiStep, server: SandboxProcess, payload: str) -> Answer:
    """The answer of the sandbox to one payload, over HTTP."""
    response = httpx.post(
        server.url + step.endpoint,
        content=step.body([payload]),
        headers={"content-type": step.content_type, "authorization": f"Bearer {server.key}"},
        timeout=120,
    )
    assert response.status_code == 200, response.text
    return step.read(response.content, [payload])


def answered(step: ApiStep, server: SandboxProcess, row: dict[str, Any]) -> dict[str, Any]:
    """The columns of one row, of however many pieces."""
    (payloads,) = step.payloads(pl.DataFrame([row])).to_list()
    assert payloads is not None, step.payload_error(row)
    texts = [payloads] if isinstance(payloads, str) else payloads
    answers = [asked(step, server, text).columns for text in texts]
    return combined(step, answers).to_pylist()[0]


def finished(step: ApiStep, answer: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows of an answer as they stand in the table, but for files, which are their contents here."""
    return step.finished(pa.Table.from_batches([answer])).to_pylist()


def combined(step: ApiStep, answers: list[pa.RecordBatch]) -> pa.RecordBatch:
    """As the run does it: as they are where there is one, else joined."""
    if len(answers) == 1:
        return answers[0]
    (pieces,) = pa.Table.from_batches(answers).combine_chunks().to_batches()
    return step.combine(pieces, [1] * len(answers))


def words(text: str) -> list[str]:
    """Its words, without marks and capitals."""
    return re.findall(r"[a-z']+", text.lower())


def right_words(true: str, heard: str) -> tuple[int, int]:
    """How many of the true words were heard in their order, and how many there are."""
    one, other = words(true), words(heard)
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
    return sum(block.size for block in matcher.get_matching_blocks()), len(one)
