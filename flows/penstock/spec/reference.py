"""The reference pages of the documentation, from the same declarations as the loader.

``penstock schema --docs docs/reference`` writes them, and a test fails when they are not up to date.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union

import yaml
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from penstock import values
from penstock.expressions import AGGREGATES, FILTERS, METHODS, AggregateField, ColumnField, SqlField, TemplateField
from penstock.outputs import KINDS as OUTPUTS
from penstock.sources import SourceSettings
from penstock.spec.budget import Budget
from penstock.spec.errors_key import ErrorSettings
from penstock.spec.incremental_key import Incremental
from penstock.spec.markers import keys_of
from penstock.spec.model import Spec
from penstock.spec.params import Param
from penstock.spec.provider import OpenAISettings, SandboxSettings
from penstock.spec.runner_key import RunnerSettings
from penstock.spec.schedule import ScheduleSettings
from penstock.steps import KINDS as STEPS
from penstock.steps import ApiStep, Step

_HEAD = "<!-- Generated from the declarations by `penstock schema --docs docs/reference`; do not edit. -->\n\n"
_UNITS: dict[Any, str] = {
    values.parse_duration: "duration",
    values.parse_size: "size",
    values.parse_count: "count",
    values.parse_share: "share",
}
_MARKERS: dict[type, str] = {
    TemplateField: "template",
    SqlField: "SQL expression",
    AggregateField: "SQL aggregate",
    ColumnField: "column",
    values.PathField: "path",
}
_WORDS: dict[Any, str] = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "any value"}
_PAGES = {
    "`params`": "#parameters",
    "`provider`": "provider.md",
    "`source`": "source.md",
    "`steps`": "steps.md",
    "`outputs`": "outputs.md",
    "`errors`": "#errors",
    "`budget`": "#budget",
    "`schedule`": "#schedule",
    "`runner`": "#runner",
    "`incremental`": "#incremental",
}


def reference_pages() -> dict[str, str]:
    """All pages, by file name."""
    return {
        "pipeline.md": _HEAD + _pipeline(),
        "provider.md": _HEAD + _provider(),
        "source.md": _HEAD + f"# Source\n\n{_doc(SourceSettings)}\n\n{_table(SourceSettings)}",
        "steps.md": _HEAD + _steps(),
        "outputs.md": _HEAD + _kinds("Outputs", "What is written at the end of a run.", OUTPUTS),
        "expressions.md": _HEAD + _expressions(),
    }


def takes(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """In words what a field takes, for example ``duration`` or ``column or list of column``."""
    for mark in metadata:
        if type(mark) in _MARKERS:
            return _MARKERS[type(mark)]
        if isinstance(mark, BeforeValidator) and mark.func in _UNITS:
            return _UNITS[mark.func]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return takes(arguments[0], tuple(arguments[1:]))
    if origin in {Union, types.UnionType}:
        return " or ".join(dict.fromkeys(takes(part) for part in arguments if part is not type(None)))
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in arguments)
    if origin is list:
        return f"list of {takes(arguments[0])}"
    if origin is dict:
        inner = takes(arguments[1])
        return "mapping" if inner == "any value" else f"mapping of names to {inner}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    return _WORDS.get(annotation, "value")


def _pipeline() -> str:
    return "\n\n".join(
        [
            "# The pipeline file",
            "One YAML file (UTF-8, YAML 1.2: `on` and `no` are text). Relative paths start at its folder. Unknown keys "
            "are mistakes. `${NAME}` and `${NAME:-default}` take a value from the environment, `${params.x}` from the "
            "parameters; `$$` is a dollar sign. A variable that holds a key can only be named by `api_key`.",
            "## Keys",
            _linked(_table(Spec)),
            "## Parameters",
            _doc(Param),
            _table(Param),
            "## Errors",
            _doc(ErrorSettings),
            _table(ErrorSettings),
            "## Budget",
            _doc(Budget),
            _table(Budget),
            "## Schedule",
            _doc(ScheduleSettings) + " [Every night by itself](../guide/scheduling.md) shows how.",
            _table(ScheduleSettings),
            "## Runner",
            _doc(RunnerSettings) + " [Several processes and machines](../guide/scaling.md) shows how.",
            _table(RunnerSettings),
            "## Incremental",
            _doc(Incremental),
            _table(Incremental),
            "## Units",
            "| what | written like |\n|---|---|\n"
            "| duration | `30s`, `200ms`, `15m`, `1h30m`, `2d`; a bare number is seconds |\n"
            "| size | `25MB`, `512KiB`; a bare number is bytes |\n"
            "| count | `5000`, `2_000_000`, `200k`, `50M` |\n"
            "| share | `5%`, `0.05` |\n",
        ]
    )


def _provider() -> str:
    parts = [
        "# Provider",
        "`provider: sandbox` starts the embedded server for the run: no key, no cost. `provider: openai` is OpenAI's "
        "API with the key in `OPENAI_API_KEY`. A mapping sets more; without `uses` it is that of `openai`.",
        "## `openai`",
        _doc(OpenAISettings),
        _table(OpenAISettings),
        "## `sandbox`",
        _doc(SandboxSettings),
        _table(SandboxSettings),
    ]
    for name in ("limits", "retry", "timeout", "prices"):
        model = _model_in(OpenAISettings.model_fields[name].annotation)
        parts += [f"## `{name}`", _doc(model), _table(model)]
    return "\n\n".join(parts)


def _steps() -> str:
    shared = set(keys_of(ApiStep)) - {"uses"}
    text = _kinds("Steps", "What happens to the rows, in the order of the file.", STEPS, shared)
    common = _table(ApiStep, leave={"uses"})
    about = "All steps have `id` and `from`; the others are those of steps that ask a model."
    return f"{text}\n## Shared settings\n\n{about}\n\n{common}"


def _kinds(title: str, text: str, kinds: Mapping[str, Any], shared: set[str] | None = None) -> str:
    parts = [f"# {title}", text]
    for name, kind in sorted(kinds.items()):
        example = kind.example.rstrip("\n").replace("\n", "\n  ")
        parts += [f"## `{name}`", kind.summary]
        if isinstance(kind, type) and issubclass(kind, Step) and issubclass(kind, ApiStep):
            parts.append(f"Asks `{kind.endpoint}`. The [shared settings](#shared-settings) apply too.")
        parts += [f"```yaml\n- {example}\n```", _table(kind, leave=(shared or set()) - {"model"})]
    return "\n\n".join(parts)


def _expressions() -> str:
    filters = ", ".join(f"`{name}`" for name in sorted(FILTERS))
    aggregates = ", ".join(f"`{name}`" for name in AGGREGATES)
    methods = "\n".join(f"| {kind} | {', '.join(f'`{name}`' for name in sorted(names))} |" for kind, names in METHODS)
    return "\n\n".join(
        [
            "# Templates and SQL",
            "A **template** makes text of a row: `{{ title }}. {{ body }}`. It is a "
            "[Jinja](https://jinja.palletsprojects.com/) template with loops and conditions. A null renders as "
            "nothing, and a column that does not exist is found by `penstock check`. Templates cannot include files, "
            "define macros or call Python.",
            f"Filters: {filters}.",
            f"Methods:\n\n| of | methods |\n|---|---|\n{methods}",
            "An **SQL expression** computes with a row's columns: `length(body) > 0`. It is one expression in the "
            "[SQL of polars](https://docs.pola.rs/user-guide/sql/intro/), never a query: no `SELECT`, no reading of "
            "files, nothing over several rows (`sum`, `count`, `OVER`), because a step sees one partition at a time. "
            "Column names are case-sensitive; those with spaces stand in double quotes, text in single ones.",
            "An **SQL aggregate** gives one value for many rows, in the output `summary`: `round(avg(score), 2)`, "
            "`count(*) FILTER (WHERE flagged)`. Every column in it stands inside one of: "
            f"{aggregates}. Nulls do not count, except in `count(*)`, `first` and `last`.\n",
        ]
    )


def _table(model: type[BaseModel], leave: set[str] | None = None) -> str:
    rows = [_row(name, field) for name, field in keys_of(model).items() if name not in (leave or set())]
    return "\n".join(["| key | takes | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def _row(name: str, field: FieldInfo) -> str:
    meaning = field.description or ""
    if field.examples:
        meaning += " For example " + ", ".join(f"`{_inline(example)}`" for example in field.examples) + "."
    cells = [f"`{name}`", takes(field.annotation, tuple(field.metadata)), _default(field), meaning]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    if field.default_factory is not None or field.default is None or field.default == "":
        return ""
    if isinstance(field.default, float) and takes(field.annotation, tuple(field.metadata)) == "duration":
        return f"`{values.format_duration(field.default)}`"
    if isinstance(field.default, float) and takes(field.annotation, tuple(field.metadata)) == "share":
        return f"`{field.default:.0%}`"
    return f"`{_inline(field.default)}`"


def _inline(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n...\n").strip()


def _doc(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").split("\n\n")[0].replace("\n    ", " ")


def _model_in(annotation: Any) -> type[BaseModel]:
    return next(_models_in(annotation))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)


def _linked(table: str) -> str:
    for name, target in _PAGES.items():
        table = table.replace(f"| {name} |", f"| [{name}]({target}) |")
    return table
