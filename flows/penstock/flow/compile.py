"""From a pipeline file to a Prefect flow: its name, its typed parameters, and a body.

Compiling reads the file and nothing else: no secret, no network, no row. So a deployment can be made anywhere, and
Prefect's form for a run asks for the pipeline's own parameters, with their types, defaults and descriptions.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from prefect import Flow
from pydantic import Field

from penstock.flow.runners import task_runner
from penstock.spec.load import Loaded, decoded, load_text, read_bytes
from penstock.spec.params import Param

Body = Callable[[Mapping[str, Any]], Any]
Hook = Callable[..., Any]

_PYTHON: dict[str, Any] = {"string": str, "integer": int, "number": float, "boolean": bool, "date": dt.date}
_ANY_VALUE = {"string": "text", "integer": "1", "number": "1", "boolean": "true", "date": "2000-01-01"}
# Offered beside the pipeline's own parameters, unless it has one of that name.
_RUN_OPTIONS: dict[str, tuple[Any, str]] = {
    "provider": (Literal["sandbox", "openai"] | None, "Where requests go, instead of what the pipeline says."),
    "limit": (Annotated[int, Field(ge=1)] | None, "Only so many rows, as a rehearsal."),
}


def compile_pipeline(
    path: str | Path,
    *,
    on_completion: Sequence[Hook] = (),
    on_failure: Sequence[Hook] = (),
    on_cancellation: Sequence[Hook] = (),
    on_crashed: Sequence[Hook] = (),
) -> Flow[..., Any]:
    """A flow for the pipeline in `path`, to serve, deploy or call; a relative path starts at the working directory.

    Its parameters are those of the pipeline, and `provider` and `limit` as on the command line. The hooks are
    Prefect's, called with the flow, the flow run and its state.

    Raises:
        SpecError: the file has mistakes; all of them with their places.
    """
    file = Path(path).absolute()
    loaded = read_pipeline(file)

    hooks = {"on_completion": on_completion, "on_failure": on_failure}
    hooks |= {"on_cancellation": on_cancellation, "on_crashed": on_crashed}
    return build_flow(
        loaded,
        partial(_run_file, file, frozenset(loaded.spec.params)),
        options=run_options(loaded),
        flow_run_name=lambda: f"{loaded.spec.name} {dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M:%S}",
        hooks={name: list(functions) for name, functions in hooks.items() if functions},
    )


def _run_file(file: Path, params: frozenset[str], values: Mapping[str, Any]) -> Any:
    """The body of a flow that runs by itself; a function of this module, since Prefect pickles it for its process."""
    from penstock.flow.deployed import run_deployed

    own = {name: value for name, value in values.items() if name in params and value is not None}
    options = {name: value for name, value in values.items() if name not in params}
    return run_deployed(file, as_texts(own), **options)


def build_flow(
    loaded: Loaded,
    body: Body,
    *,
    workers: int | None = None,
    options: Sequence[str] = (),
    flow_run_name: str | Callable[[], str] | None = None,
    hooks: Mapping[str, list[Hook]] | None = None,
) -> Flow[..., Any]:
    """A flow with the name and parameters of a pipeline around any body.

    Args:
        loaded: the pipeline.
        body: called with the parameters' values. Prefect pickles a flow for each process that serves it, and with each
            task for other processes: a body that cannot leave this one is wrapped in `StaysHere`.
        workers: threads or worker processes; None leaves it to the pipeline, or to whoever runs the body.
        options: which run options it takes beside the pipeline's parameters.
        flow_run_name: of its runs.
        hooks: Prefect's, by their argument's name.
    """
    spec = loaded.spec

    def fn(**values: Any) -> Any:
        return body(values)

    fn.__signature__ = signature(spec.params, options)  # type: ignore[attr-defined]  # functions may carry one
    fn.__annotations__ = {name: parameter.annotation for name, parameter in fn.__signature__.parameters.items()}  # type: ignore[attr-defined]  # as above
    fn.__name__ = fn.__qualname__ = spec.name.replace("-", "_")
    fn.__doc__ = _docstring(spec.params, options)
    called = hooks or {}
    return Flow(
        fn,
        name=spec.name,
        description=spec.description or f"Penstock pipeline {loaded.file.name}",
        version=loaded.sha256[:12] or None,
        flow_run_name=flow_run_name,
        task_runner=task_runner(spec.runner, workers, threads=workers or spec.runner.workers or DEFAULT_WORKERS),
        retries=0,
        validate_parameters=True,
        persist_result=False,
        on_completion=called.get("on_completion"),
        on_failure=called.get("on_failure"),
        on_cancellation=called.get("on_cancellation"),
        on_crashed=called.get("on_crashed"),
    )


class StaysHere:
    """A flow's body that holds what no other process can have, such as an open session: a pickled one only refuses."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """Run the body, in the process it was made in."""
        return self._body(values)

    def __reduce__(self) -> tuple[type[StaysHere], tuple[Body]]:
        return type(self), (_elsewhere,)


def _elsewhere(_values: Mapping[str, Any]) -> Any:
    raise RuntimeError("the body of a flow runs only in the process that compiled it")


DEFAULT_WORKERS = 8
"""Threads of a flow that is compiled before it is known how many partitions it takes at a time."""


def signature(params: Mapping[str, Param], options: Sequence[str] = ()) -> inspect.Signature:
    """The signature of a flow with these parameters: required ones first, all of them by name."""
    parameters = [_parameter(name, param) for name, param in params.items()]
    parameters += [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=_RUN_OPTIONS[name][0],
        )
        for name in options
    ]
    return inspect.Signature(sorted(parameters, key=lambda one: one.default is not inspect.Parameter.empty))


def _parameter(name: str, param: Param) -> inspect.Parameter:
    kind = _PYTHON[param.type]
    default: Any = inspect.Parameter.empty
    if not param.required:
        default = dt.date.fromisoformat(param.default) if param.type == "date" else kind(param.default)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _docstring(params: Mapping[str, Param], options: Sequence[str]) -> str:
    """A docstring in Google's style: the only place where Prefect looks for what a parameter is for."""
    lines = {name: param.description for name, param in params.items() if param.description}
    lines |= {name: _RUN_OPTIONS[name][1] for name in options}
    described = [f"    {name}: {' '.join(text.split())}" for name, text in lines.items()]
    return "\n".join(["A pipeline.", "", "Args:", *described]) if described else "A pipeline."


def parameter_schema(loaded: Loaded) -> dict[str, Any]:
    """What Prefect's form for a run asks for: the pipeline's parameters and the run options, as a JSON Schema."""
    flow = build_flow(loaded, lambda values: values, options=run_options(loaded))
    return flow.parameters.model_dump(mode="json", exclude_unset=True)


def run_options(loaded: Loaded) -> list[str]:
    """The run options that a flow of this pipeline takes: those that it has no parameter of the same name for."""
    return [name for name in _RUN_OPTIONS if name not in loaded.spec.params]


def as_json_values(loaded: Loaded, given: Iterable[str]) -> dict[str, Any]:
    """The values of the parameters `given` as Prefect keeps them: dates as texts, all others as they are."""
    values = {name: loaded.param_values[name] for name in given}
    return {name: value.isoformat() if isinstance(value, dt.date) else value for name, value in values.items()}


def as_texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Values as ``-p name=value`` on the command line would give them."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in values.items()
        if value is not None
    }


def read_pipeline(file: Path, params: Mapping[str, str] | None = None) -> Loaded:
    """The pipeline, also where its source is not, and with any value for parameters that each run must give.

    Args:
        file: the pipeline file.
        params: values of parameters, as on the command line.

    Raises:
        SpecError: the file has mistakes, or no such parameter.
    """
    content = read_bytes(str(file))
    text = decoded(content, str(file))
    return load_text(
        text,
        file=str(file),
        folder=file.resolve().parent,
        sha256=hashlib.sha256(content).hexdigest(),
        params=_required(text) | dict(params or {}),
        source_may_miss=True,
    )


def _required(text: str) -> dict[str, str]:
    """Any value of the right type for each parameter that has no default."""
    try:
        document = yaml.load(text, Loader=yaml.CSafeLoader)  # CSafeLoader is the safe loader in C
    except yaml.YAMLError:
        return {}
    params = document.get("params") if isinstance(document, dict) else None
    return {
        str(name): _ANY_VALUE.get(str(written.get("type", "string")), "")
        for name, written in (params.items() if isinstance(params, dict) else ())
        if isinstance(written, dict) and written.get("default") is None
    }
