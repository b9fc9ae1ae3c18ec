"""The JSON Schema of pipeline files, from the same declarations as the loader, for editors and other tools.

Draft 07, which the YAML language servers of editors read best.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from penstock.outputs import KINDS as OUTPUTS
from penstock.sources import SourceSettings
from penstock.spec.budget import Budget
from penstock.spec.errors_key import ErrorSettings
from penstock.spec.incremental_key import Incremental
from penstock.spec.model import Spec
from penstock.spec.params import Param
from penstock.spec.provider import OpenAISettings, SandboxSettings
from penstock.spec.runner_key import KINDS as RUNNERS
from penstock.spec.runner_key import RunnerSettings
from penstock.spec.schedule import ScheduleSettings
from penstock.steps import KINDS as STEPS

_REFERENCE = {"$ref": "#/definitions/reference"}
_HOISTED = ("description", "default", "examples")
_CONTRACTS = {"Step", "Output", "Spec"}
Schema = dict[str, Any]


def pipeline_schema() -> Schema:
    """The schema as plain data."""
    models: list[type[BaseModel]] = [
        Spec, Param, SourceSettings, ErrorSettings, Budget, RunnerSettings, ScheduleSettings, Incremental,
        SandboxSettings, OpenAISettings,
        *STEPS.values(), *OUTPUTS.values(),
    ]  # fmt: skip
    names, whole = models_json_schema([(model, "validation") for model in models], ref_template="#/definitions/{model}")
    names_of: dict[Any, str] = {model: found["$ref"].rsplit("/", 1)[1] for (model, _), found in names.items()}
    found = {name: _adapted(schema) for name, schema in whole["$defs"].items()}
    top = found[names_of[Spec]]
    properties = top["properties"]
    properties["params"]["additionalProperties"] = {
        "anyOf": [_ref(names_of[Param]), {"type": ["string", "number", "boolean"]}]
    }
    properties["provider"] = {
        **{name: value for name, value in properties["provider"].items() if name in {"description", "examples"}},
        **_provider(names_of),
    }
    properties["runner"] = {
        **{name: value for name, value in properties["runner"].items() if name in {"description", "examples"}},
        "if": {"type": "string"},
        "then": {"enum": list(RUNNERS)},
        "else": _ref(names_of[RunnerSettings]),
    }
    properties["steps"]["items"] = _by_kind("step", STEPS, names_of)
    properties["outputs"]["items"] = _by_kind("output", OUTPUTS, names_of)
    definitions = {name: schema for name, schema in sorted(found.items()) if name not in _CONTRACTS}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Penstock pipeline",
        **top,
        "definitions": {
            **definitions,
            "reference": {
                "type": "string",
                "pattern": r"\$\{[^{}]+\}",
                "description": "A value from the environment, ${NAME} or ${NAME:-default}, or ${params.x}.",
            },
        },
    }


def _provider(names: Mapping[Any, str]) -> Schema:
    is_sandbox = {"required": ["uses"], "properties": {"uses": {"const": "sandbox"}}}
    mapping = {"if": is_sandbox, "then": _ref(names[SandboxSettings]), "else": _ref(names[OpenAISettings])}
    return {"if": {"type": "string"}, "then": {"enum": ["sandbox", "openai"]}, "else": {"type": "object", **mapping}}


def _by_kind(what: str, kinds: Mapping[str, Any], names: Mapping[Any, str]) -> Schema:
    """The schema of an entry whose `uses` says which one applies."""
    summaries = "; ".join(f"{name}: {kind.summary}" for name, kind in sorted(kinds.items()))
    return {
        "type": "object",
        "required": ["uses"],
        "properties": {"uses": {"enum": sorted(kinds), "description": f"The kind of {what}. {summaries}"}},
        "allOf": [
            {"if": {"properties": {"uses": {"const": name}}}, "then": _ref(names[kind])}
            for name, kind in sorted(kinds.items())
        ],
    }


def _adapted(schema: Any, *, name: str = "") -> Any:
    """A schema of pydantic's for draft 07, without titles, and with references wherever a value is no free text."""
    if isinstance(schema, list):
        return [_adapted(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out: Schema = {}
    for key, value in schema.items():
        if key == "properties":
            out[key] = {inner: _adapted(field, name=inner) for inner, field in value.items()}
        elif key == "title" and isinstance(value, str):
            continue
        elif key in {"default", "examples", "const", "enum", "required"}:
            out[key] = value
        else:
            out[key] = _adapted(value)
    if "$ref" in out and len(out) > 1:
        # Draft 07 does not look at what stands beside a reference.
        out = {**{key: value for key, value in out.items() if key != "$ref"}, "allOf": [{"$ref": out["$ref"]}]}
    return out if name == "uses" or not _is_narrow(out) else _or_reference(out)


def _is_narrow(schema: Schema) -> bool:
    if "const" in schema or "enum" in schema:
        return True
    kind = schema.get("type")
    return kind in {"integer", "number", "boolean"} or (
        kind == "string" and "pattern" in schema and not schema["pattern"].startswith(r"^\$")
    )


def _or_reference(schema: Schema) -> Schema:
    outer = {key: value for key, value in schema.items() if key in _HOISTED}
    inner = {key: value for key, value in schema.items() if key not in _HOISTED}
    return {**outer, "anyOf": [inner, _REFERENCE]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}
