"""`redact` from YAML text: what is found goes, what only looks like it stays."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from penstock.errors import InputError
from penstock.steps.redact import Redact
from penstock.texts.personal import DETECTORS, is_card, is_iban, is_luhn

Make = Callable[[str], Any]
ALL = ["mail", "phone", "card", "iban", "key", "ip"]
# Put together here, so that no file holds anything that looks like a key.
KEY_TEXTS = [
    "sk" + "-proj-" + "Ab1_" * 10,
    "sk" + "-ant-" + "x9" * 20,
    "sk" + "_live_" + "a1B2" * 6,
    "gh" + "p_" + "a1B2" * 9,
    "github" + "_pat_" + "11ABC_" * 5,
    "gl" + "pat-" + "a1B2-" * 5,
    "AK" + "IA" + "IOSFODNN7EXAMPLE",
    "AI" + "za" + "B" * 35,
    "xo" + "xb-" + "123456789012-abc",
    "h" + "f_" + "aB" * 17,
    "np" + "m_" + "a1B2" * 9,
    "S" + "G." + "a1B2" * 5 + "." + "c3D4" * 10,
    "ey" + "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVP",
    "-----BEGIN " + "PRIVATE KEY-----\nMIIEvQ\n-----END " + "PRIVATE KEY-----",
    "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEvQ\ncut off",
]


def redacted(text: str | None, **settings: Any) -> Any:
    step = Redact.model_validate({"uses": "redact", "columns": ["body"], "kinds": ALL, **settings})
    return step.apply(pl.LazyFrame({"body": [text]}, schema={"body": pl.String})).collect().row(0)[0]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("write to ann@example.com.", "write to [mail]."),
        ("<Bob.O'Neil+news@mail.example.co.uk>", "<[mail]>"),
        ("jörg.müller@straße.de, 田中@例え.jp", "[mail], [mail]"),
        ("mailto:a_b@x-y.org?subject=c@d", "mailto:[mail]?subject=c@d"),
        ("+49 (30) 1234567", "[phone]"),
        (
            "call +1 415 555 2671 or (415) 555-2671, 415-555-2671, 1-415-555-2671",
            "call [phone] or [phone], [phone], [phone]",
        ),
        ("Tel. 030/1234567 0171-1234567, 01 23 45 67 89", "Tel. [phone] [phone], [phone]"),
        ("+442079460958; 0044 20 7946 0958", "[phone]; [phone]"),
        ("4111 1111 1111 1111", "[card]"),
        ("4111-1111-1111-1111 123, 5555555555554444", "[card] 123, [card]"),
        ("amex 3782 822463 10005 12/27", "amex [card] 12/27"),
        ("DE89 3704 0044 0532 0130 00 thanks", "[iban] thanks"),
        ("GB82WEST12345698765432,fr1420041010050500013M02606", "[iban],[iban]"),
        ("from 10.0.0.1. to ::1, fe80::1%eth0 2001:db8::ff00:42:8329", "from [ip]. to [ip], [ip]%eth0 [ip]"),
        ("Authorization: Bearer abc123abc123abc123==", "Authorization: Bearer [key]"),
    ],
)
def test_what_it_is_for_is_replaced_and_nothing_beside_it(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize("key", KEY_TEXTS, ids=lambda key: key[:5])
def test_keys_and_tokens_are_replaced(key: str) -> None:
    assert redacted(f"my key: {key}") == "my key: [key]"


@pytest.mark.parametrize(
    "text",
    [
        "user@localhost, package@1.2.3, @handle, a@b",
        "on 2024-01-15 12:30, 15.01.2024 10:30:05, 01/02/2024, 01-02-2024 10",
        "it costs 1.234.567,89 or 2,345,678.90 or 12 345 678",
        "pi is 3.14159265358979323846 and 0.123456789",
        "ISBN 978-3-16-148410-0, order 12345678901234, 4111 1111 1111 1112",
        "DE00 3704 0044 0532 0130 00, XX89370400440532013000",
        "v1.2.3.4.5, 999.1.1.1, 1.2.3, std::vector a::b 12:30:45, ::",
        "sk-this-is-a-slug-of-a-long-headline and skeleton, Bearer authentication-schemes matter",
        "the AKIA of AKIABC, eyJ.eyJ, ghp_short",
        "uuid 550e8400-e29b-41d4-a716-446655440000, sha 4111111111111111aa",
        "0000 0000 0000 0000",
        "zip 12345-6789, 24/7, 50-60, #1234567",
        "",
        "  \n",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert redacted(text) == text


def luhn_digit(digits: str) -> str:
    return next(digit for digit in "0123456789" if is_luhn(digits + digit))


@given(st.from_regex(r"4[0-9]{14}", fullmatch=True), st.sampled_from(["", " ", "-"]), st.integers(1, 9))
def test_a_card_goes_and_with_another_check_digit_it_stays(digits: str, mark: str, other: int) -> None:
    """Of ten numbers that differ in their last digit alone, one is a card."""

    def written(number: str) -> str:
        return mark.join(number[place : place + 4] for place in range(0, 16, 4))

    right = digits + luhn_digit(digits)
    wrong = digits + str((int(right[-1]) + other) % 10)
    assert is_card(right)
    assert not is_card(wrong)
    assert redacted(f"pay {written(right)} now", kinds=["card"]) == "pay [card] now"
    assert redacted(f"pay {written(wrong)} now", kinds=["card"]) == f"pay {written(wrong)} now"


@given(st.integers(0, 10**18 - 1), st.integers(1, 96))
def test_an_account_number_goes_and_with_another_check_number_it_stays(account: int, other: int) -> None:
    bank = f"{account:018d}"
    check = 98 - int(bank + "131400") % 97
    right = f"DE{check:02d}{bank}"
    wrong = f"DE{(check - 2 + other) % 97 + 2:02d}{bank}"
    assert is_iban(right)
    assert not is_iban(wrong)
    assert redacted(f"to {right}.", kinds=["iban"]) == "to [iban]."
    assert redacted(f"to {wrong}.", kinds=["iban"]) == f"to {wrong}."


@given(
    st.lists(
        st.sampled_from(
            [
                "a@b.de", "+49 30 1234567", " 030 1234567", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00",
                "10.0.0.1", "::1", KEY_TEXTS[0], "Bearer abc123abc123abc123", "word", " ", ".", "@", "0", "1", "-", "é",
                "中", ":", "/", "(",
            ]
        ),
        max_size=12,
    ).map("".join)
    | st.text(max_size=30)
)  # fmt: skip
def test_a_hint_never_hides_what_is_there(text: str) -> None:
    """The quick look at a column sends every text on in which the exact look finds something."""
    for kind, detector in DETECTORS.items():
        spans = list(detector.find(text))
        assert spans == sorted(spans)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
        if spans:
            assert pl.Series([text]).str.contains(detector.hint)[0], kind


@given(st.lists(st.none() | st.text(max_size=20), max_size=6))
def test_every_row_stays_and_a_null_is_a_null(texts: list[str | None]) -> None:
    step = Redact.model_validate({"uses": "redact", "columns": ["body"], "kinds": ALL, "count": "n"})
    frame = pl.DataFrame({"__row": range(len(texts)), "body": texts}, schema={"__row": pl.Int64, "body": pl.String})
    done = step.apply(frame.lazy()).collect()
    assert done["__row"].to_list() == list(range(len(texts)))
    assert [text is None for text in done["body"]] == [text is None for text in texts]
    assert all((new == old) == (n == 0) for new, old, n in zip(done["body"], texts, done["n"], strict=True))


def test_own_patterns_go_first_and_all_is_counted(step_of: Make) -> None:
    step = step_of(
        r"""
        uses: redact
        columns: [body, note]
        kinds: [phone, mail]
        patterns: {order: '\b0\d{3}-\d{7}\b', name: '(?i)\p{Lu}\w+ gmbh'}
        replace: '<${kind}$1>'
        count: redacted
        """
    )
    frame = pl.DataFrame({"body": ["0171-1234567 at Äpfel GmbH", None], "note": ["a@b.de c@d.de", "x"], "z": [1, 2]})
    assert step.columns_after(dict.fromkeys(frame.columns)) == {
        "body": None,
        "note": None,
        "z": None,
        "redacted": "Int64",
    }
    assert step.apply(frame.lazy()).collect().rows() == [
        ("<$order$1> at <$name$1>", "<$mail$1> <$mail$1>", 1, 4),
        (None, "x", 2, 0),
    ]
    assert step.apply(frame.clear().lazy()).collect().columns == [*frame.columns, "redacted"]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("patterns: {x: '(?=a)b'}", "`x` cannot be used: look-around.* not supported"),
        (r"patterns: {x: '(a)\1'}", "`x` cannot be used: backreferences are not supported"),
        ("patterns: {x: '['}", "`x` cannot be used: unclosed character class"),
        ("patterns: {x: 'a*'}", "matches an empty text"),
        ("patterns: {mail: 'a'}", "`mail` is a kind of its own"),
        ("patterns: {X y: 'a'}", "`X y` is no name"),
        ("replace: '[{king}]'", "{king} stands for nothing here"),
        ("kinds: [mail, mail]", "'mail' is named twice"),
        ("kinds: [street]", "Input should be"),
    ],
)
def test_settings_that_make_no_sense_are_mistakes(step_of: Make, settings: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        step_of(f"uses: redact\ncolumns: [body]\n{settings}")


def test_columns_that_do_not_suit_are_told(step_of: Make) -> None:
    step = step_of("{uses: redact, columns: [body], count: n}")
    with pytest.raises(ValueError, match="redact needs text, and the column 'body' is Int64"):
        step.columns_after({"body": "Int64"})
    with pytest.raises(ValueError, match="'n' exists already; give `count` another name"):
        step.columns_after({"body": None, "n": None})
    with pytest.raises(ValueError, match="nothing is looked for"):
        step_of("{uses: redact, columns: [body], kinds: []}").columns_after({"body": None})
    with pytest.raises(InputError, match="needs text, and the column 'body' is Int64"):
        step.apply(pl.LazyFrame({"body": [1]}))


def test_every_issuers_numbers_are_known() -> None:
    """The numbers that card companies give out for tests."""
    for number in (
        "4222222222222", "4012888888881881", "5105105105105100", "2223003122003222", "378282246310005",
        "6011111111111117", "3530111333300000", "30569309025904", "6200000000000005", "6759649826438453",
    ):  # fmt: skip
        assert is_card(number), number
        assert re.fullmatch(r"\[card\]", redacted(number))


@pytest.mark.parametrize(
    "unit", ["a", "1", "1 ", "a.", "a@", "sk-", "+1", "0 ", ":a", "DE89", "-----BEGIN PRIVATE KEY-----", "eyJa."]
)
def test_a_hostile_text_takes_no_quadratic_time(unit: str) -> None:
    spent = []
    for times in (4_000, 32_000):
        began = time.process_time()
        redacted(unit * times)
        spent.append(time.process_time() - began)
    assert spent[1] < 40 * max(spent[0], 0.01)
