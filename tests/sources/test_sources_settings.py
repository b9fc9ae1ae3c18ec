"""What `source:` may say: settings that exclude each other, and secrets, each told at its place."""

from __future__ import annotations

import sqlite3
import textwrap
from pathlib import Path

import pytest

from penstock.errors import Problem, SpecError
from penstock.spec import Loaded, dump, load


def _load(folder: Path, source: str, **environ: str) -> Loaded:
    path = folder / "pipeline.yaml"
    body = textwrap.indent(textwrap.dedent(source).strip("\n"), "  ")
    path.write_text(f"name: a\nsource:\n{body}\noutputs:\n  - uses: parquet\n    path: out\n")
    return load(path, environ=environ)


def _mistakes(folder: Path, source: str, **environ: str) -> list[Problem]:
    with pytest.raises(SpecError) as caught:
        _load(folder, source, **environ)
    return caught.value.problems


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "r.csv").write_text("id,body\n1,x\n")
    (tmp_path / "r.parquet").write_text("")
    connection = sqlite3.connect(tmp_path / "shop.db")
    connection.execute("create table t(id, body)")
    connection.close()
    return tmp_path


@pytest.mark.parametrize(
    ("source", "place", "words"),
    [
        ("path: r.csv\nsql: select 1", (4, 8), "either files (`path`) or a query (`sql`)"),
        ("key: id", (3, 3), "rows come from files or from a query"),
        ("path: ''", (3, 3), "rows come from files or from a query"),
        ("sql: select 1 as id\nkey: id", (3, 3), "`sql` needs the database's address"),
        ("sql: select 1\nuri: sqlite:///shop.db", (3, 3), "`sql` needs `key`"),
        ("path: r.csv\nuri: sqlite:///shop.db", (4, 8), "only a query has it"),
        ("path: r.csv\npassword: ${DB_PASSWORD}", (4, 13), "only a query has it"),
        ("sql: select 1\nkey: id\nuri: mysql://u@h/x", (5, 8), "write sqlite:///file.db or postgresql://"),
        ("sql: select 1\nkey: id\nuri: sqlite:///shop.db\npassword: ${X}", (6, 13), "an SQLite file has no password"),
        ("sql: select 1\nkey: id\nuri: sqlite:///shop.db\nformat: csv", (6, 11), "a query has no format"),
        ("sql: select 1\nkey: id\nuri: sqlite:///shop.db\ndelimiter: ';'", (6, 14), "a query has no format"),
        ("path: r.parquet\ndelimiter: ';'", (4, 14), "only csv files have it, and these are parquet files"),
        ("path: r.parquet\nkey: id\ncut: sampled", (5, 8), "only csv and json and jsonl files have it"),
        ("path: r.csv\ncontents: true", (4, 13), "only files files have it"),
        ("path: r.csv\nencoding: klingon", (4, 13), "'klingon' is no encoding"),
        ("path: r.csv\ncut: roughly", (4, 8), "must be one of 'counted', 'sampled'"),
        ("path: r.csv\ncut: sampled", (4, 8), "samples need `key`"),
        ("sql: select * from nowhere\nkey: id\nuri: sqlite:///shop.db", (3, 8), "no such table: nowhere"),
        ("sql: select body from t\nkey: id\nuri: sqlite:///shop.db", (4, 8), "the query gives no column 'id'"),
        ("sql: select * from t\nkey: id\nuri: sqlite:///gone.db", (5, 8), "gone.db does not exist"),
        ("path: r.csv\nkey: id\ntypes: {bodi: date}", (5, 17), "there is no column `bodi`"),
        ("path: s3://bucket", (3, 9), "needs a bucket and a key"),
        ("path: ftp://host/r.csv", (3, 9), "ftp:// is not read"),
    ],
)
def test_each_mistake_is_told_once_at_its_place(folder: Path, source: str, place: tuple[int, int], words: str) -> None:
    problems = _mistakes(folder, source)
    assert [(problem.line, problem.column) for problem in problems] == [place], problems
    assert words in problems[0].message


@pytest.mark.parametrize(
    "line",
    [
        "uri: postgresql://reader:hunter22@host/shop",
        "uri: postgresql://reader@host/shop?password=hunter22",
        "uri: postgresql://reader@host/shop\n  password: hunter22",
        "uri: postgresql://reader@host/shop\n  password: 'x${DB}hunter22'",
    ],
)
def test_a_password_in_a_file_is_refused_and_not_shown(folder: Path, line: str) -> None:
    problems = _mistakes(folder, f"sql: select 1 as id\nkey: id\n{line.replace(chr(10) + '  ', chr(10))}", DB="x")
    assert "password" in problems[0].message
    assert not any("hunter22" in problem.render() for problem in problems), [problem.render() for problem in problems]


def test_names_of_secrets_stay_names_and_other_variables_are_filled_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "sql: select * from t where id > ${MIN}\nkey: id\n"
    loaded = _load(folder, query + "uri: sqlite:///${NAME}.db", MIN="3", NAME="shop")
    assert loaded.spec.source.sql == "select * from t where id > 3"
    assert loaded.spec.source.uri == f"sqlite:///{folder / 'shop.db'}"
    monkeypatch.setenv("SHOP_DB", f"sqlite:///{folder / 'shop.db'}")
    loaded = _load(folder, "sql: select * from t\nkey: id\nuri: ${SHOP_DB}")
    assert dump(loaded.spec)["source"]["uri"] == "${SHOP_DB}"
    assert list(loaded.columns[0]) == ["id", "body"]


def test_a_relative_database_starts_at_the_pipelines_folder(folder: Path) -> None:
    loaded = _load(folder, "sql: select * from t\nkey: id\nuri: sqlite:///./shop.db")
    assert loaded.spec.source.uri == f"sqlite:///{folder / 'shop.db'}"
    loaded = _load(folder, f"sql: select * from t\nkey: id\nuri: sqlite:///{folder}/shop.db")
    assert loaded.spec.source.uri == f"sqlite:///{folder / 'shop.db'}"


def test_an_output_over_the_database_is_refused(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "shop.db").rename(folder / "out" / "shop.db")
    (problem,) = _mistakes(folder, "sql: select * from t\nkey: id\nuri: sqlite:///out/shop.db")
    assert "the source stands in this place" in problem.message
