"""YAML with places: what is refused, what plain scalars mean, and where characters stand."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import SpecError
from penstock.spec import load
from penstock.spec.positions import Document, Mapping, Scalar, Sequence, parse
from penstock.spec.scalars import align, plain_value


def parsed(text: str) -> Document:
    document = Document(text, "p.yaml")
    parse(document)
    return document


def only(text: str) -> Any:
    """The one mistake of a text."""
    document = Document(text, "p.yaml")
    with contextlib.suppress(SpecError):
        parse(document)
    assert len(document.problems) == 1
    return document.problems[0]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "p.yaml:3:1", "the key `a` stands here twice, first in line 1"),
        ("{a: 1, a: 2}", "p.yaml:1:8", "the key `a` stands here twice"),
        ("a:\n\t- b\n", "p.yaml:2:1", "a tab cannot indent YAML"),
        ("a:\n  \tb: c\n", "p.yaml:2:3", "a tab cannot indent YAML"),
        ("a: 1\n---\nb: 2\n", "p.yaml:2:1", "a second YAML document begins here"),
        ("a: !!python/name:os.system\n", "p.yaml:1:4", "the tag !!python/name:os.system is not allowed"),
        ("a: !secret x\n", "p.yaml:1:4", "the tag !secret is not allowed"),
        ("a: !!binary aGk=\n", "p.yaml:1:4", "the tag !!binary is not allowed"),
        ("? [a]\n: b\n", "p.yaml:1:3", "a key must be a word"),
        ("a: {{ b }}\n", "p.yaml:1:4", "a value that begins with {{ must stand in quotes"),
        ("a:\n  - b: 1\n   c: 2\n", "p.yaml:3:4", "a wrong indentation"),
        ('a: "b" c\n', "p.yaml:1:8", "more text after a value that has ended"),
        ("a: *nope\n", "p.yaml:1:4", "the alias *nope has no anchor"),
        ("a: &a [*a]\n", "p.yaml:1:8", "the alias *a has no anchor"),
        ("a: b: c\n", "p.yaml:1:5", "a second `:` in one value"),
        ("a: 'b\n", "p.yaml:2:1", "the text ends inside the quotes opened in line 1"),
        ("a: [1, 2\n", "p.yaml:2:1", "this is not YAML"),
        ("a: %x\n", "p.yaml:1:4", "cannot begin with this character"),
        ("a: \x01\n", "p.yaml:1:4", "the character U+0001 is not allowed"),
        ("[" * 60, "p.yaml:1:41", "nested more than 40 levels deep"),
        ("a: {<<: x}\n", "p.yaml:1:9", "`<<` takes a mapping"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_at_its_place(text: str, place: str, message: str) -> None:
    problem = only(text)
    assert problem.place == place
    assert message in problem.message


def test_a_flood_of_values_is_refused() -> None:
    assert "more than 200,000 values" in only("[" + "1," * 200_001 + "]").message


def test_only_the_first_mistakes_of_a_flood_are_kept() -> None:
    document = parsed("\n".join("a: 1" for _ in range(1000)))
    assert len(document.problems) == 201
    assert document.problems[-1].message.startswith("and more")


def test_aliases_and_merge_keys_work() -> None:
    root = parsed("a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd: {<<: [*a, {z: 4}]}\n").root
    assert isinstance(root, Mapping)
    assert root.values["b"] is root.values["a"]
    assert {name: getattr(value, "value", None) for name, value in root.values["c"].values.items()} == {"y": 3, "x": 1}  # type: ignore[union-attr]
    assert set(root.values["d"].keys) == {"x", "y", "z"}  # type: ignore[union-attr]


def test_aliases_that_expand_without_bound_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 9)}]" for number in range(1, 9)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines).replace("a0:", "tags:", 1) + "\ndescription: *a8\n")
    with pytest.raises(SpecError, match="expand to more than"):
        load(path, environ={})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("no", "no"), ("y", "y"),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("12", 12), ("-3", -3), ("+3", 3), ("2_000_000", 2_000_000), ("0o17", 15), ("0x1F", 31), ("007", 7),
        ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("-.inf", float("-inf")), ("1_0.5", 10.5),
        ("2026-01-01", "2026-01-01"), ("12:30:00", "12:30:00"), ("1.2.3", "1.2.3"), ("5%", "5%"), ("0o9", "0o9"),
        ("0x", "0x"), ("-", "-"), ("1_a", "1_a"), ("9" * 500, "9" * 500),
    ],
)  # fmt: skip
def test_plain_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = plain_value(text)
    assert found == value
    assert type(found) is type(value)


def test_quoted_and_tagged_scalars_are_text() -> None:
    root = parsed("a: '12'\nb: \"true\"\nc: !!str 12\nd: |\n  12\n").root
    assert isinstance(root, Mapping)
    assert [node.value for node in root.values.values() if isinstance(node, Scalar)] == ["12", "true", "12", "12\n"]


MARK = "XYZ"
BLOCKS = [
    "key: some XYZ text",
    "key: 'it''s XYZ text'",
    'key: "tab\\t quote\\" \\u00e9 XYZ"',
    "key: plain over\n  lines XYZ here",
    "key: 'quoted   \n\n  over lines XYZ'",
    'key: "escaped \\\n   line break XYZ"',
    "key: |\n  first\n    second XYZ\n  third",
    "key: |2-\n    deep\n  XYZ",
    "key: >-\n  folded\n  text\n\n  with XYZ\n    more",
    "key: >\n\n  begins empty XYZ\n",
    "key:\n  - a\n  - {b: ['c, XYZ']}",
    "é ü: 😀 XYZ",
    "key: |\r\n  windows\r\n  XYZ\r\n",
]


@pytest.mark.parametrize("text", BLOCKS)
def test_a_word_in_any_kind_of_scalar_is_found_in_the_file(text: str) -> None:
    document = parsed(text)
    found = [node for node in scalars(document.root) if MARK in node.text]
    assert len(found) == 1
    span = document.inside(found[0], found[0].text.index(MARK), len(MARK))
    assert (span.start, span.end) == (text.index(MARK), text.index(MARK) + len(MARK))


def scalars(node: Any) -> list[Scalar]:
    if isinstance(node, Scalar):
        return [node]
    inner = node.items if isinstance(node, Sequence) else [*node.keys.values(), *node.values.values()]
    return [scalar for part in inner for scalar in scalars(part)]


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=60) | st.text(
    "ab '\"\n:#-\\é", max_size=30
)


@given(WORDS, st.sampled_from([None, "'", '"', "|", ">"]), st.integers(10, 80))
def test_every_character_of_a_dumped_scalar_is_found_again(value: str, style: str | None, width: int) -> None:
    text = yaml.dump({"key": value}, default_style=style, width=width, allow_unicode=True)
    document = Document(text, "p.yaml")
    try:
        parse(document)
    except SpecError:
        return
    node = next((node for node in scalars(document.root) if node.text == value), None)
    if node is None or not value:
        return
    places = align(text, node.span.start, node.span.end, node.text, node.style)
    if places is None:
        return
    assert len(places) == len(value)
    assert places == sorted(places)
    for mark, place in zip(value, places, strict=True):
        assert text[place] == mark or mark in " \n" or text[place] == "\\"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: caf\xe9\n", "pipe.yaml:1:10: the byte 0xE9 is not UTF-8"),
        (b"a: b\nc: \0\n", "pipe.yaml:2:4: a NUL byte stands here"),
        ("name: x".encode("utf-16"), "the file is UTF-16"),
        (b"", "the file is empty"),
        (b"# only a comment\n", "the file is empty"),
        (b"- a\n", "a pipeline is a mapping"),
        (b"just text", "a pipeline is a mapping"),
        (b"x" * 1_000_001, "larger than 1,000,000 bytes"),
    ],
)
def test_a_file_that_is_no_pipeline_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "pipe.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        load(path, environ={})
    assert len(caught.value.problems) == 1
    assert message in str(caught.value)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read: No such file"):
        load(tmp_path / "nope.yaml", environ={})
    with pytest.raises(SpecError, match="this is a folder"):
        load(tmp_path, environ={})


def test_a_byte_order_mark_is_tolerated_and_moves_no_column(tmp_path: Path) -> None:
    path = tmp_path / "pipe.yaml"
    path.write_bytes(b"\xef\xbb\xbfnam: x\n")
    with pytest.raises(SpecError) as caught:
        load(path, environ={})
    assert caught.value.problems[0].column == 1
    assert "`nam`" in caught.value.problems[0].message
