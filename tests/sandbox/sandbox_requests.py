"""Requests that several test files of the sandbox send."""

from __future__ import annotations

from typing import Any

import httpx


def embed(http: httpx.Client, text: Any, *, fault: str = "", **fields: Any) -> httpx.Response:
    headers = {"x-sandbox-fault": fault} if fault else {}
    return http.post("/embeddings", json={"model": "tiny", "input": text, **fields}, headers=headers)
