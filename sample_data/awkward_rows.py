"""Rows that real exports hold and demonstrations leave out, each with the reason why it is here.

Marks that an editor would hide or change (joiners, combining accents, directions) are written as escapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Fate = Literal["embedded", "filtered"]


@dataclass(frozen=True)
class Awkward:
    """One row and what becomes of it in pipelines/embed_reviews.yaml.

    Attributes:
        why: what is unusual about it, for the table in README.md.
        fate: whether its vector is in the output, the filter takes it out, or it is an error row.
        quoted: whether an empty body is written as two quotes instead of as nothing.
    """

    why: str
    title: str
    body: str
    stars: int
    language: str = "en"
    product: str = "Electric kettle 1.7 l"
    fate: Fate = "embedded"
    quoted: bool = False


_SAME = "Arrived on time and works as described. Nothing more to say."
_ZALGO = "".join(letter + "\u0301\u0323\u0330" if letter.isalpha() else letter for letter in "broken after two days")

EMPTY = (
    Awkward("empty body, nothing between the commas", "Love it", "", 5, fate="filtered"),
    Awkward('empty body, written `""`', "Five stars", "", 5, fate="filtered", quoted=True),
    Awkward("empty body and German title", "Gut", "", 4, "de", "Regenjacke", fate="filtered"),
    Awkward("empty title and empty body", "", "", 1, fate="filtered"),
    Awkward("empty body and right-to-left title", "ممتاز", "", 5, "ar", "سترة مطر", fate="filtered"),
    Awkward("body of one space: not empty for SQL, and the title still says something", "Good", " ", 4),
    Awkward("body of spaces, a tab and a line break", "ok", "  \t\n ", 3),
    Awkward("body of one no-break space", "Nice", "\u00a0", 4),
    Awkward("body of one zero-width space", "Fine", "\u200b", 4),
    Awkward("empty title, good body", "", "The title field would not let me type, but the kettle is great.", 5),
)

DUPLICATES = (
    Awkward("same title and body as the next two rows: one request answers all", "Fine", _SAME, 4),
    Awkward("exact duplicate", "Fine", _SAME, 4),
    Awkward("exact duplicate with other stars and product", "Fine", _SAME, 3, product="Yoga mat 6 mm"),
    Awkward("near duplicate: capitals", "FINE", _SAME.upper(), 4),
    Awkward("near duplicate: typing errors", "Fine", "Arived on time and works as decsribed. Nothing more to say", 4),
    Awkward("near duplicate: spaces doubled", "Fine", _SAME.replace(" ", "  "), 4),
    Awkward("`café` with a composed letter", "Like a café", "The coffee at home is like in a caf\u00e9 now.", 5),
    Awkward(
        "`café` with a combining accent: looks equal, is not",
        "Like a café",
        "The coffee at home is like in a cafe\u0301 now.",
        5,
    ),
)

CELLS = (
    Awkward(
        "line breaks inside the cell", "Pros and cons", "Pros:\n- quick\n- quiet\n\nCons:\n- the lid\n- the price", 3
    ),
    Awkward("Windows line break inside the cell", "Two lines", "First line.\r\nSecond line.", 4),
    Awkward(
        "quotation marks, doubled in the file",
        'My "new" kettle',
        'The label says "made to last". It lasted "almost" a month.',
        2,
    ),
    Awkward("commas and semicolons", "Fast, quiet, good", "Quick, quiet; cheap, too; what else, really?", 5),
    Awkward("begins and ends with spaces that must stay", "  spaced  ", "   There is a space on both sides.   ", 3),
    Awkward(
        "HTML left over from a web form",
        "Great &amp; cheap",
        "<p>Really <b>great</b>!<br/>Would buy again &lt;3</p><script>alert('x')</script>",
        5,
    ),
    Awkward("looks like a spreadsheet formula", "=1+1", '=HYPERLINK("https://example.com","click")', 1),
    Awkward("looks like a missing value", "NULL", "N/A", 3),
    Awkward("looks like a number", "10/10", "10", 5),
    Awkward("looks like a template", "{{ title }}", "My shop printed {{ customer.name }} {% if vip %} on the box.", 2),
    Awkward(
        "holds a tokenizer's special token as plain text",
        "Odd label",
        "The sticker on the box reads <|endoftext|> and nobody knows why.",
        3,
    ),
    Awkward("a backslash before the closing quote", "Path", "The manual says: save it under C:\\kettle\\", 3),
    Awkward("tabs between words", "Copied from a table", "size\tL\ncolour\tgrey\nverdict\tgood", 4),
    Awkward("one word of 300 letters", "Aaaah", "A" + "a" * 298 + "h", 5),
    Awkward(
        "a long address without spaces",
        "See my blog",
        "https://example.com/reviews/2026/kettle?" + "&".join(f"photo{n}=large" for n in range(1, 25)),
        4,
    ),
    Awkward("no language", "Nice", "Nice, good, thanks, merci, danke.", 5, ""),
)

CHARACTERS = (
    Awkward(
        "emoji made of several characters (joiners, skin tones)",
        "Family kettle",
        "Approved by all of us \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 "
        "\U0001f44d\U0001f3fd and by my \U0001f469\U0001f3fe\u200d\U0001f4bb office.",
        5,
    ),
    Awkward(
        "flags, which are pairs of letters",
        "Shipped abroad",
        "Ordered from \U0001f1eb\U0001f1ee, sent via \U0001f1e9\U0001f1ea, arrived in \U0001f1e7\U0001f1f7!",
        5,
    ),
    Awkward("emoji only", "\u2764\ufe0f", "\U0001f60d\U0001f60d\U0001f60d\U0001f525", 5),
    Awkward(
        "a rainbow flag and a keycap", "Top", "\U0001f3f3\ufe0f\u200d\U0001f308 rated 5\ufe0f\u20e3 of 5\ufe0f\u20e3", 5
    ),
    Awkward("combining marks piled up", "Broken", _ZALGO, 1),
    Awkward("zero-width spaces between letters", "Odd", "\u200b".join("The seller copied this from a web page."), 3),
    Awkward("byte order mark in the middle", "Export", "Exported twice.\ufeff Still readable.", 3),
    Awkward("direction override", "Backwards", "The code is \u202e12345\u202c, they say.", 2),
    Awkward(
        "Arabic, Latin and digits in one line",
        "جيد",
        "اشتريت الطراز KT-1700 بسعر 29.90 وهو ممتاز!",
        5,
        "ar",
        "غلاية كهربائية 1.7 لتر",
    ),
    Awkward("Hebrew with vowel points", "שָׁלוֹם", "הַקּוּמְקוּם עוֹבֵד יָפֶה.", 5, "he", "קומקום חשמלי 1.7 ליטר"),
    Awkward(
        "letters outside the basic plane",
        "Fancy type",
        "\U0001d4d6\U0001d4fb\U0001d4ee\U0001d4ea\U0001d4fd kettle, \U00020bb7 and \U00029e3d.",
        4,
    ),
    Awkward("full-width and half-width forms", "ＯＫ", "ｹﾄﾙは良いです。ＡＢＣ１２３", 4, "ja", "電気ケトル 1.7L"),
    Awkward(
        "three languages in one text",
        "Super / 很好 / génial",
        "Sehr gut, aber the lid is stiff. 不过还是推荐。 Merci !",
        4,
        "de",
        "Wasserkocher 1,7 l",
    ),
    Awkward(
        "rude, for moderation",
        "Idiots",
        "Whoever designed this lid is an idiot. I hope you burn your stupid fingers on it too.",
        1,
    ),
    Awkward(
        "soft hyphens and typographic marks",
        "Well\u00admade",
        "Extra\u00adordinarily well\u00admade \u2013 \u201csolid\u201d, isn\u2019t it\u2026",
        5,
    ),
    Awkward(
        "replacement characters of an earlier wrong decoding",
        "K\ufffdche",
        "Passt gut in die K\ufffdche.",
        4,
        "de",
        "Wasserkocher 1,7 l",
    ),
)

_WEEK = (
    "Week {n}: {first} {second} I boiled it {times} times, according to the tally on the fridge. "
    "The scale at the bottom reached {scale} millimetres before I cleaned it with vinegar. "
    "{third} My flatmate still says that a pot would do."
)
_FIRST = (
    "nothing to report, which is the best report a kettle can get.",
    "the handle was loose on Monday and firm again on Thursday, without my doing anything.",
    "it rained every day, so there was a great deal of tea.",
    "I measured the time for one litre again and it has not changed.",
    "a visitor filled it above the mark and it boiled over.",
)
_SECOND = (
    "The switch clicks a little more softly than in the beginning.",
    "The lid needs a firmer push than last week.",
    "The outside is still without a scratch.",
    "The light has started to flicker when it is about to boil.",
)
_THIRD = (
    "I have stopped hearing it.",
    "On Sunday I compared it with the one at my parents' house, and ours is quicker.",
    "The filter in the spout came out once and went back in.",
)


def _diary(weeks: int) -> str:
    """A weekly diary: about 70 words a week."""
    entries = [
        _WEEK.format(
            n=week,
            first=_FIRST[week % len(_FIRST)],
            second=_SECOND[week % len(_SECOND)],
            third=_THIRD[week % len(_THIRD)],
            times=20 + (week * 7) % 23,
            scale=1 + week % 4,
        )
        for week in range(1, weeks + 1)
    ]
    return "I kept a diary.\n\n" + "\n\n".join(entries)


LONG = (
    Awkward("almost 800 words", "A season with a kettle", _diary(11), 4),
    Awkward("4,000 words, and still under the 8,192 tokens of an input", "A year with a kettle", _diary(57), 4),
    Awkward(
        "14,300 words, twice the 8,192 tokens of an input; with `-p longest=100000` an error row: `too_long`",
        "Four years with a kettle",
        _diary(203),
        4,
        fate="filtered",
    ),
)

AWKWARD = (*EMPTY, *DUPLICATES, *CELLS, *CHARACTERS, *LONG)
