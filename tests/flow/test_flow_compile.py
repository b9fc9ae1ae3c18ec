from __future__ import annotations

import datetime as dt
import inspect
from pathlib import Path
from typing import Any

import pytest
from stand_in import pipeline_file

from penstock.errors import SpecError

PARAMS = {
    "since": {"type": "date", "default": "2026-01-01", "description": "Only reviews from this day on."},
    "top": 20,
    "share": 0.5,
    "strict": True,
    "who": {"type": "string"},
}


@pytest.fixture
def flow(tmp_path: Path) -> Any:
    from penstock.flow.compile import compile_pipeline

    return compile_pipeline(pipeline_file(tmp_path, name="top-reviews", description="The best ones.", params=PARAMS))


def test_the_flow_has_the_name_and_description_of_the_pipeline(flow: Any) -> None:
    assert (flow.name, flow.description) == ("top-reviews", "The best ones.")
    assert flow.fn.__name__ == "top_reviews"
    assert flow.flow_run_name().startswith("top-reviews 20")


def test_prefects_form_asks_for_the_parameters_with_types_defaults_and_descriptions(flow: Any) -> None:
    schema = flow.parameters.model_dump()
    shown = schema["properties"]
    assert shown["since"]["format"] == "date"
    assert shown["since"]["default"] == "2026-01-01"
    assert shown["since"]["description"] == "Only reviews from this day on."
    assert {name: shown[name]["type"] for name in ("top", "share", "strict", "who")} == {
        "top": "integer",
        "share": "number",
        "strict": "boolean",
        "who": "string",
    }
    assert (shown["top"]["default"], shown["share"]["default"], shown["strict"]["default"]) == (20, 0.5, True)
    assert schema["required"] == ["who"]
    assert {"provider", "limit"} < set(shown)


def test_a_value_of_the_wrong_type_is_refused_by_name(flow: Any) -> None:
    from prefect.exceptions import ParameterTypeError

    with pytest.raises(ParameterTypeError, match="top"):
        flow.validate_parameters({"who": "me", "top": "many"})


def test_a_parameter_that_the_pipeline_does_not_have_is_refused(flow: Any) -> None:
    from prefect.exceptions import SignatureMismatchError

    with pytest.raises((SignatureMismatchError, TypeError)):
        flow.validate_parameters({"who": "me", "topp": 1})


def test_a_parameter_named_like_a_run_option_is_the_pipelines_own(tmp_path: Path) -> None:
    from penstock.flow.compile import compile_pipeline

    flow = compile_pipeline(pipeline_file(tmp_path, params={"limit": "all"}))
    assert flow.parameters.model_dump()["properties"]["limit"]["type"] == "string"
    assert list(inspect.signature(flow.fn).parameters) == ["limit", "provider"]


def test_values_reach_the_run_as_the_command_line_would_give_them() -> None:
    from penstock.flow.compile import as_texts

    values = {"since": dt.date(2026, 1, 2), "strict": False, "top": 3, "who": "me", "left": None}
    assert as_texts(values) == {"since": "2026-01-02", "strict": "false", "top": "3", "who": "me"}


def test_a_deployed_run_gets_the_pipelines_own_values_and_the_run_options_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from penstock.flow import deployed
    from penstock.flow.compile import compile_pipeline

    calls: list[Any] = []
    monkeypatch.setattr(deployed, "run_deployed", lambda *given, **options: calls.append((given, options)))
    path = pipeline_file(tmp_path, params=PARAMS)
    compile_pipeline(path).fn(
        who="me", since=dt.date(2026, 5, 6), top=3, share=0.5, strict=True, provider="sandbox", limit=5
    )
    (file, params), options = calls[0]
    assert file == path
    assert params == {"who": "me", "since": "2026-05-06", "top": "3", "share": "0.5", "strict": "true"}
    assert options == {"provider": "sandbox", "limit": 5}


def test_compiling_needs_neither_source_nor_key_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from penstock.flow.compile import compile_pipeline

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    embed = {"uses": "embed", "input": "{{ text }}", "model": "text-embedding-3-small", "output": "vector"}
    path = pipeline_file(tmp_path, provider="openai", steps=[embed])
    (tmp_path / "rows.csv").unlink()
    before = sorted(tmp_path.rglob("*"))
    assert compile_pipeline(path).name == "stand-in"
    assert sorted(tmp_path.rglob("*")) == before


def test_mistakes_of_the_file_end_the_compilation_with_their_places(tmp_path: Path) -> None:
    from penstock.flow.compile import compile_pipeline

    path = pipeline_file(tmp_path, outputs=[{"uses": "parkett", "path": "out"}])
    with pytest.raises(SpecError, match="parkett"):
        compile_pipeline(path)


def test_hooks_are_prefects(tmp_path: Path) -> None:
    from penstock.flow.compile import compile_pipeline

    def told(flow: Any, flow_run: Any, state: Any) -> None:
        """Somebody's own."""

    flow = compile_pipeline(pipeline_file(tmp_path), on_failure=[told], on_crashed=[told])
    assert flow.on_failure_hooks == [told]
    assert flow.on_crashed_hooks == [told]
    assert flow.on_completion_hooks == []


def test_tasks_have_neither_tags_nor_time_outs_nor_cache_nor_stored_results() -> None:
    from prefect.cache_policies import NO_CACHE

    from penstock.flow.tasks import run_segment, task_for

    task = task_for("embed{x}")
    assert (task.name, task.task_run_name) == ("embed{x}", "embed(x)[{shown}]")
    assert not task.isasync
    assert task.tags == set()
    assert task.timeout_seconds is None
    assert task.cache_policy == NO_CACHE
    assert task.persist_result is False
    assert task.retries == 1
    assert task.fn is run_segment.fn
    assert task.fn.__module__ == "penstock.flow.tasks"


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ConnectionResetError("worker lost"), True),
        (EOFError("pipe"), True),
        (FileNotFoundError("plan.json"), False),
        (PermissionError("out"), False),
        (TypeError("a defect"), False),
        (SpecError([]), False),
        (None, False),
    ],
)
def test_only_a_breakdown_of_the_place_of_work_is_tried_again(error: object, again: bool) -> None:
    from penstock.flow.tasks import is_breakdown

    assert is_breakdown(error) is again
