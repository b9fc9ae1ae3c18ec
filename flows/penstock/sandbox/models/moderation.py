"""Moderation without a neural network: a weighted list of words and phrases, in English and a little German, French,
Spanish and Italian.

Each entry says how much it speaks for each category (0 to 1). A category's score is the chance that at least one of
its entries is right (noisy or); what is said in a harmless phrase ("kill the process") is taken out before. The list
is small and its own: it is there so that flagged and unflagged rows can be rehearsed, never to protect anyone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

TEXT_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "sexual",
    "hate",
    "hate/threatening",
    "self-harm/intent",
    "self-harm/instructions",
    "self-harm",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
"""The eleven categories of the ``text-moderation`` models."""
CATEGORIES = (*TEXT_CATEGORIES[:5], "illicit", "illicit/violent", *TEXT_CATEGORIES[5:])
"""The thirteen categories of the ``omni-moderation`` models."""
IMAGE_CATEGORIES = frozenset(
    {"sexual", "self-harm", "self-harm/intent", "self-harm/instructions", "violence", "violence/graphic"}
)
"""The categories that are judged for images; the others look at text only."""
THRESHOLDS = {"sexual/minors": 0.3, "self-harm/intent": 0.4, "self-harm/instructions": 0.4}
THRESHOLD = 0.5
"""At or above it a category is flagged, unless `THRESHOLDS` says otherwise."""

_SHORT = {
    "har": "harassment",
    "thr": "harassment/threatening",
    "sex": "sexual",
    "hat": "hate",
    "htt": "hate/threatening",
    "ill": "illicit",
    "ilv": "illicit/violent",
    "int": "self-harm/intent",
    "ins": "self-harm/instructions",
    "slf": "self-harm",
    "min": "sexual/minors",
    "vio": "violence",
    "gra": "violence/graphic",
}
_HARMLESS = (
    r"kill(?:s|ed|ing)? (?:the |a |this |that )?(?:process|task|job|server|thread|session|program|time|switch|it\b)",
    r"killer (?:feature|app)\w*",
    r"two birds with one stone",
    r"(?:bath|photo|film|head|screen)\s?(?:bomb|shoot|shot)s?",
    r"shoo?t(?:ing)? (?:a |the |some )?(?:photo|picture|film|video|movie|email|message|hoops|basket)\w*",
    r"\b\w{1,30} (?:is|are|was|were) killing me",
    r"(?:dead|stab) (?:line|at it)",
    r"(?:beat|crush|destroy)(?:s|ed|ing)? (?:the )?(?:record|deadline|competition|market|expectations)",
    r"(?:sex|sexual) (?:education|health|discrimination|orientation)",
)
_THREAT = (
    r"(?:i|we)(?:'ll| will| am going to|'m going to|'m gonna| want to| wanna| would like to| shall| must| could) "
    r"(?:\w+ )?"
)
_SOMEONE = r"(?:you|u|him|her|them|everyone|everybody|those people|these people|my \w+)\b"
_GROUP = (
    r"(?:immigrants?|foreigners?|refugees?|muslims?|jews?|christians?|hindus?|blacks?|whites?|asians?|arabs?|gays?|"
    r"lesbians?|women|men|disabled people|gypsies|mexicans?|africans?|ausländer|flüchtlinge|juden|moslems?|étrangers?|"
    r"immigrés|inmigrantes|extranjeros|stranieri|immigrati)\b"
)
_INSULT = r"(?:idiots?|morons?|stupid|dumb|losers?|pathetic|worthless|trash|scum|disgusting|garbage|vermin|animals)"
_LEXICON: tuple[tuple[str, str], ...] = (
    (rf"{_THREAT}(?:kill|murder|slaughter|shoot|stab|strangle|behead)(?:ing)? {_SOMEONE}", "vio.985 thr.63 har.28"),
    (rf"{_THREAT}(?:hurt|beat|punch|attack|hit|smash|crush|harm|destroy)(?: up)? {_SOMEONE}", "vio.85 thr.66 har.45"),
    (rf"{_THREAT}(?:find|get|hunt) you\b", "thr.55 har.5 vio.3"),
    (r"you (?:will|are going to|should|deserve to|must) (?:die|suffer|bleed|burn)\b", "thr.72 har.6 vio.7"),
    (r"\b(?:kill|murder|slaughter|massacre|assassinate)(?:s|ed|ing|er|ers)?\b", "vio.58"),
    (r"\b(?:shot|stabbed|strangled|tortured?|torturing|bombed|beaten|raped?|raping|lynch\w*)\b", "vio.52"),
    (r"\b(?:bomb|explosives?|gun|rifle|knife|weapon|bullets?|grenade)s?\b", "vio.18"),
    (r"\b(?:behead\w*|decapitat\w*|dismember\w*|disembowel\w*|mutilat\w*|gore|entrails|guts spill\w*)\b",
     "vio.8 gra.82"),
    (r"\b(?:blood(?:y)? (?:everywhere|pool\w*|splatter\w*)|pools? of blood|severed (?:head|arm|leg|limb)s?)\b",
     "vio.65 gra.75"),
    (rf"\b(?:i hate|we hate|hate all|get rid of|send back|ban all) (?:all |the |these |those )*{_GROUP}",
     "hat.86 har.55"),
    (rf"{_GROUP} (?:are|is|sind|sont|son|sono) (?:all |nothing but |alle |tous |todos |tutti )*(?:{_INSULT}|dreck|"
     r"abschaum|inferior|subhuman|criminals|des ordures|basura|feccia)", "hat.9 har.66"),
    (rf"\b(?:kill|exterminate|gas|shoot|burn|eliminate) (?:all |the |those |every )*{_GROUP}",
     "hat.9 htt.9 vio.9 har.5"),
    (rf"\b(?:you are|you're|youre|u r|ur) (?:\w+ ){{0,3}}{_INSULT}", "har.83"),
    (rf"\b(?:shut up|get lost|go to hell|screw you|f+u+c*k+ (?:you|off)|{_INSULT})\b", "har.32"),
    (r"\b(?:fuck|bitch|asshole|bastard|whore|slut|cunt)\w*\b", "har.38 sex.08"),
    (r"\b(?:nobody likes you|everyone hates you|i hate you|you make me sick)\b", "har.72"),
    (r"\b(?:kill yourself|kys|go die|drink bleach)\b", "har.88 thr.4 slf.8 ins.75"),
    (r"\bi (?:want to|wanna|am going to|'m going to|will|plan to|need to) (?:die|kill myself|end my life|end it all|"
     r"hurt myself|cut myself)\b", "slf.93 int.95 vio.2"),
    (r"\b(?:suicid\w*|self[- ]?harm\w*|cutting myself|starv(?:e|ing) myself|anorexi\w*|overdos\w*)\b", "slf.66 int.22"),
    (r"\b(?:how (?:to|do i|can i|should i)|ways? to|steps? to|instructions? (?:for|to)) (?:\w+ ){0,3}"
     r"(?:kill (?:my|your)self|commit suicide|cut (?:my|your)self|overdose|hang (?:my|your)self)\b",
     "slf.9 ins.9 int.5"),
    (r"\b(?:no reason to live|don't want to live|do not want to live|better off dead|life is worthless)\b",
     "slf.72 int.7"),
    (r"\b(?:porn\w*|erotic\w*|nudes?|naked|orgasm\w*|masturbat\w*|blow\s?jobs?|horny|cock|dick|pussy|xxx|cum)\b",
     "sex.62"),
    (r"\b(?:have sex|having sex|sex with|make love|strip for me|sleep with me|explicit sex\w*)\b", "sex.74"),
    (r"\b(?:escorts?|call girls?|prostitut\w*|happy ending massage)\b", "sex.55"),
    (r"\b(?:child porn\w*|csam|sex\w* with (?:a )?(?:child|minor|kid|children|teen\w*)|(?:naked|nude|sexy) "
     r"(?:child|children|kid|kids|minor)s?|underage sex\w*)\b", "sex.9 min.93"),
    (r"\bhow (?:to|do i|can i|do you) (?:shoplift|steal|rob|launder|forge|counterfeit|hack|pick (?:a )?locks?|"
     r"break into|fake|phish|smuggle|evade tax\w*)\b", "ill.86"),
    (r"\b(?:buy|sell|make|cook|smuggle)(?:ing)? (?:some )?(?:meth|cocaine|heroin|fentanyl|lsd|crack)\b", "ill.82"),
    (r"\b(?:stolen credit cards?|credit card dumps?|fake (?:passport|id|money)s?|ransomware|keylogger)\b", "ill.66"),
    (r"\bhow (?:to|do i|can i|do you) (?:\w+ ){0,2}(?:build|make|buy|3d print|assemble) (?:\w+ ){0,3}(?:bomb|"
     r"explosives?|gun|weapon|poison|grenade|molotov\w*|silencer)s?\b", "ill.9 ilv.88 vio.4"),
    (r"\b(?:hire a hitman|contract killer|poison (?:someone|my|his|her)|get away with murder)\b", "ill.8 ilv.8 vio.7"),
    # German, French, Spanish, Italian: the commonest threats, insults and cries for help.
    (r"\bich (?:bringe?|werde|will|schlage?|steche?) (?:dich|euch|ihn|sie|alle)(?: \w+)? ?(?:um|töten|umbringen|ab|tot|"
     r"schlagen|verletzen)\b", "vio.95 thr.7 har.4"),
    (r"\b(?:töten|umbringen|ermorden|tuer|assassiner|matar|asesinar|uccidere|ammazzare)\b", "vio.56"),
    (r"\bje vais (?:te|vous|le|la|les) (?:tuer|frapper|massacrer)\b", "vio.95 thr.7 har.4"),
    (r"\b(?:te|os|lo|la|los|las) voy a (?:matar|golpear|pegar)|voy a (?:matarte|matarlos|golpearte)\b",
     "vio.95 thr.7 har.4"),
    (r"\bti (?:ammazzo|uccido|spacco)\b", "vio.95 thr.7 har.4"),
    (r"\b(?:du (?:bist ein(?:e)? )?(?:\w+ )?(?:idiot|arschloch|schlampe|versager)|halt die fresse|espèce d'(?:idiot|"
     r"imbécile)\w*|ta gueule|connard|salope|eres (?:un |una )?(?:idiota|imbécil|basura)|hijo de puta|sei un(?:a|o)? "
     r"(?:idiota|stronz\w+)|vaffanculo)\b", "har.8"),
    (r"\bich (?:hasse|verachte) (?:alle |die )*" + _GROUP, "hat.86 har.5"),
    (r"\b(?:ich will (?:sterben|mich umbringen|nicht mehr leben)|je veux (?:mourir|me suicider)|quiero (?:morir|"
     r"suicidarme|matarme)|voglio (?:morire|uccidermi))\b", "slf.92 int.93"),
    (r"\b(?:selbstmord|suizid|suicidio)\b", "slf.62 int.2"),
)  # fmt: skip
_WEIGHT = re.compile(r"([a-z]{3})(\.\d+)")
_COMPILED = tuple(
    (re.compile(pattern), tuple((_SHORT[name], float(weight)) for name, weight in _WEIGHT.findall(weights)))
    for pattern, weights in _LEXICON
)
_SPARED = re.compile("|".join(_HARMLESS))
_LONGEST = 100_000
"""Characters of a text that are read; the rest is as long as it is harmless."""
_MOST_TIMES = 3
"""How often one entry can count in one text."""


@lru_cache(maxsize=4096)
def score_text(text: str) -> dict[str, float]:
    """The score of each of `CATEGORIES`, above 0 and below 1; equal texts have equal scores everywhere."""
    plain = " ".join(text[:_LONGEST].casefold().replace("\u2019", "'").split())
    plain = _SPARED.sub(" ", plain)
    innocence = dict.fromkeys(CATEGORIES, 1.0)
    for pattern, weights in _COMPILED:
        times = min(_MOST_TIMES, sum(1 for _ in pattern.finditer(plain)))
        for _ in range(times):
            for category, weight in weights:
                innocence[category] *= 1 - weight
    floor = _floor(text)
    return {name: max(floor[name], min(0.9999, 1 - innocence[name])) for name in CATEGORIES}


def score_image(name: str) -> dict[str, float]:
    """The scores of an image by the words of its file's name, for `IMAGE_CATEGORIES`; the others are 0.

    The sandbox does not look at pictures: ``violence.png`` is a violent one, so that flagged pictures can be tried.
    """
    scores = dict.fromkeys(CATEGORIES, 0.0)
    floor = _floor(name)
    words = set(re.findall(r"[a-z]+", name.casefold()))
    for category in IMAGE_CATEGORIES:
        asked = set(re.findall(r"[a-z]+", category))
        scores[category] = 0.93 if asked <= words else floor[category]
    read = score_text(" ".join(re.findall(r"[^\W\d_]+", name)))
    return {category: max(scores[category], read[category] if category in IMAGE_CATEGORIES else 0.0)
            for category in CATEGORIES}  # fmt: skip


def merge(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """The scores of an input with several parts: the worst of each category."""
    return {name: max(part[name] for part in parts) for name in CATEGORIES}


def is_flagged(category: str, score: float) -> bool:
    """Whether the score is over the category's threshold."""
    return score >= THRESHOLDS.get(category, THRESHOLD)


def _floor(text: str) -> dict[str, float]:
    """Scores of a text without anything in it: 1e-7 to 1e-4, by a hash, because real scores are never 0."""
    marks = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=len(CATEGORIES)).digest()
    return {name: float(f"{10 ** (-7 + 3 * mark / 255):.8g}") for name, mark in zip(CATEGORIES, marks, strict=True)}
