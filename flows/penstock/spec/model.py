"""The pipeline as a typed, frozen value."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny

from penstock.outputs import KINDS as OUTPUTS
from penstock.outputs import Output
from penstock.sources import SourceSettings
from penstock.spec.budget import Budget
from penstock.spec.errors_key import ErrorSettings
from penstock.spec.params import Param
from penstock.spec.provider import PROVIDERS, OpenAISettings, ProviderSettings
from penstock.steps import KINDS as STEPS
from penstock.steps import ApiStep, Step


def _restored_step(value: Any) -> Any:
    return STEPS[value["uses"]].model_validate(value) if isinstance(value, dict) else value


def _restored_output(value: Any) -> Any:
    return OUTPUTS[value["uses"]].model_validate(value) if isinstance(value, dict) else value


def _restored_provider(value: Any) -> Any:
    return PROVIDERS[value["uses"]].model_validate(value) if isinstance(value, dict) else value


class Spec(BaseModel):
    """What a pipeline file says, with paths made absolute, references replaced, and an id on every step."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
        max_length=100,
        description="The pipeline's name in Prefect, reports and the state folder: a-z, 0-9, - and _.",
        examples=["embed-reviews"],
    )
    description: str = Field(
        default="",
        description="What the pipeline is for, as shown in Prefect and in reports.",
        examples=["Vectors of customer reviews for semantic search."],
    )
    tags: list[str] = Field(
        default_factory=list, description="Words to find its runs by in Prefect.", examples=[["reviews", "nightly"]]
    )
    params: dict[str, Param] = Field(
        default_factory=dict,
        description="Inputs, used as ${params.x} in any value and set with `-p x=…`.",
        examples=[{"since": {"type": "date", "default": "2026-01-01"}}],
    )
    provider: Annotated[ProviderSettings, BeforeValidator(_restored_provider)] | None = Field(
        default=None,
        description="Where requests go: `sandbox`, `openai`, or a mapping. Needed as soon as a step asks a model.",
        examples=["sandbox", "openai"],
    )
    source: SourceSettings = Field(description="Rows in.", examples=[{"path": "reviews.csv", "key": "review_id"}])
    steps: list[Annotated[SerializeAsAny[Step], BeforeValidator(_restored_step)]] = Field(
        default_factory=list, description="What happens to the rows, in this order."
    )
    outputs: list[Annotated[SerializeAsAny[Output], BeforeValidator(_restored_output)]] = Field(
        min_length=1, description="What is written at the end."
    )
    errors: ErrorSettings = Field(
        default_factory=ErrorSettings,
        description="When to give up, and where error rows go.",
        examples=[{"stop_above": "5%", "stop_after": "15m"}],
    )
    budget: Budget | None = Field(
        default=None, description="What a run may use up; no bound if left out.", examples=[{"usd": 25}]
    )

    @property
    def api_steps(self) -> list[ApiStep]:
        """The steps that ask a model."""
        return [step for step in self.steps if isinstance(step, ApiStep)]

    @property
    def key_variable(self) -> str | None:
        """The environment variable that a run needs as its key; None when it needs none."""
        return self.provider.key_variable if isinstance(self.provider, OpenAISettings) and self.api_steps else None


def dump(spec: Spec) -> dict[str, Any]:
    """The spec as plain JSON-able data. It names keys and never holds one."""
    return spec.model_dump(mode="json")


def restore(data: dict[str, Any]) -> Spec:
    """The spec that `dump` was given."""
    return Spec.model_validate(data)
