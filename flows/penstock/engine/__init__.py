"""The request engine: items in, outcomes out, as fast as the server allows and never more than the budget does."""

from __future__ import annotations

from penstock.engine.control import RunControl, control_of, release
from penstock.engine.jobs import Engine, Job, engine

__all__ = ["Engine", "Job", "RunControl", "control_of", "engine", "release"]
