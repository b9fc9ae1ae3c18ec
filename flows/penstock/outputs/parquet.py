"""`parquet`: a folder of Parquet files, replaced whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from penstock.outputs.base import Output, Published
from penstock.values import FilePath


class Parquet(Output):
    """The finished parts become the files of one folder."""

    kind: ClassVar[str] = "parquet"
    summary: ClassVar[str] = "Writes a folder of Parquet files; readers see the old folder or the new one, never half."
    example: ClassVar[str] = "uses: parquet\npath: ../out/reviews\n"

    uses: Literal["parquet"] = Field(description="The kind of output.")
    path: FilePath = Field(
        min_length=1,
        description="The folder, relative to the pipeline file. What Penstock wrote there before is replaced.",
        examples=["../out/reviews"],
    )

    @property
    def target(self) -> Path:
        """The folder."""
        return Path(self.path)

    def publish(self, parts: Sequence[Path]) -> Published:
        """Link or copy the parts into a new folder and put it in the place of the old one."""
        from penstock.outputs.folder import replace_folder

        return replace_folder(self.target, parts)
