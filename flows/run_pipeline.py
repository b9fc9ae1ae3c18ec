"""Entry point of deployments: `prefect deploy flows/run_pipeline.py:run_pipeline`.

It stands outside the package because Prefect loads an entry file as a module of its own name: a file of the package
would be loaded twice, and its exceptions would be two different classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from penstock.flow.compile import as_texts
from penstock.flow.deployed import run_deployed


@flow(name="penstock", flow_run_name="{pipeline}", persist_result=False)
def run_pipeline(
    pipeline: str, params: dict[str, Any] | None = None, provider: str | None = None, limit: int | None = None
) -> Any:
    """Run a pipeline file.

    Args:
        pipeline: the pipeline file; a relative path starts at the working directory.
        params: values for the pipeline's parameters.
        provider: `sandbox` or `openai`, instead of what the file says.
        limit: only so many rows, as a rehearsal.
    """
    return run_deployed(Path(pipeline), as_texts(params or {}), provider, limit)
