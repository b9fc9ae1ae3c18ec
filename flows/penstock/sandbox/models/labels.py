"""Choosing one of a few labels for a text, by the words of the labels and by small lists of words that go with the
commonest of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from penstock.sandbox.models.words import named, stem, stems, words

_GOES_WITH_TEXT = {
    "positive": "good great excellent love loved loves like happy wonderful amazing best perfect delicious friendly "
    "fantastic recommend pleased satisfied awesome nice helpful fast thanks thank brilliant superb enjoy enjoyed gut "
    "super toll wunderbar lecker bon excellent bueno genial ottimo",
    "negative": "bad terrible awful hate hated worst poor broken disappointed disappointing rude slow horrible useless "
    "refund angry waste never cold dirty wrong fail failed fails crash annoying late problem unhappy schlecht "
    "furchtbar langsam mauvais malo terrible pessimo",
    "billing": "invoice charge charged payment pay paid refund card price subscription bill money twice",
    "technical": "error bug crash crashes login password install screen app broken freeze server code fails update",
    "shipping": "delivery deliver delivered package parcel arrive arrived courier late tracking post shipped order",
    "account": "login password email username profile sign register account delete",
    "spam": "free win winner prize click offer buy cheap viagra casino lottery congratulations urgent cash",
    "ham": "meeting tomorrow lunch attached thanks regards report team",
    "urgent": "urgent immediately asap now emergency critical today outage down",
    "high": "urgent immediately asap emergency critical outage down serious severe",
    "low": "minor whenever someday cosmetic typo small",
    "question": "what when where who why how which could can",
    "complaint": "bad terrible disappointed broken refund rude late wrong unacceptable complain",
    "praise": "great excellent love thanks wonderful amazing perfect",
    "toxic": "idiot stupid hate kill moron shut trash",
    "sports": "game match team player goal score league football cup coach tennis",
    "business": "market company shares profit stock bank trade investors sales economy",
    "technology": "software computer internet phone app data chip robot code device",
    "politics": "election government minister president vote parliament party law policy",
    "science": "study research scientists space physics biology experiment planet",
    "food": "food meal delicious waiter restaurant taste cook dish dinner lunch kitchen menu",
    "travel": "flight hotel trip airport travel booking holiday train",
    "english": "the and is of to with was",
    "german": "der die das und ist nicht ein ich mit",
    "french": "le la les et est une des je avec",
    "spanish": "el los las y es una por con que",
    "italian": "il lo gli e è una per con che",
    "yes": "yes true correct right agree sure",
    "no": "no not never false wrong",
}
_SYNONYMS = {
    "pos": "positive", "good": "positive", "neg": "negative", "bad": "negative", "payment": "billing",
    "bug": "technical", "tech": "technical", "delivery": "shipping", "critical": "urgent", "en": "english",
    "de": "german", "fr": "french", "es": "spanish", "it": "italian", "sport": "sports", "true": "yes",
    "false": "no", "junk": "spam", "refund": "billing",
}  # fmt: skip
_GOES_WITH = {label: frozenset(map(stem, text.split())) for label, text in _GOES_WITH_TEXT.items()}
_LITTLE = frozenset(
    named(
        "der die das und ist nicht ein ich mit le la les et est une des je avec el los las y es una por con que il lo "
        "gli e è per che the and is of to with was"
    )
)
_NEITHER = ("neutral", "other", "none", "unknown", "mixed", "medium", "normal", "general", "unclear", "n/a")
_NOT = frozenset({"not", "no", "never", "n't", "isn't", "wasn't", "don't", "didn't", "nicht", "kein", "pas", "non"})
_OPPOSITE = {"positive": "negative", "negative": "positive"}

_LISTED = re.compile(
    r"(?:\b(?:one of(?: the following| these)?(?: \w+)?|labels?|categor(?:y|ies)|classes|options?|choices|topics?|"
    r"(?:classif\w+|categori[sz]e|label|sort|tag)\b[^.:\n]{0,80}?\b(?:as|into|in|with|by)(?: either| one of)?)"
    r"(?: are| is)?\s*(?:\([^)\n]*\))?\s*[:=]?\s*)([^.\n?!;]{2,400})",
    re.IGNORECASE,
)
_ANSWER_WITH = re.compile(
    r"\b(?:answer|respond|reply|return|output|say)\b(?: only| just| exactly)*(?: with)?(?: only| just| either)*\s*:?\s*"
    r"([^.\n?!;]{2,200}\bor\b[^.\n?!;]{1,100})",
    re.IGNORECASE,
)
_BULLETS = re.compile(
    r"(?:labels?|categor(?:y|ies)|classes|options|choices|topics)[^\n]{0,60}:\s*\n"
    r"((?:[ \t]*(?:[-*•]|\d+[.)])[^\n]+(?:\n|$))+)",
    re.IGNORECASE,
)
_SLASHED = re.compile(r"\b([A-Za-z][\w-]{0,30}(?:\s?/\s?[A-Za-z][\w-]{0,30}){1,12})\b")
_WANTS = re.compile(
    r"\b(?:classif|categor|label|sentiment|which of|one of|answer|respond|reply|is (?:this|the|it))", re.IGNORECASE
)
_SPLIT = re.compile(r"\s*(?:,|;|/|\||\bor\b|\band\b)\s*", re.IGNORECASE)
_SHORT = 4
"""Words that a label may have."""


def find_labels(instruction: str) -> list[str]:
    """The labels that an instruction lists; empty when it lists none, or only one."""
    if found := _BULLETS.search(instruction):
        lines = [re.sub(r"^\s*(?:[-*•]|\d+[.)])\s*", "", line) for line in found[1].splitlines()]
        labels = _clean([re.split(r"\s*(?:[:–(]| - )", line)[0] for line in lines])
        if len(labels) > 1:
            return labels
    for pattern in (_LISTED, _ANSWER_WITH):
        for found in pattern.finditer(instruction):
            labels = _clean(_SPLIT.split(found[1].rpartition(":")[2].strip("[]{}() ")))
            if len(labels) > 1:
                return labels
    if _WANTS.search(instruction) and (found := _SLASHED.search(instruction)):
        return _clean(found[1].split("/"))
    return []


def rank_labels(labels: Sequence[str], text: str) -> list[str]:
    """The labels, the best first; equal ones stay in their order, and those that mean "neither" go before bad ones."""
    marks = [_score(label, text) for label in labels]
    best = max(marks, default=0.0)
    order = sorted(range(len(labels)), key=lambda at: -marks[at])
    if best <= 0:
        order.sort(key=lambda at: labels[at].casefold() not in _NEITHER)
    return [labels[at] for at in order]


def _clean(pieces: Sequence[str]) -> list[str]:
    labels: list[str] = []
    for piece in pieces:
        label = piece.strip(" \t\"'`“”‘’«»[]{}()*.:").removeprefix("either ").removeprefix("the ")
        if label and len(label.split()) <= _SHORT and label not in labels:
            labels.append(label)
    return labels


def _score(label: str, text: str) -> float:
    found = words(text)
    stemmed = [stem(word) for word in found]
    own = stems(label) or {stem(word) for word in words(label)}
    score = 2.0 * sum(stemmed.count(part) > 0 for part in own)
    for word in words(label):
        name = _SYNONYMS.get(word, word)
        score += _count(name, found, stemmed)
        if name in _OPPOSITE:
            score -= _negated(_OPPOSITE[name], found, stemmed, -1.0)
    return score


def _count(name: str, found: Sequence[str], stemmed: Sequence[str]) -> float:
    goes = _GOES_WITH.get(name)
    if goes is None:
        return 0.0
    total = 0.0
    for at, part in enumerate(stemmed):
        if part in goes and (name in _LANGUAGES or found[at] not in _LITTLE):
            turned = name in _OPPOSITE and any(word in _NOT for word in found[max(0, at - 3) : at])
            total += -1.0 if turned else 1.0
    return total


def _negated(name: str, found: Sequence[str], stemmed: Sequence[str], weight: float) -> float:
    """What is not good counts for bad, and the other way round."""
    goes = _GOES_WITH[name]
    return weight * sum(
        part in goes and any(word in _NOT for word in found[max(0, at - 3) : at]) for at, part in enumerate(stemmed)
    )


_LANGUAGES = frozenset({"english", "german", "french", "spanish", "italian"})
