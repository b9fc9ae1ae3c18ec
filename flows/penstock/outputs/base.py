"""The contract of an output kind: its settings, and how finished parts become what the user asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field


@dataclass(frozen=True, slots=True)
class Published:
    """What an output wrote: where, how many rows, and each file's name, bytes and SHA-256."""

    path: Path
    rows: int
    files: list[dict[str, Any]]


class Output(BaseModel, ABC):
    """What all outputs have. Class attributes as in `penstock.steps.Step`."""

    model_config = ConfigDict(extra="forbid", frozen=True, serialize_by_alias=True)

    kind: ClassVar[str]
    summary: ClassVar[str]
    example: ClassVar[str]

    uses: str = Field(description="The kind of output.")
    reads: str | None = Field(
        default=None,
        alias="from",
        description="The id of the step whose rows it takes, or `source`; the last step if left out.",
        examples=["moderate"],
    )

    @property
    @abstractmethod
    def target(self) -> Path:
        """Where the output stands when it is published."""

    @abstractmethod
    def publish(self, parts: Sequence[Path]) -> Published:
        """Make the output from the parts, whole or not at all. The parts say in their metadata where they come from.

        Raises:
            StorageFailed: the folder cannot be written, or the disk is full. What stood there before still stands.
        """
