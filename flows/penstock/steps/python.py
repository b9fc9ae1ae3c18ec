"""`python`: a function of the user's own, table in, table out."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from penstock.errors import FunctionFailed, InputError
from penstock.steps.base import Columns, TableStep
from penstock.steps.column_types import check_new
from penstock.steps.functions import check_function, load_function, module_file
from penstock.steps.returned import TYPE_NAMES, Promise
from penstock.values import AnyTypeWord, FilePath, polars_type

if TYPE_CHECKING:
    import polars as pl


class Python(TableStep):
    """The function is called with a polars DataFrame of one partition's rows, and must give one back.

    It gives back the columns that `columns` promises, with their types. It may give back other columns of the table
    too, but not change them. What rows it may give back is told by `rows`:

    - ``same``: as many rows, in the same order.
    - ``fewer``: some rows may be left out; they are counted as filtered. Rows may come in any order.
    - ``any``: a row may also come back several times, as several rows; they are numbered by `position`.

    With ``fewer`` and ``any`` the table comes with one more column, `token`: a number per row, which must stay with its
    row, because it says which row each one was made of.

    It is called once per partition, never with a table without rows, and in several threads at a time. An exception of
    it ends the run with its traceback: it is a bug to mend, not a row at fault. `plan` calls it too, on the rows by
    which it estimates what comes after, while `check` only looks for its name. It runs with all the rights of the user
    who runs the pipeline; nothing holds it in.
    """

    kind: ClassVar[str] = "python"
    summary: ClassVar[str] = (
        "Calls a Python function of yours with a table (a polars DataFrame) and checks the columns, types and rows "
        "that it gives back."
    )
    alone: ClassVar[bool] = True
    example: ClassVar[str] = (
        "uses: python\nfunction: cleaning:without_signature\ncolumns: {body: string, words: integer}\n"
    )

    uses: Literal["python"] = Field(description="The kind of step.")
    function: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description="A module and a function in it, `module:function`; the module's file stands in `path`.",
        examples=["cleaning:without_signature"],
    )
    path: FilePath = Field(
        default=".",
        description="The folder in which modules are looked for, relative to the pipeline file; its own if left out.",
        examples=["../functions"],
    )
    columns: dict[str, AnyTypeWord] = Field(
        default_factory=dict,
        description="The columns that the function makes or changes, each with its type.",
        examples=[{"body": "string", "words": "integer"}],
    )
    rows: Literal["same", "fewer", "any"] = Field(
        default="same",
        description=(
            "What rows it gives back: the `same` in the same order; `fewer`, where those left out are counted as "
            "filtered; or `any`, where a row may also become several."
        ),
    )
    token: str = Field(
        default="_row",
        pattern=r"^_?[^_]",
        min_length=1,
        description="With `rows: fewer` or `any`: the column of numbers that the function must leave with their rows.",
    )
    position: str = Field(
        default="position",
        min_length=1,
        description="With `rows: any`: name of the column that numbers the rows made of one row, from 0.",
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict,
        description="Further arguments of the function, by name.",
        examples=[{"language": "en"}],
    )
    watch: list[FilePath] = Field(
        default_factory=list,
        description=(
            "Further files that decide what the function gives back, such as modules and word lists that it reads: a "
            "change of one makes finished results stale, as a change of its own module does."
        ),
        examples=[["rules.py", "stopwords.txt"]],
    )

    @property
    def drops_rows(self) -> bool:  # type: ignore[override]  # a constant of most kinds, and a setting of this one
        """Whether the function may leave out rows."""
        return self.rows != "same"

    @property
    def adds_rows(self) -> bool:  # type: ignore[override]  # as above
        """Whether the function may make several rows of one."""
        return self.rows == "any"

    @property
    def adds_keys(self) -> Sequence[str]:
        """The number of a row among those made of one row."""
        return (self.position,) if self.adds_rows else ()

    @property
    def files(self) -> Sequence[Path]:
        """The module's file, and those that are watched."""
        return (module_file(Path(self.path), self._module), *(Path(path) for path in self.watch))

    def content(self) -> dict[str, Any]:
        """What is called and how; what is in files counts by itself, wherever they stand."""
        return {name: value for name, value in super().content().items() if name not in {"path", "watch"}}

    @property
    def _module(self) -> str:
        return self.function.partition(":")[0]

    @property
    def _name(self) -> str:
        return self.function.partition(":")[2]

    def columns_after(self, given: Mapping[str, str | None]) -> Columns:
        """The columns before, those that the function makes, and the number of the row with ``rows: any``."""
        try:
            check_function(module_file(Path(self.path), self._module), self._name)
        except InputError as error:
            raise ValueError(str(error)) from None
        if missing := [path for path in self.watch if not Path(path).is_file()]:
            raise ValueError(f"`watch`: there is no file {missing[0]}")
        after = {**given, **{name: TYPE_NAMES[word] for name, word in self.columns.items()}}
        if self.rows != "same":
            check_new(after, {"token": self.token})
        if self.adds_rows:
            check_new(after, {"position": self.position})
            after[self.position] = "Int64"
        return after

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """The rows that the function gives back, with all columns that it was not to change."""
        import polars as pl

        # Not in the lazy query: an exception of the function must not look like one of the query.
        table = frame.collect()
        if table.is_empty():
            kinds = {name: polars_type(word) for name, word in self.columns.items()}
            new = pl.DataFrame(schema={**kinds, **({self.position: pl.Int64()} if self.adds_rows else {})})
            return table.with_columns(new.get_columns()).lazy()
        return self._applied(table).lazy()

    def _applied(self, table: pl.DataFrame) -> pl.DataFrame:
        import polars as pl

        given = table.select(name for name in table.columns if not name.startswith("__"))
        if self.rows != "same":
            given = given.with_columns(pl.int_range(len(given), dtype=pl.Int64, eager=True).alias(self.token))
        promise = Promise(
            self.function, self.columns, token=self.token if self.rows != "same" else None, may_repeat=self.adds_rows
        )
        new, rows = promise.kept(self._called(given), given)
        if rows is None:
            return table.with_columns(new.get_columns())
        kept = table[rows].with_columns(new.get_columns())
        if not self.adds_rows:
            return kept
        numbers = pl.int_range(pl.len(), dtype=pl.Int64).over(rows).alias(self.position)
        return kept.with_columns(numbers)

    def _called(self, given: pl.DataFrame) -> object:
        function = load_function(Path(self.path), self._module, self._name)
        try:
            return function(given, **self.arguments)
        except Exception as error:  # whatever a user's code raises is told with its own frames, and ends the run
            own = str(module_file(Path(self.path), self._module).parent)
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(own)]
            raise FunctionFailed(
                f"the function {self.function} raised {type(error).__name__}: {error}\n"
                f"{''.join(traceback.format_list(frames))}Mend it, then resume; what is answered is kept"
            ) from error
