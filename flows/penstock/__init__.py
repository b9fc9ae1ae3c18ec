"""Push a whole data set through an OpenAI-style API and be sure of every row and every cent.

::

    import penstock

    penstock.load("pipeline.yaml")                       # every mistake at once, as SpecError
    penstock.plan("pipeline.yaml").estimates             # requests, tokens, dollars; nothing is sent
    record = penstock.run("pipeline.yaml", limit=100)    # a RunRecord: where every row and every cent went
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.version import __version__

if TYPE_CHECKING:
    from penstock.plan.model import Plan
    from penstock.runs.record import RunRecord
    from penstock.spec import Loaded

__all__ = ["__version__", "load", "plan", "run"]


def load(path: str | Path, *, params: Mapping[str, str] | None = None, provider: str | None = None) -> Loaded:
    """Read a pipeline file and find every mistake in it.

    Args:
        params: values for the pipeline's `params`, as on the command line.
        provider: ``sandbox`` or ``openai``, instead of what the file says.

    Raises:
        SpecError: the file has mistakes; `problems` holds all of them with their places.
    """
    from penstock.spec import load as load_file

    return load_file(path, params=params, provider=provider)


def plan(
    path: str | Path,
    *,
    params: Mapping[str, str] | None = None,
    provider: str | None = None,
    limit: int | None = None,
    state: str | Path | None = None,
) -> Plan:
    """What a run would do now: segments, partitions, requests, tokens and dollars. Sends nothing.

    Args:
        limit: only the first rows.
        state: the state folder; ``.penstock`` beside the file if left out.

    Raises:
        InputError: the pipeline or its source is wrong.
    """
    from penstock.execute.session import Request, plan_request

    request = Request(Path(path), dict(params or {}), provider=provider, limit=limit, state=state)
    return plan_request(request, load(path, params=params, provider=provider))


def run(
    path: str | Path,
    *,
    params: Mapping[str, str] | None = None,
    provider: str | None = None,
    limit: int | None = None,
    state: str | Path | None = None,
    workers: int | None = None,
    fresh: bool = False,
) -> RunRecord:
    """Run a pipeline under Prefect, as ``penstock run`` does.

    Args:
        limit: only the first rows; the result is published beside the pipeline's own output.
        workers: threads or worker processes, in place of what the pipeline says under `runner`.
        fresh: use no answer of before, now or later.

    Returns:
        The run record. Look at its `status`: failed rows and early stops are no exceptions.

    Raises:
        InputError: the pipeline, its source or the environment is wrong; nothing was sent.
        RunLocked: another run of the pipeline is going on.
    """
    from penstock.execute.session import Request
    from penstock.flow.whole import run_request

    request = Request(
        Path(path),
        dict(params or {}),
        provider=provider,
        limit=limit,
        state=state,
        workers=workers,
        fresh=fresh,
    )
    session, _ = run_request(request)
    return session.record
