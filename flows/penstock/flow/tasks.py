"""The one Prefect task: partitions through one segment, by their plan file.

It is a function of a module, so that any worker can import it, and its arguments are a path, names and numbers:
data never goes through Prefect. Exceptions do not either, since Prefect stores their text in five places; a task ends
in a state whose message has passed `redact`, and which holds the exception in memory only.
"""

from __future__ import annotations

import errno
import pickle
import traceback
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Failed
from prefect.tasks import Task

from penstock.errors import Interrupted, PenstockError
from penstock.flow.secret_blocks import offer_blocks
from penstock.flow.shared_limits import offer_shared_limits
from penstock.secrets import redact

# What says that the place of work broke down, not the work: the partition starts again from its journal.
_BREAKDOWNS = (OSError, EOFError, BrokenExecutor)
_MOST_RETRIES = 5
_NOT_BREAKDOWNS = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)


def is_breakdown(error: object) -> bool:
    """Whether `error` may well not happen a second time, on this or another worker."""
    if isinstance(error, OSError) and error.errno == errno.ESTALE:
        # On a network file system: another worker has put its journal in the place of this one's.
        return False
    return isinstance(error, _BREAKDOWNS) and not isinstance(error, (PenstockError, *_NOT_BREAKDOWNS))


def carried(error: Exception) -> Exception:
    """The exception itself if it can be brought to another process, else one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # what was made here
    except (pickle.PickleError, TypeError, AttributeError, ValueError):
        return RuntimeError(redact(f"{type(error).__name__}: {error}"))
    return error


def _retry(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    return is_breakdown(state.data)


@task(
    # Neither tags nor a time-out: each tagged run makes a blocking call to the API, and a 503 there failed whole
    # flows; time-outs are not enforced in threads and log a warning per run.
    name="run_segment",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=1,
    retry_delay_seconds=1,
    retry_condition_fn=_retry,
)
def run_segment(plan_file: str, segment: str, partitions: list[int], shown: str) -> Any:  # noqa: ARG001  # in its name
    """Take partitions through a segment, one after the other.

    Args:
        plan_file: the run's plan.
        segment: its id.
        partitions: their numbers.
        shown: the same for people.

    Returns:
        The summary of `penstock.execute.segment.run_segment` for the last one, or a state that says why there is none.
    """
    from penstock.execute.segment import run_segment as run

    try:
        offer_blocks()
        offer_shared_limits()
        return [run(plan_file, segment, partition) for partition in partitions][-1]
    except Interrupted as error:
        return Cancelled(message=redact(str(error)), data=error)
    except PenstockError as error:
        return Failed(message=redact(str(error)), data=error)
    except Exception as error:  # noqa: BLE001  # not swallowed: the flow raises it again; Prefect must not see its text
        get_run_logger().error(redact("".join(traceback.format_exception(error))))
        return Failed(message=redact(f"{type(error).__name__}: {error}"), data=carried(error))


def task_for(segment: str, partitions: int = 1) -> Task[..., Any]:
    """The task under the name of a segment, as Prefect's UI shows it: ``embed[12]``, ``embed[16-23]``.

    Args:
        segment: its id.
        partitions: how many a task takes, each of which may meet a breakdown.
    """
    # Braces would be read as a template of the arguments' names.
    shown = segment.replace("{", "(").replace("}", ")")
    retries = min(partitions, _MOST_RETRIES)
    return run_segment.with_options(name=segment, task_run_name=shown + "[{shown}]", retries=retries)


def shown(partitions: Sequence[int]) -> str:
    """Numbers in their order, as people write them: ``12``, ``16-23``, ``3-4, 9``."""
    runs: list[list[int]] = []
    for number in partitions:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
