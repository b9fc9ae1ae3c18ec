"""Where a worker comes in: the flow of a deployment that `penstock deploy` or `penstock serve` has made.

A deployment names the pipeline file in a pull step, and `penstock.flow.entry.pipeline` as its entrypoint. Prefect runs
the step in one process and the flow in another, with the environment that the step left: so the step writes the file's
name there, and the flow is compiled from it. Nothing is generated, and the deployment shows which file it runs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from penstock.errors import InputError

PULL_STEP = "penstock.flow.entry.use_pipeline"
ENTRYPOINT = "penstock.flow.entry.pipeline"
_FILE = "PENSTOCK_PIPELINE"


def use_pipeline(file: str, state: str | None = None) -> dict[str, str]:
    """Pull step: choose the pipeline file, and its folder as the working directory.

    Args:
        file: absolute path of the pipeline file on the worker's machine.
        state: the state folder; what the worker's environment says (``PENSTOCK_STATE``) if left out.

    Raises:
        InputError: there is no such file.
    """
    if not Path(file).is_file():
        raise InputError(
            f"the worker does not find the pipeline file {file}; deploy where the worker sees it, or say where it "
            f"is: penstock deploy --worker-folder DIR"
        )
    os.environ[_FILE] = file
    if state is not None:
        os.environ["PENSTOCK_STATE"] = state
    return {"directory": str(Path(file).parent)}


def __getattr__(name: str) -> Any:
    """`pipeline`: the flow of the file that the pull step chose, compiled when Prefect asks for it."""
    if name != "pipeline":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    file = os.environ.get(_FILE)
    if not file:
        raise InputError(f"{ENTRYPOINT} is loaded after the pull step {PULL_STEP}, which names the pipeline file")
    from penstock.flow.compile import compile_pipeline

    return compile_pipeline(file)
