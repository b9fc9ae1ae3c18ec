"""Pieces of a text by what they are called: mail addresses, dates, names, places; and texts that fit a pattern."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from penstock.sandbox.models.words import keywords, named, sentences, words

_MONTHS = named("January February March April May June July August September October November December")
_CAPITALS = r"[A-ZÀ-Þ][\w'’-]+"
_STARTERS = frozenset(
    named(
        "the a an i we you he she it they this that these those my our your his her its their in on at to from hi "
        "hello dear yes no please thanks when where what who how why if and but"
    )
)
_READ = 20_000
_LONGEST = 2_000


def _mail(text: str) -> list[str]:
    return re.findall(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+", text)


def _address(text: str) -> list[str]:
    return [found.rstrip(".,)") for found in re.findall(r"https?://[^\s<>\"')]+", text)]


def _telephone(text: str) -> list[str]:
    return [found.strip() for found in re.findall(r"(?<!\w)\+?\(?\d[\d ()/.-]{6,18}\d(?!\w)", text)]


def _date(text: str) -> list[str]:
    found = re.findall(r"\b\d{4}-\d{2}-\d{2}\b", text)
    months = "|".join(_MONTHS)
    for day, month, year in re.findall(rf"\b(\d{{1,2}})\.? ({months}),? (\d{{4}})\b", text):
        found.append(f"{year}-{_MONTHS.index(month) + 1:02}-{int(day):02}")
    for month, day, year in re.findall(rf"\b({months}) (\d{{1,2}})(?:st|nd|rd|th)?,? (\d{{4}})\b", text):
        found.append(f"{year}-{_MONTHS.index(month) + 1:02}-{int(day):02}")
    for day, month, year in re.findall(r"\b(\d{1,2})[./](\d{1,2})[./](\d{4})\b", text):
        if 1 <= int(month) <= 12:
            found.append(f"{year}-{int(month):02}-{int(day):02}")
    return [date for date in found if 1 <= int(date[5:7]) <= 12 and 1 <= int(date[8:]) <= 31]


def _date_time(text: str) -> list[str]:
    exact = re.findall(r"\b\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2})?(?:Z|[+-]\d{2}:\d{2})?", text)
    return exact or [f"{date}T00:00:00Z" for date in _date(text)]


def _time(text: str) -> list[str]:
    return re.findall(r"\b\d{1,2}:\d{2}(?::\d{2})?\b", text)


def _name(text: str) -> list[str]:
    pairs = re.findall(rf"\b{_CAPITALS}(?: (?:van|von|de|di|da|of) | ){_CAPITALS}(?: {_CAPITALS})?", text)
    pairs = [pair for pair in pairs if pair.split()[0].lower() not in _STARTERS]
    return pairs or [
        found[0] for found in re.finditer(rf"\b{_CAPITALS}", text)
        if found[0].lower() not in _STARTERS and not _begins_sentence(text, found.start())
    ]  # fmt: skip


def _begins_sentence(text: str, at: int) -> bool:
    before = text[:at].rstrip()
    return not before or before[-1] in ".!?:\n"


def _placename(text: str) -> list[str]:
    found = re.findall(rf"\b(?:in|at|from|to|for|near|of|visit|nach) ({_CAPITALS}(?: {_CAPITALS})*)", text)
    return found or _name(text)


def _currency(text: str) -> list[str]:
    codes = re.findall(r"\b(?:USD|EUR|GBP|CHF|JPY|CAD|AUD|INR|CNY)\b", text)
    signs = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY"}
    return codes or [code for sign, code in signs.items() if sign in text]


def _uuid(text: str) -> list[str]:
    return re.findall(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b", text)


def _summary(text: str) -> list[str]:
    return [" ".join(sentences(text)[:2])] if text.strip() else []


def _title(text: str) -> list[str]:
    return [sentence.rstrip(".!?") for sentence in sentences(text)[:3]]


def _identifier(text: str) -> list[str]:
    return re.findall(r"(?<![\w-])#?(?=[\w-]*\d)[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*(?![\w-])", text)


def _keyword(text: str) -> list[str]:
    return keywords(text, 5)


_FINDERS: tuple[tuple[tuple[str, ...], Callable[[str], list[str]], str], ...] = (
    (("email", "mail"), _mail, "user@example.com"),
    (("uri", "url", "link", "website", "homepage"), _address, "https://example.com/"),
    (("phone", "telephone", "tel", "mobile"), _telephone, "+1 555 0100"),
    (("date-time", "datetime", "timestamp"), _date_time, "2024-01-01T00:00:00Z"),
    (("date", "day", "birthday", "deadline", "due"), _date, "2024-01-01"),
    (("time",), _time, "00:00:00"),
    (("uuid",), _uuid, "00000000-0000-4000-8000-000000000000"),
    (("ipv4",), lambda text: re.findall(r"\b\d{1,3}(?:\.\d{1,3}){3}\b", text), "192.0.2.1"),
    (("ipv6",), lambda text: re.findall(r"\b(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}\b", text), "2001:db8:0:0:0:0:0:1"),
    (("hostname",), lambda text: re.findall(r"\b[\w-]+(?:\.[\w-]+)+\b", text), "example.com"),
    (("duration",), lambda text: re.findall(r"\bP(?:\d+[YMWD]|T\d+[HMS])+\b", text), "PT0S"),
    (("currency",), _currency, "USD"),
    (("city", "location", "place", "country", "destination", "origin", "region", "town", "address"), _placename, ""),
    (("name", "person", "people", "author", "customer", "company", "organization", "organisation", "participants",
      "names", "entities", "product", "brand"), _name, ""),
    (("summary", "description", "abstract", "explanation", "reason", "reasoning", "rationale"), _summary, ""),
    (("title", "headline", "subject"), _title, ""),
    (("keyword", "keywords", "tag", "tags", "topic", "topics"), _keyword, ""),
    (("id", "identifier", "number", "code", "reference", "sku"), _identifier, ""),
)  # fmt: skip


def find_string(name: str, text: str, *, many: bool, strict: bool = False) -> list[str]:
    """What the text has of the kind that `name` (a property or a format) asks for, without repetitions.

    Args:
        name: for example ``customer_email`` or ``date-time``.
        text: what is read.
        many: whether a list is wanted, so that a made-up value would be wrong.
        strict: `name` is a format: when the text has none, a made-up value is given.
    """
    parts = {name.lower(), *words(name)}
    for names, finder, made_up in _FINDERS:
        if parts & set(names):
            found = list(dict.fromkeys(finder(text[:_READ])))
            if not found and (strict or not many) and made_up:
                return [made_up]
            return found
    return []


def fit_length(schema: dict[str, Any], value: str) -> str:
    """`value` cut or filled up to ``minLength`` and ``maxLength``."""
    most, least = schema.get("maxLength"), min(int(schema.get("minLength", 0)), 10_000)
    if most is not None and len(value) > most:
        value = value[:most]
    return value + "." * (least - len(value))


def match_pattern(pattern: str, text: str) -> tuple[str | None, bool]:
    """A piece of the text that fits, or the simplest one that does (None: none was found), and whether it is said."""
    compiled = re.compile(pattern)
    loose = re.compile(pattern.removeprefix("^").removesuffix("$"))
    text = text[:_LONGEST]
    for candidate in [found[0] for found in loose.finditer(text)][:20]:
        if candidate and compiled.search(candidate):
            return candidate, True
    made = _make(pattern)
    return (made, False) if compiled.search(made) else (None, False)


_PIECE = re.compile(r"(\\[dDwWsS]|\[\^?[^\]]+\]|\\.|\((?:\?:)?[^()|]*|[^\\\[\](){}|*+?^$])(\{(\d+)(?:,\d*)?\}|[*+?])?")
_SIMPLE = {r"\d": "0", r"\w": "a", r"\s": " ", ".": "a", r"\D": "a", r"\W": "-", r"\S": "a"}


@lru_cache(maxsize=256)
def _make(pattern: str) -> str:
    """A simple text that a simple pattern matches: literals, classes and counts; the first of alternatives."""
    made = ""
    for piece, times, least in _PIECE.findall(pattern.removeprefix("^").removesuffix("$").split("|")[0]):
        if piece.startswith("("):
            one = _make(piece.removeprefix("(").removeprefix("?:"))
        elif piece.startswith("["):
            one = next((mark for mark in "a0A-_ .,:/b1B" if re.fullmatch(piece, mark)), "a")
        else:
            one = _SIMPLE.get(piece, piece.removeprefix("\\"))
        count = int(least) if least else 0 if times in ("*", "?") else 1
        made += one * min(count, 1_000)
    return made
