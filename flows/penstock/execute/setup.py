"""From a plan to what its tasks share: the provider, the run's control, the key columns."""

from __future__ import annotations

from dataclasses import replace

from penstock.api.provider import Provider
from penstock.engine.control import RunControl
from penstock.errors import InputError
from penstock.plan.model import Plan, Segment
from penstock.spec.model import Spec
from penstock.spec.provider import SandboxSettings
from penstock.steps import ApiStep, TableStep


def provider_for(plan: Plan, spec: Spec, step: ApiStep) -> Provider:
    """Where the requests of a step go.

    Raises:
        InputError: the pipeline has no provider for it, or its embedded server was not started.
    """
    name, settings = spec.provider_name(step), spec.provider_of(step)
    if isinstance(settings, SandboxSettings) and name not in plan.base_urls:
        raise InputError("the plan was made for the sandbox, and no sandbox was started for it")
    provider = settings.to_provider(name, base_url=plan.base_urls.get(name))
    return replace(provider, limits=replace(provider.limits, shares=max(1, plan.processes)))


def control_for(spec: Spec) -> RunControl:
    """What stops a run: its budget, its error share, its patience."""
    budget = spec.budget
    return RunControl(
        budget_usd=budget.usd if budget else None,
        budget_tokens=budget.tokens if budget else None,
        stop_after=spec.errors.stop_after,
        stop_above=spec.errors.stop_above,
        prices=spec.prices,
    )


def keys_of(spec: Spec, plan: Plan, segment: Segment) -> list[str]:
    """The columns that name a row of a segment: the source's, or Penstock's own, and those that steps added."""
    chain: list[int] = []
    one: Segment | None = segment
    while one is not None:
        chain = [*one.steps, *chain]
        one = plan.segment(one.reads) if one.reads else None
    steps = [spec.steps[place] for place in chain]
    return [*spec.source_keys, *(key for step in steps if isinstance(step, TableStep) for key in step.adds_keys)]
