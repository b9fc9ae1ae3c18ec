"""`${NAME}`, `${NAME:-default}`, `${params.x}` and `$$`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from spec_pipelines import HEAD, TAIL

from penstock.errors import Problem, UsageError
from penstock.spec.references import looks_secret

Load = Callable[..., Any]
Mistakes = Callable[..., list[Problem]]


def described(text: str) -> str:
    return f"description: {text}\n{HEAD}{TAIL}"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("${WHERE}", "there"),
        ("is ${WHERE}, ${WHERE}", "is there, there"),
        ("${NOWHERE:-here}", "here"),
        ("${EMPTY:-here}", "here"),
        ("${NOWHERE:-}", ""),
        ("${WHERE:-here}", "there"),
        ("'${NOWHERE:-a: b}'", "a: b"),
        ("costs $$5 and $5", "costs $5 and $5"),
        ("$${WHERE}", "${WHERE}"),
        ("$$$${WHERE}", "$${WHERE}"),
        ("costs ${{ price }}", "costs ${{ price }}"),
        ("'$'", "$"),
    ],
)
def test_references_stand_for_the_environment(load_yaml: Load, written: str, read: str) -> None:
    environ = {"WHERE": "there", "EMPTY": ""}
    if "{{" in written:
        written = f"'{written}'"
    assert load_yaml(described(written), environ=environ).spec.description == read


@pytest.mark.parametrize(
    ("written", "message", "hint", "column"),
    [
        ("a ${WHRE}", "the environment variable WHRE is not set", "did you mean `WHERE`?", 16),
        ("${XYZ}", "the environment variable XYZ is not set", "export XYZ=…", 14),
        ("${EMPTY}", "the environment variable EMPTY is empty", "", 14),
        ("a ${params.since}", "there is no parameter `since`", "declare it", 16),
        ("a ${1X}", "${1X} is not a reference", "write ${NAME}", 16),
        ("a ${}", "${} is not a reference", "write ${NAME}", 16),
        ("'a ${WHERE'", "no closing brace", "write ${NAME}", 17),
        ("a ${MY_API_KEY}", "MY_API_KEY looks like a secret", "", 16),
        ("a ${DB_PASSWORD:-x}", "DB_PASSWORD looks like a secret", "", 16),
    ],
)
def test_a_wrong_reference_is_a_mistake_at_its_place(
    mistakes: Mistakes, written: str, message: str, hint: str, column: int
) -> None:
    found = mistakes(described(written), environ={"WHERE": "there", "EMPTY": "", "MY_API_KEY": "sk-abcdefgh1234"})
    assert len(found) == 1
    assert message in found[0].message
    assert hint in found[0].hint
    assert (found[0].line, found[0].column) == (1, column)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("OPENAI_API_KEY", True),
        ("TOKEN", True),
        ("db_password", True),
        ("CLIENT_SECRET", True),
        ("MAX_TOKENS", False),
        ("KEYBOARD", False),
        ("HOME", False),
        ("GITHUB_TOKEN", True),
    ],
)
def test_which_names_look_secret(name: str, secret: bool) -> None:
    assert looks_secret(name) is secret


PARAMS = """
params:
  since: 2026-01-01
  most: {type: integer, default: 7, description: How many.}
  share: 0.5
  strict: true
  word: abc
"""


def test_params_have_types_from_their_defaults(load_yaml: Load) -> None:
    loaded = load_yaml(f"{PARAMS}{HEAD}{TAIL}")
    assert loaded.param_values == {"since": "2026-01-01", "most": 7, "share": 0.5, "strict": True, "word": "abc"}
    assert {name: param.type for name, param in loaded.spec.params.items()} == {
        "since": "date",
        "most": "integer",
        "share": "number",
        "strict": "boolean",
        "word": "string",
    }


def test_a_whole_value_keeps_the_type_and_a_part_becomes_text(load_yaml: Load) -> None:
    text = f"""{PARAMS}{HEAD}
steps:
  - uses: filter
    where: stars > ${{params.most}} and ${{params.strict}}
  - uses: embed
    input: "{{{{ body }}}}"
    model: m
    batch_size: ${{params.most}}
    usage: ${{params.strict}}
{TAIL}"""
    steps = load_yaml(text).spec.steps
    assert steps[0].where == "stars > 7 and true"
    assert steps[1].batch_size == 7
    assert steps[1].usage is True


def test_the_command_line_sets_params(load_yaml: Load) -> None:
    given = {"since": "2026-02-28", "most": "1_000", "share": "2", "strict": "false", "word": "12"}
    loaded = load_yaml(f"{PARAMS}{HEAD}{TAIL}", params=given)
    assert loaded.param_values == {"since": "2026-02-28", "most": 1000, "share": 2, "strict": False, "word": "12"}
    assert loaded.overrides == given


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("most", "many", "'many' is not a whole number"),
        ("most", "1.5", "'1.5' is not a whole number"),
        ("since", "tomorrow", "is not a date"),
        ("since", "2026-02-30", "is not a date"),
        ("strict", "maybe", "is not true or false"),
        ("share", ".nan", "is not a number"),
        ("wrd", "x", "there is no parameter `wrd`"),
    ],
)
def test_a_wrong_value_on_the_command_line_is_a_mistake(
    mistakes: Mistakes, name: str, value: str, message: str
) -> None:
    found = mistakes(f"{PARAMS}{HEAD}{TAIL}", params={name: value})
    assert len(found) == 1
    assert message in found[0].message


def test_a_misspelt_parameter_gets_a_suggestion(mistakes: Mistakes) -> None:
    assert mistakes(f"{PARAMS}{HEAD}{TAIL}", params={"wrd": "x"})[0].hint == "did you mean `word`?"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("since: {type: date}", "has no default, so it needs a value"),
        ("since:", "has no default, so it needs a value"),
        ("n: {type: integer, default: many}", "the default of `n`: 'many' is not a whole number"),
        ("n: {typ: integer, default: 1}", "unknown key `typ`"),
        ("n: {type: int, default: 1}", "`type` must be one of"),
        ("a b: 1", "`a b` is no name for a parameter"),
        ("n: [1]", "is not text"),
        ("n: '${params.m}'", "a parameter cannot refer to another one"),
    ],
)
def test_a_wrong_declaration_of_a_param_is_one_mistake(mistakes: Mistakes, params: str, message: str) -> None:
    found = mistakes(f"params:\n  {params}\n  m: 1\ndescription: a ${{params.m}}{HEAD}{TAIL}")
    assert len(found) == 1
    assert message in found[0].message


def test_the_uses_of_a_broken_parameter_are_no_mistakes_of_their_own(mistakes: Mistakes) -> None:
    assert len(mistakes(f"params: {{n: {{type: int}}}}\ndescription: a ${{params.n}}{HEAD}{TAIL}")) == 1


def test_a_required_parameter_can_be_given(load_yaml: Load) -> None:
    text = f"params: {{since: {{type: date}}}}\ndescription: ${{params.since}}{HEAD}{TAIL}"
    assert load_yaml(text, params={"since": "2026-01-01"}).spec.description == "2026-01-01"


def test_an_unknown_provider_on_the_command_line_is_wrong_usage(load_yaml: Load) -> None:
    with pytest.raises(UsageError, match="did you mean `sandbox`"):
        load_yaml(f"{HEAD}{TAIL}", provider="sandbx")


def test_a_value_that_references_grow_without_bound_is_refused(mistakes: Mistakes) -> None:
    found = mistakes(described("${LONG}" * 3 + "x"), environ={"LONG": "x" * 500_000})
    assert "grows over" in found[0].message


def test_a_key_is_refused_as_the_value_of_a_parameter_and_not_shown(mistakes: Mistakes) -> None:
    key = "sk-abcdefgh12345678ABCDEFGH"
    found = mistakes(f"{PARAMS}{HEAD}{TAIL}", params={"word": key})
    assert [one.message for one in found] == ["-p word=… looks like an API key, and keys live in the environment only"]
    assert key not in str(found)
