"""The schema of run records says what records are."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import jsonschema

from penstock.runs.record import RunRecord
from penstock.runs.schema import run_schema

SCHEMAS = Path(__file__).parents[2] / "schemas"


def test_a_record_fits_the_schema_and_every_field_is_described() -> None:
    schema = json.loads(run_schema())
    record = RunRecord(run_id="r", pipeline="p", file="p.yaml", sha256="0", started_at=datetime.now(UTC))
    jsonschema.validate(json.loads(record.model_dump_json()), schema)
    for part in (schema, *schema["definitions"].values()):
        assert all("description" in field or "$ref" in field for field in part.get("properties", {}).values())


def test_the_committed_schema_is_current() -> None:
    assert (SCHEMAS / "run.schema.json").read_text("utf-8") == run_schema()
