"""Finding what must not leave the house in a text: mail addresses, telephone, card and account numbers, keys, IPs.

Each kind has two looks at a text. `hint` is a regular expression of polars that says, for a whole column at once,
which texts may hold one; `find` looks at such a text exactly, with check sums where there are any. What only looks
like one stays: a number that fails its check sum is no card.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["key", "mail", "iban", "card", "ip", "phone"]
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Detector:
    """One kind.

    Attributes:
        hint: matches, as polars reads it, in every text that `find` finds something in.
        find: the places of all there are in a text, rising and apart.
    """

    hint: str
    find: Callable[[str], Iterator[Span]]


# A name before @ of the letters of any script, then labels, then a label without digits: x@1.2.3 is a version.
_MAIL = re.compile(
    r"(?<![\w.+%'-])[\w+%'-]+(?:\.[\w+%'-]+){0,12}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w-])"
)

_DIGITS = re.compile(r"(?<!\w)(?<!\d[.,])\d(?:[ -]?\d){12,}(?![\w])(?![.,]\d)", re.ASCII)
_GROUP = re.compile(r"\d+", re.ASCII)
# Issuer identification numbers by ISO/IEC 7812: Visa, Mastercard, American Express, Discover, JCB, Diners, UnionPay,
# Maestro; each with the lengths that its numbers have.
_ISSUERS: tuple[tuple[re.Pattern[str], frozenset[int]], ...] = (
    (re.compile(r"4"), frozenset({13, 16, 19})),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), frozenset({16})),
    (re.compile(r"3[47]"), frozenset({15})),
    (re.compile(r"6011|64[4-9]|65"), frozenset(range(16, 20))),
    (re.compile(r"35(2[89]|[3-8])"), frozenset(range(16, 20))),
    (re.compile(r"30[0-5]|309|36|3[89]"), frozenset(range(14, 20))),
    (re.compile(r"62|81"), frozenset(range(16, 20))),
    (re.compile(r"50|5[6-9]|6"), frozenset(range(16, 20))),
)
# How numbers in groups are printed; other groups of digits are something else, such as two numbers side by side.
_PRINTED = frozenset(
    [
        (4, 4, 4, 4),
        (4, 4, 4, 4, 1),
        (4, 4, 4, 4, 2),
        (4, 4, 4, 4, 3),
        (4, 4, 4, 1),
        (4, 6, 5),
        (4, 6, 4),
        (6, 13),
        (8, 8),
    ]
)
_LONGEST_CARD = 19

_IBAN = re.compile(r"(?<![A-Za-z0-9])([A-Za-z]{2})(\d{2})(?=[ -]?[A-Za-z0-9])", re.ASCII)
# Lengths by country of the SWIFT registry of IBANs.
_IBAN_COUNTRIES = {
    15: "NO", 16: "BE", 18: "DK FK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip
_IBAN_LENGTHS = {code: length for length, codes in _IBAN_COUNTRIES.items() for code in codes.split()}

# By the shapes that their makers document: OpenAI and Anthropic, Stripe, GitHub, GitLab, AWS, Google, Slack,
# Hugging Face, npm, SendGrid; then JSON Web Tokens (RFC 7519), PEM (RFC 7468) and bearer tokens (RFC 6750).
_KEY_HINT = (
    r"sk-|[spr]k_(?:live|test)_|gh[pousr]_|github_pat_|glpat-|A[KS]IA|AIza|xox[abeoprs]-|hf_|npm_|SG\."
    r"|eyJ|PRIVATE KEY-----|(?i:bearer)\s"
)
_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----(?:[\s\S]*?-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|[\s\S]*)"
    r"|(?<![\w-])(?:"
    r"sk-(?=[\w-]*\d)[\w-]{20,}|[spr]k_(?:live|test)_\w{16,}"
    r"|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}|glpat-[\w-]{20,}|(?:AKIA|ASIA)[A-Z0-9]{16}(?!\w)"
    r"|AIza[\w-]{35}|xox[abeoprs]-[\w-]{10,}|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36,}"
    r"|SG\.[\w-]{16,}\.[\w-]{16,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r")"
    r"|(?<=(?i:bearer)\s)(?P<bearer>[\w.~+/-]{16,}=*)",
    re.ASCII,
)
_BEARER_WORD = re.compile(r"[A-Za-z-]+\.?")

_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w)(?!\.\d)", re.ASCII)
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{2,39}(?:(?<=:)\d{1,3}(?:\.\d{1,3}){3})?(?![\w:])", re.ASCII)

# International with + or, when written in groups, 00; North American in groups of 3, 3 and 4; and numbers in groups
# that begin with the 0 of most other countries.
_PHONE = re.compile(
    r"(?<![\w+])(?<!\d[.,/-])(?:"
    r"\+(?:[ ./-]?\(?\d\)?){7,15}"
    r"|00[1-9]\d{0,2}(?:[ ./-]{1,2}\(?\d{1,12}\)?){1,6}"
    r"|(?:1[ .-])?(?:\([2-9]\d{2}\)[ .-]?|[2-9]\d{2}[ .-])[2-9]\d{2}[ .-]\d{4}"
    r"|\(?0\d{1,5}\)?(?:(?:[./-] ?| [./-]| (?!0\d{2}))\d{2,12}){1,5}"
    r")(?!\w)(?![.,/-]\d)",
    re.ASCII,
)
_DATE = re.compile(r"\d{1,2}([./-])\d{1,2}\1\d{2,4}(?!\d)|0\d\.\d{2}(?!\d)", re.ASCII)
_FEWEST_DIGITS = {"+": 8, "00": 9, "0": 9}
_MOST_DIGITS = 15


def is_luhn(digits: str) -> bool:
    """Whether the check digit at the end is right (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_card(digits: str) -> bool:
    """Whether digits are a card's number: an issuer's beginning, a length that it has, and the right check digit."""
    known = any(begins.match(digits) and len(digits) in lengths for begins, lengths in _ISSUERS)
    return known and is_luhn(digits) and len(set(digits)) > 1


def is_iban(text: str) -> bool:
    """Whether letters and digits without spaces are an IBAN: the country's length and the check number (ISO 13616)."""
    code = text.upper()
    if _IBAN_LENGTHS.get(code[:2]) != len(code):
        return False
    return int("".join(str(int(mark, 36)) for mark in code[4:] + code[:4])) % 97 == 1


def _mails(text: str) -> Iterator[Span]:
    for match in _MAIL.finditer(text):
        yield match.span()


def _keys(text: str) -> Iterator[Span]:
    for match in _KEY.finditer(text):
        # "Bearer authentication-schemes" are words.
        if not (match["bearer"] and _BEARER_WORD.fullmatch(match["bearer"])):
            yield match.span()


def _cards(text: str) -> Iterator[Span]:
    """Runs of whole groups of digits, so that a card is found beside a year or a security code."""
    for run in _DIGITS.finditer(text):
        groups = [(group.start() + run.start(), group.end() + run.start()) for group in _GROUP.finditer(run[0])]
        first = 0
        while first < len(groups):
            last = _card_end(text, groups, first)
            if last is None:
                first += 1
                continue
            yield groups[first][0], groups[last][1]
            first = last + 1


def _card_end(text: str, groups: list[Span], first: int) -> int | None:
    """The last group of the longest card that begins with a group."""
    digits, found, lengths = "", None, []
    for last in range(first, len(groups)):
        digits += text[slice(*groups[last])]
        lengths.append(groups[last][1] - groups[last][0])
        if len(digits) > _LONGEST_CARD:
            break
        if (last == first or tuple(lengths) in _PRINTED) and is_card(digits):
            found = last
    return found


def _ibans(text: str) -> Iterator[Span]:
    behind = 0
    for match in _IBAN.finditer(text):
        length = _IBAN_LENGTHS.get(match[1].upper(), 0)
        if not length or match.start() < behind:
            continue
        rest = re.compile(rf"(?:[ -]?[A-Za-z0-9]){{{length - 4}}}(?![A-Za-z0-9])").match(text, match.end())
        if rest and is_iban(re.sub(r"[ -]", "", text[match.start() : rest.end()])):
            behind = rest.end()
            yield match.start(), behind


def _addresses(text: str) -> Iterator[Span]:
    spans = [match.span() for match in _IPV4.finditer(text) if _is_ip(match[0])]
    # Two groups at least and a digit, so that C++ names such as a::b stay.
    spans += [
        match.span()
        for match in _IPV6.finditer(text)
        if match[0].count(":") >= 2 and any(mark.isdigit() for mark in match[0]) and _is_ip(match[0])
    ]
    behind = 0
    for start, end in sorted(spans):
        if start >= behind:
            behind = end
            yield start, end


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _phones(text: str) -> Iterator[Span]:
    behind = 0
    for match in _PHONE.finditer(text):
        number, start = match[0], match.start()
        digits = sum(mark.isdigit() for mark in number)
        begins = next((mark for mark in ("+", "00", "0") if number.lstrip("(").startswith(mark)), "")
        fits = _FEWEST_DIGITS.get(begins, 10) <= digits <= _MOST_DIGITS
        # The middle of some other row of digits, unless a telephone number stands before it.
        is_middle = begins != "+" and behind != start - 1 and re.match(r"\d ", text[max(0, start - 2) : start])
        if fits and not is_middle and not _DATE.match(number) and number.count("(") == number.count(")"):
            behind = match.end()
            yield match.span()


DETECTORS: dict[Kind, Detector] = {
    "key": Detector(_KEY_HINT, _keys),
    "mail": Detector(r"[\w+%'-]@[^\W_]", _mails),
    "iban": Detector(r"[A-Za-z]{2}[0-9]{2}[ -]?[A-Za-z0-9]{2}", _ibans),
    "card": Detector(r"[0-9](?:[ -]?[0-9]){12}", _cards),
    "ip": Detector(r"[0-9]\.[0-9]{1,3}\.[0-9]|:[0-9A-Fa-f]{0,4}:", _addresses),
    "phone": Detector(r"[0-9)][ ./()-]{0,2}[0-9](?:[ ./()-]{0,2}[0-9]){6}", _phones),
}
"""In the order in which they are looked for: the surer ones first, so that a card is not taken for a telephone."""


def first_of_each(text: str, kinds: Sequence[Kind]) -> dict[Kind, int]:
    """Where the first of each of `kinds` begins in a text, for those that are in it; each mark is of one kind only."""
    found: dict[Kind, int] = {}
    for kind, detector in DETECTORS.items():
        if kind not in kinds:
            continue
        spans = list(detector.find(text))
        if spans:
            found[kind] = spans[0][0]
            # As `redact` does: what is a card is not a telephone number too. Lengths stay, so places do.
            for start, end in spans:
                text = text[:start] + "_" * (end - start) + text[end:]
    return found
