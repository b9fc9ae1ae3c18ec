"""What holds for every kind of step, output and setting."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from penstock.outputs import KINDS as OUTPUTS
from penstock.spec.model import Spec
from penstock.spec.params import Param
from penstock.steps import KINDS as STEPS
from penstock.steps import ApiStep

KINDS: list[Any] = [*STEPS.values(), *OUTPUTS.values()]


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_in(field.annotation)
    for argument in typing.get_args(annotation):
        yield from models_in(argument)


def all_models() -> list[type[BaseModel]]:
    found = [model for root in [Spec, Param, *KINDS] for model in models_in(root)]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("model", all_models(), ids=lambda model: model.__name__)
def test_every_field_of_every_setting_says_what_it_is_for(model: type[BaseModel]) -> None:
    bare = [name for name, field in model.model_fields.items() if len(field.description or "") < 8]
    assert bare == []


@pytest.mark.parametrize("model", all_models(), ids=lambda model: model.__name__)
def test_every_setting_refuses_unknown_keys_and_changes(model: type[BaseModel]) -> None:
    assert model.model_config["extra"] == "forbid"
    assert model.model_config["frozen"] is True


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_kind_has_a_summary_and_an_example_that_loads(kind: Any) -> None:
    assert kind.summary.endswith(".")
    made = kind.model_validate(yaml.safe_load(kind.example))
    assert made.uses == kind.kind


@pytest.mark.parametrize("model", all_models(), ids=lambda model: model.__name__)
def test_every_example_of_a_field_is_a_value_it_takes(model: type[BaseModel]) -> None:
    from pydantic import TypeAdapter

    for name, field in model.model_fields.items():
        if name in {"steps", "outputs", "provider", "params"}:
            continue
        adapter: TypeAdapter[Any] = TypeAdapter(typing.Annotated[(field.annotation, *field.metadata, None)])
        for example in field.examples or []:
            taken = adapter.validate_python(example)
            assert taken is not None
            assert adapter.validate_python(adapter.dump_python(taken)) == taken, "what it means is a value it takes too"


@pytest.mark.parametrize(
    "kind", [kind for kind in STEPS.values() if issubclass(kind, ApiStep)], ids=lambda kind: kind.kind
)
def test_the_fingerprint_of_an_api_step_leaves_out_what_changes_no_result(kind: type[ApiStep]) -> None:
    data = yaml.safe_load(kind.example)
    plain = kind.model_validate(data)
    other = kind.model_validate({**data, "id": "other", "concurrency": 3})
    assert plain.content() == other.content()
    assert plain.content() != kind.model_validate({**data, "model": "another"}).content()
