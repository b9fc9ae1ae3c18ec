"""The input file of a batch: each line checked as the service does it before any request is carried out.

Source: the service's guide on batches: JSON lines with ``custom_id``, ``method``, ``url`` and ``body``, at most 50,000.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

MOST_REQUESTS = 50_000
MOST_EMBEDDING_INPUTS = 50_000
_MOST_ERRORS = 100
_KEYS = ("custom_id", "method", "url", "body")


@dataclass(slots=True)
class Checked:
    """What is known of an input file.

    Attributes:
        offsets: where each request begins, in bytes.
        model: the one that all requests name; empty when none names one.
        errors: as the batch shows them; with one of them nothing is carried out.
    """

    offsets: list[int] = field(default_factory=list)
    model: str = ""
    errors: list[dict[str, Any]] = field(default_factory=list)

    def add(self, code: str, message: str, line: int | None = None, param: str | None = None) -> None:
        """Note an error; of very many only the first are kept."""
        if len(self.errors) < _MOST_ERRORS:
            self.errors.append({"code": code, "message": message, "param": param, "line": line})


def check_lines(path: Path, endpoint: str, models: Container[str]) -> Checked:
    """Read a whole input file.

    Args:
        path: the file.
        endpoint: of the batch; each line must name the same.
        models: the names that requests may use.
    """
    found = Checked()
    seen: set[str] = set()
    inputs = offset = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    found.offsets.append(offset)
                    request = _request(line, number, found)
                    if request is not None:
                        _check(request, number, endpoint, seen, found)
                        _check_model(request["body"], number, models, found)
                        inputs += _inputs(request["body"])
                offset += len(line)
    except FileNotFoundError:
        found.add("file_not_found", "The input file was deleted before it was read.", param="input_file_id")
        return found
    if not found.offsets:
        found.add("empty_file", "The input file is empty. Please ensure the batch contains at least one request.")
    if len(found.offsets) > MOST_REQUESTS:
        found.add(
            "too_many_tasks",
            f"The batch input file contains too many requests. The maximum is {MOST_REQUESTS}, but got "
            f"{len(found.offsets)}.",
        )
    if endpoint == "/v1/embeddings" and inputs > MOST_EMBEDDING_INPUTS:
        found.add(
            "too_many_inputs",
            f"The batch contains too many embedding inputs. The maximum across all requests is "
            f"{MOST_EMBEDDING_INPUTS}, but got {inputs}.",
        )
    return found


def _request(line: bytes, number: int, found: Checked) -> dict[str, Any] | None:
    try:
        request = msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found.add("invalid_json_line", "This line is not parseable as valid JSON.", number)
        return None
    if not isinstance(request, dict):
        found.add("invalid_json_line", "This line is not a JSON object.", number)
        return None
    for key in _KEYS:
        if request.get(key) is None:
            found.add("missing_required_parameter", f"Missing required parameter: '{key}'.", number, key)
            return None
    for key, kind, name in (("custom_id", str, "a string"), ("body", dict, "an object")):
        if not isinstance(request[key], kind):
            found.add("invalid_type", f"Invalid type for '{key}': expected {name}.", number, key)
            return None
    return request


def _check(request: dict[str, Any], number: int, endpoint: str, seen: set[str], found: Checked) -> None:
    custom_id = request["custom_id"]
    if custom_id in seen:
        found.add(
            "duplicate_custom_id",
            f"The custom_id '{custom_id[:64]}' for this request is a duplicate of another request. The custom_id "
            "parameter must be unique for each request in a batch.",
            number,
            "custom_id",
        )
    seen.add(custom_id)
    if request["method"] != "POST":
        found.add("invalid_method", "Invalid value for 'method'. The only supported value is 'POST'.", number, "method")
    if request["url"] != endpoint:
        found.add(
            "url_mismatch",
            f"The URL provided for this request does not match the batch endpoint '{endpoint}'.",
            number,
            "url",
        )


def _check_model(body: dict[str, Any], number: int, models: Container[str], found: Checked) -> None:
    model = body.get("model")
    # A request without a good name is refused alone, by the endpoint.
    if not isinstance(model, str) or not model:
        return
    if model not in models:
        found.add(
            "model_not_found",
            f"The provided model '{model[:64]}' is not supported by the Batch API.",
            number,
            "body.model",
        )
    elif found.model and model != found.model:
        found.add(
            "mismatched_model",
            f"The provided model '{model[:64]}' does not match the rest of the batch. Each batch must contain requests "
            "for a single model.",
            number,
            "body.model",
        )
    found.model = found.model or model


def _inputs(body: dict[str, Any]) -> int:
    given = body.get("input")
    return len(given) if isinstance(given, list) and given and not isinstance(given[0], int) else 1
