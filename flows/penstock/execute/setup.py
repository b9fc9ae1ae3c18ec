"""From a plan to what its tasks share: the provider, the run's control, the key columns."""

from __future__ import annotations

from penstock.api.provider import Provider
from penstock.engine.control import RunControl
from penstock.errors import InputError
from penstock.plan.model import Plan
from penstock.sources import ROW_KEY
from penstock.spec.model import Spec


def provider_for(plan: Plan, spec: Spec) -> Provider:
    """Where the requests of a plan go.

    Raises:
        InputError: the pipeline has no provider, or its embedded server was not started.
    """
    if spec.provider is None:
        raise InputError("the pipeline has steps that ask a model and no `provider:`")
    name = spec.provider.uses
    if name == "sandbox" and name not in plan.base_urls:
        raise InputError("the plan was made for the sandbox, and no sandbox was started for it")
    return spec.provider.to_provider(name, base_url=plan.base_urls.get(name))


def control_for(spec: Spec) -> RunControl:
    """What stops a run: its budget, its error share, its patience."""
    budget = spec.budget
    return RunControl(
        budget_usd=budget.usd if budget else None,
        budget_tokens=budget.tokens if budget else None,
        stop_after=spec.errors.stop_after,
        stop_above=spec.errors.stop_above,
        prices={name: price.model_dump(exclude_none=True) for name, price in spec.provider.prices.items()}
        if spec.provider
        else {},
    )


def keys_of(spec: Spec) -> list[str]:
    """The columns that name a row: the pipeline's, or Penstock's own."""
    return spec.source.keys or [ROW_KEY]
