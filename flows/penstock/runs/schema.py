"""The JSON Schema of run records, for programs that read ``run.json`` or ``penstock show --json``."""

from __future__ import annotations

import json

from penstock.runs.record import RunRecord


def run_schema() -> str:
    """The text of ``run.schema.json``."""
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Run record of Penstock",
        **RunRecord.model_json_schema(mode="serialization", ref_template="#/definitions/{model}"),
    }
    schema["definitions"] = schema.pop("$defs")
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
