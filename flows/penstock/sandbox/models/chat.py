"""Answers of the sandbox's chat: a few instructions are followed by rules, everything else is told back.

There is no language model. What can be relied on: the same conversation always gets the same answer; *repeat*,
*classify*, *summarise*, *extract keywords*, *answer from this text* and fixed answers work on any text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from penstock.sandbox.models.extraction import fill
from penstock.sandbox.models.labels import find_labels, rank_labels
from penstock.sandbox.models.words import keywords, sentences, stems

GREETING = "Hello! How can I assist you today?"
_HELLO = re.compile(
    r"\W*(?:hello|hi|hey|good (?:morning|evening|day)|hallo|bonjour|hola|ciao)\b[\w ,]{0,20}\W*", re.IGNORECASE
)
_EXACTLY = re.compile(
    r"\b(?:reply|respond|answer|return|output)\b(?: only| just| exactly)*(?: with)?(?: only| just| exactly)*"
    r"(?: the (?:word|text|string|sentence)s?)?\s*:?\s*[\"“'`«](.+?)[\"”'`»]",
    re.IGNORECASE | re.DOTALL,
)
_SAY = re.compile(
    r"\b(?:repeat|echo|say)\b(?: after me| back| exactly| verbatim| word for word| the (?:following|word|words|text|"
    r"message|sentence|phrase)(?: (?:text|message|sentence|exactly))?| this(?: (?:text|message|sentence))?| it| only|"
    r" just| that)*(?:\s*[:\-–]\s*|\s+)(?=\S)(.+)",
    re.IGNORECASE | re.DOTALL,
)
_ECHO_ROLE = re.compile(
    r"\b(?:repeat|echo)\b[^.\n]{0,40}\b(?:user|message|input|text|say|says|said|everything|what)|\becho (?:bot|server)",
    re.IGNORECASE,
)
_SUMMARISE = re.compile(r"\b(?:summar\w+|tl;?dr|zusammenfass\w+|fasse?\b.*\bzusammen|résum\w+|resum\w+)", re.IGNORECASE)
_KEYWORDS = re.compile(
    r"\b(?:extract|list|give|find|name)\b[^.\n]{0,40}\b(?:key ?words|key ?phrases|topics|tags)", re.IGNORECASE
)
_CASE = re.compile(r"\b(?:in|to|into) (upper ?case|lower ?case|capital letters)\b", re.IGNORECASE)
_COUNT_WORDS = re.compile(r"\bhow many words\b|\bcount the words\b", re.IGNORECASE)
_NUMBER_WORDS = {"one": 1, "a single": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "ten": 10}
_LENGTH = re.compile(
    r"\b(\d{1,4}|one|a single|two|three|four|five|six|ten) (sentence|word|bullet|key ?word|tag|topic)", re.IGNORECASE
)
_ASKS = (
    r"(?i:extract|summar|classif|categor|translat|following|below|this|these|text|from|repeat|answer|analy[sz]e|convert|"
    r"parse|rewrite|what|which|how|tell|find|list|give|describe|label|is)"
)
_LEAD = re.compile(rf"(?=[^\n:]*\b{_ASKS}\w*\b)(?:(?:[^\s:]+ ){{1,40}}[^\s:]*:(?!//)\s*|[^\n]{{1,300}}\n\s*\n)")
_LABELLED = re.compile(
    r"(?:^|\n|[.!?]\s)\s*(?:text|review|message|comment|tweet|email|ticket|input|article|document|context|sentence|"
    r"content|body|feedback|post)\s*:\s*(.+)",
    re.IGNORECASE | re.DOTALL,
)
_FENCED = re.compile(r"```\w*\n(.+?)```|\"\"\"(.+?)\"\"\"|<(\w+)>(.+?)</\3>", re.DOTALL)
_QUOTED = re.compile(r"[\"“«](.{3,}?)[\"”»]", re.DOTALL)
_OPENINGS = ("", "In other words: ", "Put differently: ", "Once more: ", "Another way to say it: ")
_SHOWN = 60
"""Words of a text that are told back."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What the rules read.

    Attributes:
        system: the instructions of the system and developer messages.
        user: the last user message.
        before: the user messages before it.
        tools: results of tools after the last user message: name and content.
    """

    system: str
    user: str
    before: tuple[str, ...] = ()
    tools: tuple[tuple[str, str], ...] = ()

    @property
    def subject(self) -> str:
        """The text that the instruction is about, without the instruction when both are in one message."""
        return find_subject(self.user)


def find_subject(message: str) -> str:
    """What a message is about: fenced, marked by a word such as ``Text:``, quoted, or after its first colon."""
    if found := _FENCED.search(message):
        return next(group for group in (found[4], found[2], found[1]) if group).strip()
    if found := _LABELLED.search(message):
        return found[1].strip()
    if (found := _QUOTED.search(message)) and len(found[1]) > 15:
        return found[1].strip()
    lead = _LEAD.match(message)
    rest = message[lead.end() :].strip() if lead else ""
    return rest or message.strip()


def reply(talk: Conversation, variant: int) -> str:
    """The answer in plain text; `variant` 0 is the plain one, the others word it differently."""
    if talk.tools:
        told = "; ".join(f"{name} returned {content}" for name, content in talk.tools)
        return _reword(f"According to the tools, {told}.", variant)
    labels = find_labels(talk.system) or find_labels(talk.user)
    if labels:
        ranked = rank_labels(labels, talk.subject)
        # Most samples agree, as with a real model: every third one takes the second best.
        return ranked[1 if variant % 3 == 2 else 0]
    answer = _exact(talk)
    return answer if answer is not None else _reword(_free(talk), variant)


def as_json(talk: Conversation, variant: int) -> str:
    """A JSON object for JSON mode: with the keys that the instruction shows, or with the plain answer."""
    asked = f"{talk.system}\n{talk.user}"
    keys = re.findall(r"[\"'`]([A-Za-z_][\w-]{0,40})[\"'`]", asked)
    if not keys and (found := re.search(r"\b(?:keys?|fields?)\b(?: named)?:?\s+([\w, ]+)", asked, re.IGNORECASE)):
        keys = [key for key in re.split(r"\s*(?:,|\band\b)\s*|\s+", found[1]) if key][:20]
    if not keys:
        return json.dumps({"answer": reply(talk, variant)}, ensure_ascii=False)
    schema = {"type": "object", "properties": {key: {} for key in dict.fromkeys(keys)}}
    return json.dumps(fill(schema, talk.subject, variant), ensure_ascii=False)


def _exact(talk: Conversation) -> str | None:
    """Answers that must be word for word, whatever the variant."""
    for asked in (talk.user, talk.system):
        if found := _EXACTLY.search(asked):
            return found[1].strip()
    if _ECHO_ROLE.search(talk.system):
        return talk.user
    if found := _SAY.search(talk.user):
        return _unquote(found[1])
    if _HELLO.fullmatch(talk.user):
        return GREETING
    asked = f"{talk.system}\n{talk.user}"
    if found := _CASE.search(asked):
        return talk.subject.lower() if found[1].lower().startswith("lower") else talk.subject.upper()
    if _COUNT_WORDS.search(asked):
        return str(len(talk.subject.split()))
    return None


def _free(talk: Conversation) -> str:
    asked = f"{talk.system}\n{talk.user}"
    if _KEYWORDS.search(asked):
        return ", ".join(keywords(talk.subject, _wanted(asked, 5)[0])) or talk.subject
    if _SUMMARISE.search(asked):
        return _summarise(talk.subject, *_wanted(asked, 2))
    if answer := _from_context(talk):
        return answer
    shown = " ".join(talk.user.split()[:_SHOWN])
    if not shown:
        return GREETING
    return f"You said: {shown}"


def _summarise(text: str, amount: int, unit: str) -> str:
    if unit == "word":
        return " ".join(text.split()[:amount])
    chosen = sentences(text)[:amount]
    if unit == "bullet":
        return "\n".join(f"- {sentence}" for sentence in chosen)
    return " ".join(chosen) or text


def _wanted(asked: str, default: int) -> tuple[int, str]:
    found = _LENGTH.search(asked)
    if not found:
        return default, "sentence"
    number = _NUMBER_WORDS.get(found[1].lower())
    return max(1, number or int(found[1])), found[2].lower()


def _from_context(talk: Conversation) -> str | None:
    """The sentence that shares most words with the last question, from everything else that was said."""
    questions = [sentence for sentence in sentences(talk.user) if sentence.rstrip("\"')]").endswith("?")]
    if not questions:
        return None
    question = questions[-1]
    asked = stems(question)
    rest = [*sentences(talk.system), *(one for text in talk.before for one in sentences(text)), *sentences(talk.user)]
    told = [sentence for sentence in rest if sentence not in questions]
    best = max(told, key=lambda sentence: len(asked & stems(sentence)), default="")
    return re.sub(r"^(?:context|text|document)\s*:\s*", "", best, flags=re.IGNORECASE) if asked & stems(best) else None


def _reword(answer: str, variant: int) -> str:
    if not variant:
        return answer
    opening = _OPENINGS[variant % len(_OPENINGS)] or f"Version {variant}: "
    return opening + answer


def _unquote(text: str) -> str:
    text = text.strip()
    if len(text) > 2 and text[0] in "\"“'`«" and text[-1] in "\"”'`»":
        return text[1:-1]
    return text
