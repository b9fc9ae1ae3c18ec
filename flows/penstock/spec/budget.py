"""The `budget:` key: a hard stop that keeps all that was paid for."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from penstock.values import Count


class Budget(BaseModel):
    """What one run may use up. It stops before the request that would go over it, and can be resumed with more.

    Each run counts from nothing, a resumed one too: what earlier runs have spent is no part of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    usd: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description=(
            "US dollars at the published prices, fine-tuning jobs among them. Each run counts from nothing, a "
            "resumed one too."
        ),
        examples=[25],
    )
    tokens: Count | None = Field(
        default=None,
        ge=1,
        description=(
            "Tokens of requests and answers together, without those that are trained on. Each run counts from "
            "nothing, a resumed one too."
        ),
        examples=["50M"],
    )

    @model_validator(mode="after")
    def _says_something(self) -> Budget:
        if self.usd is None and self.tokens is None:
            raise ValueError("a budget needs `usd`, `tokens` or both")
        return self
