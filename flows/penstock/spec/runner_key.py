"""The `runner:` key: where partitions are worked on: threads, processes, or the workers of a Dask or Ray cluster."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from penstock.spec.references import did_you_mean

if TYPE_CHECKING:
    from penstock.spec.positions import Document

KINDS = ("threads", "processes", "dask", "ray")
DEFAULT_THREADS = 3
"""Partitions in work at a time: enough to keep requests in flight while one partition ends and the next begins."""
_MOST_DEFAULT_PROCESSES = 4
_EXTRAS = {"dask": "prefect_dask", "ray": "prefect_ray"}
_SCHEMES = {"dask": ("tcp", "tls"), "ray": ("ray",)}
_ADDRESSES = {"dask": "tcp://scheduler:8786", "ray": "ray://head:10001"}


class RunnerSettings(BaseModel):
    """Where partitions are worked on. `runner: processes` is short for `runner: {kind: processes}`."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    kind: Literal["threads", "processes", "dask", "ray"] = Field(
        default="threads",
        description=(
            "`threads` of the run's own process, worker `processes` on this machine, or the workers of a `dask` or "
            "`ray` cluster."
        ),
        examples=["processes"],
    )
    address: str | None = Field(
        default=None,
        description=(
            "Of a cluster that is there, for `dask` and `ray`: the Dask scheduler, or the head of a Ray cluster. "
            "Left out, a cluster on this machine is started for the run."
        ),
        examples=["tcp://scheduler:8786", "ray://head:10001"],
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description=(
            "Worker processes, or threads; `--workers` goes before it. The provider's limits are divided evenly among "
            "worker processes, so with an `address` it must be said. Otherwise 3 threads, or as many processes as "
            "there are processors, up to 4."
        ),
        examples=[4],
    )
    partitions: int = Field(
        default=1,
        ge=1,
        le=16,
        description=(
            "Partitions in work at a time in each worker process; more than 1 with `dask` only, whose workers have "
            "threads."
        ),
        examples=[2],
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.partitions > 1 and self.kind != "dask":
            raise ValueError("`partitions` above 1 needs `kind: dask`; raise `workers` instead")
        if self.address is None:
            return self
        if self.kind not in _SCHEMES:
            raise ValueError(f"`address` belongs to `kind: dask` and `kind: ray`; `{self.kind}` run on this machine")
        if urlsplit(self.address).scheme not in _SCHEMES[self.kind]:
            raise ValueError(f"`address` must be like {_ADDRESSES[self.kind]}")
        if self.workers is None:
            raise ValueError("with an `address`, `workers` must say how many worker processes the cluster has")
        return self

    def processes(self, chosen: int | None = None) -> int:
        """Worker processes; 0 where the run's own process does the work.

        Args:
            chosen: on the command line.
        """
        if self.kind == "threads":
            return 0
        return chosen or self.workers or min(_MOST_DEFAULT_PROCESSES, len(os.sched_getaffinity(0)))

    def in_work(self, chosen: int | None = None) -> int:
        """Partitions in work at a time, over all workers."""
        if self.kind == "threads":
            return chosen or self.workers or DEFAULT_THREADS
        return self.processes(chosen) * self.partitions

    @property
    def missing_extra(self) -> str:
        """What must be installed first, as a sentence; empty when nothing must."""
        module = _EXTRAS.get(self.kind)
        if module is None or find_spec(module) is not None:
            return ""
        return f"the runner {self.kind} needs a library that is not here: pip install 'penstock[{self.kind}]'"


def check_runner(document: Document, runner: RunnerSettings) -> None:
    """Note as a mistake that the library of the runner is not installed."""
    if missing := runner.missing_extra:
        document.add(document.find(("runner", "kind"))[1].span, missing)


def check_runner_word(document: Document, word: object) -> bool:
    """Whether `word` is a kind of runner that may stand alone; if not, that is noted as a mistake."""
    if word in KINDS:
        return True
    span = document.find(("runner",))[1].span
    hint = did_you_mean(str(word), list(KINDS)) or "for example `runner: processes`, or `runner: {kind: dask}`"
    document.add(span, f"`runner` is one of {', '.join(KINDS)}, or a mapping", hint)
    return False
