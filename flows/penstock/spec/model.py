"""The pipeline as a typed, frozen value."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny

from penstock.errors import InputError
from penstock.outputs import KINDS as OUTPUTS
from penstock.outputs import Output
from penstock.sources import ROW_KEY, SourceSettings
from penstock.spec.budget import Budget
from penstock.spec.errors_key import ErrorSettings
from penstock.spec.incremental_key import Incremental
from penstock.spec.params import Param
from penstock.spec.provider import PROVIDERS, ProviderSettings
from penstock.spec.runner_key import RunnerSettings
from penstock.spec.schedule import ScheduleSettings
from penstock.steps import KINDS as STEPS
from penstock.steps import ApiStep, Step


def _restored_step(value: Any) -> Any:
    return STEPS[value["uses"]].model_validate(value) if isinstance(value, dict) else value


def _restored_output(value: Any) -> Any:
    return OUTPUTS[value["uses"]].model_validate(value) if isinstance(value, dict) else value


def _restored_provider(value: Any) -> Any:
    return PROVIDERS[value.get("uses", "openai")].model_validate(value) if isinstance(value, dict) else value


def _runner_word(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


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
    providers: dict[str, Annotated[ProviderSettings, BeforeValidator(_restored_provider)]] = Field(
        default_factory=dict,
        description="Further servers by name, each as `provider:`; a step chooses one with `provider`.",
        examples=[{"local": {"base_url": "http://localhost:11434/v1"}}],
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
    schedule: ScheduleSettings | None = Field(
        default=None,
        description="When it runs by itself; read by `penstock deploy` and `penstock serve`, and by nothing else.",
        examples=[{"cron": "0 2 * * *", "timezone": "Europe/Berlin"}],
    )

    runner: Annotated[RunnerSettings, BeforeValidator(_runner_word)] = Field(
        default_factory=RunnerSettings,
        description=(
            "Where partitions are worked on: `threads`, `processes`, `dask`, `ray`, or a mapping. It changes how fast "
            "a run is and nothing of what it makes."
        ),
        examples=["processes", {"kind": "dask", "address": "tcp://scheduler:8786", "workers": 4}],
    )
    incremental: bool | Incremental = Field(
        default=False,
        description=(
            "Whether each run pays only for rows that are new or whose input changed since the last complete run, and "
            "tells how many were new, changed, unchanged and deleted. The output is whole each time."
        ),
        examples=[True, {"on_delete": "keep"}],
    )

    @property
    def incremental_settings(self) -> Incremental | None:
        """What `incremental` says; None where runs are not."""
        return Incremental() if self.incremental is True else self.incremental or None

    @property
    def api_steps(self) -> list[ApiStep]:
        """The steps that ask a model."""
        return [step for step in self.steps if isinstance(step, ApiStep)]

    @property
    def source_keys(self) -> list[str]:
        """The columns that name a row of the source: its own, or the one that Penstock gives it."""
        return self.source.keys or [ROW_KEY]

    @property
    def deliveries(self) -> list[Output]:
        """The outputs that bring what they publish to a server."""
        return [output for output in self.outputs if output.delivers]

    def provider_name(self, asker: ApiStep | Output) -> str:
        """What the provider of a step or output is called: its name under `providers`, or what the own one `uses`.

        Raises:
            InputError: there is none; the loader has made sure that there is.
        """
        chosen = _chosen(asker)
        if chosen is None and self.provider is not None:
            return self.provider.uses
        if chosen not in self.providers:
            what = f"the step {asker.name!r}" if isinstance(asker, ApiStep) else f"the output {asker.uses!r}"
            raise InputError(f"{what} talks to a service, and the pipeline has no provider for it")
        return chosen

    def provider_of(self, asker: ApiStep | Output) -> ProviderSettings:
        """Where the requests of a step or output go."""
        name = self.provider_name(asker)
        if _chosen(asker) is None and self.provider is not None:
            return self.provider
        return self.providers[name]

    @property
    def used_providers(self) -> dict[str, ProviderSettings]:
        """The providers that a step asks, or that an output delivers to, by name."""
        askers: list[ApiStep | Output] = [*self.api_steps, *self.deliveries]
        return {self.provider_name(one): self.provider_of(one) for one in askers}

    @property
    def prices(self) -> dict[str, dict[str, dict[str, float]]]:
        """Prices of the user's own, by provider and model: the same model may have another price elsewhere."""
        own = {} if self.provider is None else {self.provider.uses: self.provider}
        return {
            name: {model: price.model_dump(exclude_none=True) for model, price in one.prices.items()}
            for name, one in (*own.items(), *self.providers.items())
        }

    def prices_of(self, step: ApiStep) -> dict[str, dict[str, float]]:
        """Those of the provider that the step asks, by model."""
        return self.prices[self.provider_name(step)]

    @property
    def key_variables(self) -> list[str]:
        """The environment variables that a run needs as keys."""
        named = [provider.key_variable for provider in self.used_providers.values()]
        return list(dict.fromkeys(name for name in named if name))

    @property
    def key_blocks(self) -> list[str]:
        """The Secret blocks of Prefect that a run needs as keys."""
        named = [provider.key_block for provider in self.used_providers.values()]
        return list(dict.fromkeys(name for name in named if name))

    @property
    def source_blocks(self) -> list[str]:
        """The Secret blocks of Prefect that hold the source's address or password."""
        return self.source.blocks


def _chosen(asker: ApiStep | Output) -> str | None:
    return asker.provider if isinstance(asker, ApiStep) else asker.provider_name


def dump(spec: Spec) -> dict[str, Any]:
    """The spec as plain JSON-able data. It names keys and never holds one."""
    return spec.model_dump(mode="json")


def restore(data: dict[str, Any]) -> Spec:
    """The spec that `dump` was given."""
    return Spec.model_validate(data)
