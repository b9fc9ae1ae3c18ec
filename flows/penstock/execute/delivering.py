"""After publishing: outputs that go to a server are brought there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.engine.control import RunControl
from penstock.outputs import Desk
from penstock.plan.model import Plan
from penstock.runs.record import RunRecord
from penstock.spec import Spec
from penstock.spec.provider import OpenAISettings
from penstock.tables.state import State

SANDBOX = "sandbox"
"""The folder, in that of a pipeline's state, where an embedded sandbox keeps files, jobs and models between runs."""


def servers_of(spec: Spec, state: State) -> dict[str, dict[str, Any]]:
    """For each provider that outputs go to, by name: how it is found again. Addresses and names, never a key."""
    found: dict[str, dict[str, Any]] = {}
    for output in spec.deliveries:
        settings = spec.provider_of(output)
        if isinstance(settings, OpenAISettings):
            facts: dict[str, Any] = {
                "base_url": settings.base_url.rstrip("/"),
                "key_variable": settings.key_variable,
                "key_block": settings.key_block,
                "organization": settings.organization,
                "project": settings.project,
            }
        else:
            facts = {"state": settings.state or str(state.folder / SANDBOX)}
        found[spec.provider_name(output)] = {name: value for name, value in facts.items() if value is not None}
    return found


def deliver(
    plan: Plan, spec: Spec, control: RunControl, record: RunRecord, servers: dict[str, dict[str, Any]]
) -> list[str]:
    """Bring every output that is to go somewhere; what becomes of it is written into the record as it happens.

    Returns:
        Why some did not arrive, as sentences.

    Raises:
        RunStopped: a server fails for now, or the run is to stop.
    """
    failures: list[str] = []
    control.settle()
    for number, (output, target) in enumerate(zip(spec.outputs, plan.targets, strict=True)):
        if not output.delivers:
            continue
        name, settings = spec.provider_name(output), spec.provider_of(output)
        desk = Desk(
            provider=settings.to_provider(name, base_url=plan.base_urls.get(name)),
            server=servers[name],
            check=control.check,
            tell=control.busy_with,
            note=record.notes.append,
            rehearses=plan.limit is not None and isinstance(settings, OpenAISettings),
            control=control,
        )
        done = output.at(Path(target)).deliver(desk)
        record.outputs[number] = record.outputs[number].model_copy(update={"delivered": done.facts})
        failures += [done.failure] if done.failure else []
    control.busy_with("")
    return failures
