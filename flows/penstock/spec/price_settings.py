"""Prices of the user's own, as `prices` of a provider has them."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class PriceSettings(BaseModel):
    """The price of one model's tokens, in place of the published one."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    input: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="US dollars for a million tokens of requests.",
        examples=[0.02],
    )
    minute: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="US dollars for a minute of sound.", examples=[0.006]
    )
    characters: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="US dollars for a million spoken characters.",
        examples=[15],
    )
    image: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="US dollars for an image.", examples=[0.04]
    )
    output: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="US dollars for a million tokens of answers; unknown if left out.",
        examples=[0.6],
    )
    cached: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="US dollars for a million tokens of requests that the server had cached; as `input` if left out.",
        examples=[0.01],
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.input is None and self.minute is None and self.characters is None and self.image is None:
            raise ValueError("give a price: input, minute, characters or image")
        return self
