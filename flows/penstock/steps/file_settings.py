"""Settings that steps share whose answers become files."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from penstock.expressions import Template
from penstock.values import FilePath

AnswerFolder = Annotated[
    FilePath,
    Field(
        min_length=1, description="Folder of the files, which is made. The path of each stands in the column `path`."
    ),
]
FileName = Annotated[
    Template,
    Field(
        min_length=1,
        description="Template of how a file's name begins; a mark of what was asked and the ending are added.",
    ),
]
