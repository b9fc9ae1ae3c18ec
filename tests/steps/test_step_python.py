"""`python` from YAML text: a user's function is called, and held to what the step promises."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from penstock.errors import FunctionFailed, InputError
from penstock.steps.python import Python

FRAME = pl.DataFrame({"__row": [10, 11, 12], "id": ["a", "b", "c"], "body": ["one two", None, "três"]})


def step_for(folder: Path, code: str, **settings: Any) -> Python:
    (folder / "mine.py").write_text(f"import polars as pl\n\n{code}\n", "utf-8")
    return Python.model_validate({"uses": "python", "function": "mine:f", "path": str(folder), **settings})


def run(step: Python, frame: pl.DataFrame = FRAME) -> pl.DataFrame:
    after = step.columns_after(dict.fromkeys(name for name in frame.columns if name != "__row"))
    done = step.apply(frame.lazy()).collect()
    assert done.columns == ["__row", *after], "columns are those that were told"
    for name, kind in after.items():
        assert kind in {None, str(done.schema[name])}
    assert done.schema == step.apply(frame.clear().lazy()).collect().schema
    return done


def test_new_and_changed_columns_come_back_and_all_others_stay(tmp_path: Path) -> None:
    code = (
        "def f(t):\n    return t.with_columns(pl.col('body').str.to_uppercase(), words=pl.col('body').str.len_chars())"
    )
    step = step_for(tmp_path, code, columns={"body": "string", "words": "integer"})
    assert run(step).rows() == [(10, "a", "ONE TWO", 7), (11, "b", None, None), (12, "c", "TRÊS", 4)]
    assert not step.drops_rows
    assert not step.adds_rows


def test_it_sees_no_column_of_penstocks_own_and_no_table_without_rows(tmp_path: Path) -> None:
    code = "def f(t):\n    assert t.columns == ['id', 'body'] and len(t)\n    return t.select(n=pl.lit(1))"
    with pytest.raises(InputError, match="gave back 1 rows for 3; write `rows: fewer` or `rows: any`"):
        run(step_for(tmp_path, code, columns={"n": "integer"}))
    assert run(step_for(tmp_path, code, columns={"n": "integer"}), FRAME[:1])["n"].to_list() == [1]


def test_only_the_promised_columns_need_to_come_back(tmp_path: Path) -> None:
    step = step_for(tmp_path, "def f(t):\n    return t.select(n=pl.col('id') + '!')", columns={"n": "string"})
    assert run(step)["n"].to_list() == ["a!", "b!", "c!"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.integers(0, 9), max_size=25))
def test_any_rows_may_come_back_and_each_has_its_own(tmp_path: Path, back: list[int]) -> None:
    """Whatever the function drops, repeats and shuffles, a row keeps what the function was not to change."""
    code = f"def f(t):\n    return t[{back}].select('_row', text=pl.col('id').cast(pl.String))"
    step = Python.model_validate(
        {"uses": "python", "function": "mine:f", "path": str(tmp_path), "columns": {"text": "string"}, "rows": "any"}
    )
    (tmp_path / "mine.py").write_text(f"import polars as pl\n{code}\n")
    stat = (tmp_path / "mine.py").stat()
    os.utime(tmp_path / "mine.py", ns=(stat.st_atime_ns, stat.st_mtime_ns + hash(tuple(back)) % 10**9))
    done = run(step, pl.DataFrame({"__row": range(100, 110), "id": range(10)}))
    expected = [(100 + row, row, str(row), number) for row in sorted(set(back)) for number in range(back.count(row))]
    assert done.rows() == expected
    assert (step.drops_rows, step.adds_rows, step.adds_keys) == (True, True, ("position",))


def test_fewer_rows_may_come_back_in_any_order(tmp_path: Path) -> None:
    code = "def f(t):\n    return t.filter(pl.col('body').is_not_null()).reverse()"
    step = step_for(tmp_path, code, rows="fewer")
    assert run(step)["__row"].to_list() == [10, 12]
    assert (step.drops_rows, step.adds_rows, step.adds_keys) == (True, False, ())


def test_lists_that_are_all_null_may_be_turned_round_though_polars_forgets_their_type(tmp_path: Path) -> None:
    kind = pl.List(pl.Struct({"name": pl.String}))
    frame = pl.DataFrame({"__row": [1, 2], "others": pl.Series([None, None], dtype=kind)})
    step = step_for(tmp_path, "def f(t):\n    return t.reverse()", rows="fewer")
    assert frame["others"].reverse().dtype == pl.List(pl.Null), "if not, this needs no care any more"
    assert run(step, frame).schema["others"] == kind


@pytest.mark.parametrize(
    ("code", "settings", "reason"),
    [
        ("return None", {}, "gave back a NoneType, and a polars DataFrame is needed"),
        ("return t", {"columns": {"n": "integer"}}, "gave back no column 'n', which `columns` promises"),
        ("return t.with_columns(n=1)", {}, "gave back a column 'n', which `columns` does not name"),
        ("return t.reverse()", {}, "changed the column 'id', .* or changed the order of rows"),
        ("return t.with_columns(id=pl.lit('x'))", {}, "changed the column 'id', which `columns` does not name"),
        (
            "return t.with_columns(n=pl.col('id'))",
            {"columns": {"n": "integer"}},
            "'n' as String, and `columns` promises integer",
        ),
        (
            "return t.with_columns(id=pl.lit(None, pl.Date))",
            {},
            "changed the column 'id', which `columns` does not name",
        ),
        ("return t.with_columns(n=pl.lit(2**63, pl.UInt64))", {"columns": {"n": "integer"}}, "that is no integer"),
        ("return t.drop('_row')", {"rows": "fewer"}, "gave back no column '_row': it comes with the table"),
        ("return pl.concat([t, t])", {"rows": "fewer"}, "a row more than once; write `rows: any`"),
        ("return t.with_columns(_row=pl.lit(7))", {"rows": "any"}, "numbers in '_row' that no row came with"),
        ("return t.with_columns(_row=pl.lit(None, pl.Int64))", {"rows": "any"}, "changed the column '_row'"),
        ("return t.with_columns(_row=pl.col('_row').reverse())", {"rows": "any"}, "changed the column 'id'"),
    ],
)
def test_what_was_not_promised_is_an_error_that_says_so(tmp_path: Path, code: str, settings: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        run(step_for(tmp_path, f"def f(t):\n    {code}", **settings))


@pytest.mark.parametrize(
    ("word", "value", "kind"),
    [
        ("string", "pl.lit('x')", "String"),
        ("string", "pl.lit(None)", "String"),
        ("string", "pl.lit('x').cast(pl.Categorical)", "String"),
        ("integer", "pl.lit(1, pl.UInt8)", "Int64"),
        ("number", "pl.lit(1)", "Float64"),
        ("number", "pl.lit(1.5, pl.Float32)", "Float64"),
        ("boolean", "pl.lit(True)", "Boolean"),
        ("date", "pl.date(2026, 1, 1)", "Date"),
        ("datetime", "pl.datetime(2026, 1, 1, time_unit='ms')", "Datetime(time_unit='us', time_zone=None)"),
        ("list of string", "pl.lit(['x'])", "List(String)"),
        ("list of integer", "pl.lit([1, 2])", "List(Int64)"),
        ("list of number", "pl.lit([1.0, 2.0], pl.Array(pl.Float32, 2))", "List(Float64)"),
    ],
)
def test_types_are_those_that_were_promised(tmp_path: Path, word: Any, value: str, kind: str) -> None:
    done = run(step_for(tmp_path, f"def f(t):\n    return t.with_columns(x={value})", columns={"x": word}))
    assert str(done.schema["x"]) == kind


@pytest.mark.parametrize(
    ("word", "value"),
    [("string", "pl.lit(1)"), ("integer", "pl.lit(1.0)"), ("boolean", "pl.lit(1)"), ("date", "pl.lit('2026-01-01')"),
     ("datetime", "pl.datetime(2026, 1, 1, time_zone='UTC')"), ("list of string", "pl.lit('x')"),
     ("list of integer", "pl.lit(['x'])"), ("number", "pl.lit('1')")],
)  # fmt: skip
def test_another_type_is_an_error(tmp_path: Path, word: Any, value: str) -> None:
    with pytest.raises(InputError, match=f"and `columns` promises {word}"):
        run(step_for(tmp_path, f"def f(t):\n    return t.with_columns(x={value})", columns={"x": word}))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("return 1 / 0", ZeroDivisionError),
        ("return t.select('nobody')", pl.exceptions.ColumnNotFoundError),
        ("open('/no/such/file')", FileNotFoundError),
        ("raise KeyError('x')", KeyError),
    ],
)
def test_an_exception_of_the_function_ends_the_run_and_is_told_with_its_own_lines(
    tmp_path: Path, code: str, kind: type[Exception]
) -> None:
    """It is neither an error row, nor taken for a full disk, and ends in one message that says where."""
    with pytest.raises(FunctionFailed) as caught:
        step_for(tmp_path, f"def f(t):\n    {code}").apply(FRAME.lazy())
    error = caught.value
    assert isinstance(error.__cause__, kind)
    assert f'File "{tmp_path / "mine.py"}", line 4, in f' in str(error)
    assert "site-packages" not in str(error)


def test_an_error_of_the_query_before_it_is_still_one_of_a_row(tmp_path: Path) -> None:
    step = step_for(tmp_path, "def f(t):\n    return t")
    with pytest.raises(pl.exceptions.PolarsError):
        step.apply(FRAME.lazy().with_columns(pl.col("id").cast(pl.Int64)))


def test_arguments_come_by_name(tmp_path: Path) -> None:
    code = "def f(t, *, suffix, times=1):\n    return t.with_columns(id=pl.col('id') + suffix * times)"
    step = step_for(tmp_path, code, columns={"id": "string"}, arguments={"suffix": "!", "times": 2})
    assert run(step)["id"].to_list() == ["a!!", "b!!", "c!!"]


@pytest.mark.parametrize(
    ("code", "settings", "reason"),
    [
        ("def g(t): pass\ndef h(t): pass", {}, "mine.py has no function `f`; it has: g, h"),
        ("def f(t:\n", {}, "mine.py, line 3 is not Python"),
        ("def f(t): pass", {"function": "other:f"}, r"there is no other\.py in"),
        ("def f(t): pass", {"function": "a.b:f"}, r"there is no a/b\.py in"),
        ("def f(t): pass", {"watch": ["gone.txt"]}, "`watch`: there is no file gone.txt"),
        ("def f(t): pass", {"rows": "any", "position": "id"}, "'id' exists already; give `position`"),
        ("def f(t): pass", {"rows": "fewer", "token": "id"}, "'id' exists already; give `token`"),
    ],
)
def test_what_is_not_there_is_found_by_check(tmp_path: Path, code: str, settings: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        step_for(tmp_path, code, **settings).columns_after({"id": None, "body": None})


def test_check_runs_nothing_of_the_module(tmp_path: Path) -> None:
    step = step_for(tmp_path, "raise SystemExit\ndef f(t): pass", columns={"n": "integer"})
    assert step.columns_after({"id": "String"}) == {"id": "String", "n": "Int64"}
    assert step.apply(FRAME.clear().lazy()).collect().columns == [*FRAME.columns, "n"]


@pytest.mark.parametrize(
    "code",
    [
        "from helper_of_mine import f", "f = lambda t: t", "f: object = lambda t: t", "class f: pass",
        "try:\n    from a import f\nexcept ImportError:\n    def f(t): pass", "if True:\n    f = print",
        "from a import *", "with open('x') as x:\n    f = x",
    ],
)  # fmt: skip
def test_a_name_may_be_made_in_any_way(tmp_path: Path, code: str) -> None:
    assert step_for(tmp_path, code, columns={"n": "integer"}).columns_after({"id": "String"}) == {
        "id": "String",
        "n": "Int64",
    }


def test_modules_beside_it_can_be_imported_and_do_not_shadow_others(tmp_path: Path) -> None:
    (tmp_path / "rules_of_mine.py").write_text("SUFFIX = '?'\n")
    (tmp_path / "json.py").write_text("raise AssertionError('this is not the json that anybody means')\n")
    code = (
        "from rules_of_mine import SUFFIX\nimport json\ndef f(t):\n    return t.with_columns(id=pl.col('id') + SUFFIX)"
    )
    step = step_for(tmp_path, code, columns={"id": "string"}, watch=[str(tmp_path / "rules_of_mine.py")])
    assert run(step)["id"].to_list() == ["a?", "b?", "c?"]
    assert list(step.files) == [tmp_path / "mine.py", tmp_path / "rules_of_mine.py"]
    moved = step.model_copy(update={"path": "/elsewhere", "watch": []})
    assert moved.content() == step.content(), "the content of files counts by itself"


def test_modules_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    steps = []
    for word in ("one", "two"):
        (tmp_path / word).mkdir()
        code = f"def f(t):\n    return t.with_columns(id=pl.lit('{word}'))"
        steps.append(step_for(tmp_path / word, code, columns={"id": "string"}))
    assert [run(step)["id"][0] for step in steps] == ["one", "two"]


def test_a_module_in_a_folder_is_named_with_dots(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "clean.py").write_text("def f(t):\n    return t\n")
    step = Python.model_validate({"uses": "python", "function": "text.clean:f", "path": str(tmp_path)})
    assert run(step).equals(FRAME)


def test_a_changed_file_is_imported_again_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    code = "calls = []\ndef f(t):\n    calls.append(1)\n    return t.with_columns(id=pl.lit(str(len(calls))))"
    step = step_for(tmp_path, code, columns={"id": "string"})
    threads = [threading.Thread(target=step.apply, args=(FRAME.lazy(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert step.apply(FRAME.lazy()).collect()["id"][0] == "5"
    os.utime(tmp_path / "mine.py", ns=(1, 1))
    assert step.apply(FRAME.lazy()).collect()["id"][0] == "1"


@pytest.mark.parametrize(
    "settings",
    [
        {"function": "mine"}, {"function": "mine.f"}, {"function": ":f"}, {"function": "../x:f"}, {"rows": "all"},
        {"columns": {"n": "int"}}, {"token": "__row"}, {"token": ""},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_mistakes(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Python.model_validate({"uses": "python", "function": "mine:f", **settings})
