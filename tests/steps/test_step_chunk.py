"""`chunk` from YAML text: pieces that fit, offsets that are true, and nothing lost."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from penstock.errors import InputError
from penstock.steps.chunking import Chunker
from penstock.tokens import EstimatedCounter, TokenCounter, counter, vocabulary_counter

Make = Callable[[str], Any]
PROSE = (
    "The gate was opened at six. Water came, e.g. from the upper pond, and filled the race! Who had asked for it?\n\n"
    "Nobody had. The miller slept until noon… Then he looked at the wheel.\n"
    "It turned. 水車が回る。粉が出る！それだけだ。"
)
WORDS = st.sampled_from(
    [
        "a",
        "mill",
        "wheel ",
        " ",
        "\n",
        "\n\n",
        ". ",
        "e.g. ",
        "naïve",
        "中文",
        "。",
        "e\u0301",
        "👩‍👩‍👧",
        "🇩🇪",
        "👍🏽",
        "한국",
        "\r\n",
        "<|x",
    ]
)
TEXTS = st.lists(WORDS, max_size=60).map("".join) | st.text(max_size=80)
COUNTERS: dict[str, TokenCounter] = {"exact": vocabulary_counter("cl100k_base"), "estimate": EstimatedCounter()}


def rows(step: Any, *texts: str | None) -> pl.DataFrame:
    frame = pl.DataFrame({"__row": range(len(texts)), "body": texts}, schema={"__row": pl.Int64, "body": pl.String})
    done: pl.DataFrame = step.apply(frame.lazy()).collect()
    return done


@settings(max_examples=150, deadline=None)
@given(
    text=TEXTS,
    tokens=st.integers(8, 24),
    part=st.floats(0, 0.5),
    at=st.sampled_from(["tokens", "words", "sentences", "paragraphs"]),
    name=st.sampled_from(["exact", "estimate"]),
)
@example(text=PROSE, tokens=16, part=0.25, at="sentences", name="exact")
@example(text="🇩🇪" * 40, tokens=8, part=0.5, at="tokens", name="exact")
@example(text="e" + "\u0301" * 200, tokens=8, part=0.0, at="tokens", name="exact")
@example(text=" " * 500 + "x" + "\n" * 500 + "y", tokens=8, part=0.5, at="words", name="exact")
def test_pieces_fit_overlap_as_told_and_hold_every_word(
    text: str, tokens: int, part: float, at: Any, name: str
) -> None:
    """Each piece counts at most `tokens` by itself, what two share at most `overlap`, and only white space is left."""
    count, overlap = COUNTERS[name], int(tokens * part)
    pieces = Chunker(count, tokens, overlap, at).pieces(text)
    covered = 0
    for number, (start, end) in enumerate(pieces):
        piece = text[start:end]
        assert piece == piece.strip() != ""
        assert count.count(piece) <= tokens
        assert not text[covered:start].strip()
        if number:
            before = pieces[number - 1]
            assert before[0] < start
            assert before[1] < end
            assert count.count(text[start : before[1]]) <= overlap
        covered = end
    assert not text[covered:].strip()
    assert bool(pieces) == bool(text.strip())


SEEN_AS_ONE = ["e\u0301", "👩‍👩‍👧", "🇩🇪", "👍🏽", "한", "\u1112\u1161\u11ab", "क्षि", "❤️"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([*SEEN_AS_ONE, "a", " "]), min_size=5, max_size=60), st.integers(48, 60))
def test_no_character_that_a_reader_sees_is_parted(parts: list[str], tokens: int) -> None:
    text = "".join(parts)
    borders = {0}
    for part in parts:
        borders.add(max(borders) + len(part))
    # The vowel sign of one Devanagari syllable, and what Unicode joins across parts, need no cut of their own.
    for start, end in Chunker(COUNTERS["exact"], tokens, 8, "tokens").pieces(text):
        for place in (start, end):
            assert place in borders or not unicodedata.combining(text[place])
            assert place == len(text) or text[place] not in {"\u200d", "\ufe0f", "🏽", "\u0301", "\u1161", "\u11ab"}


def test_a_piece_ends_after_a_sentence_where_one_ends_in_its_second_half(step_of: Make) -> None:
    step = step_of("{uses: chunk, input: body, tokens: 16, output: passage}")
    pieces = rows(step, PROSE)["passage"].to_list()
    assert pieces == [
        # The only sentence that ends here does so in the first half, and "e.g." ends none.
        "The gate was opened at six. Water came, e.g. from the upper",
        "pond, and filled the race! Who had asked for it?\n\nNobody had.",
        "The miller slept until noon… Then he looked at the wheel.",
        "It turned. 水車が回る。",
        "粉が出る！それだけだ。",
    ]


@pytest.mark.parametrize(
    ("at", "first"),
    [
        ("paragraphs", "One two three. Four five six. Seven."),
        ("sentences", "One two three. Four five six. Seven."),
        ("words", "One two three. Four five six. Seven.\n\nEight nine ten eleven"),
    ],
)
def test_coarser_borders_are_taken_first(step_of: Make, at: str, first: str) -> None:
    step = step_of(f"{{uses: chunk, input: body, tokens: 14, at: {at}}}")
    text = "One two three. Four five six. Seven.\n\nEight nine ten eleven twelve."
    assert rows(step, text)["chunk_text"][0] == first


def test_each_piece_is_a_row_of_its_text_with_its_offsets(step_of: Make) -> None:
    step = step_of("{uses: chunk, input: body, tokens: 8, overlap: 2, at: tokens}")
    done = rows(step, PROSE, None, "", " \n\t", "short")
    assert done["__row"].unique(maintain_order=True).to_list() == [0, 4], "rows without text are filtered"
    for row in done.iter_rows(named=True):
        assert row["body"][row["start"] : row["end"]] == row["chunk_text"]
    for _, one in done.group_by("__row"):
        assert one["chunk"].to_list() == list(range(len(one)))
    assert list(done.schema) == ["__row", "body", "chunk_text", "chunk", "start", "end"]


def test_the_columns_and_their_types_are_those_that_were_told(step_of: Make) -> None:
    step = step_of("{uses: chunk, input: body, tokens: 8, position: part, start: a, end: b, output: body}")
    after = step.columns_after({"id": "Int64", "body": "String"})
    assert after == {"id": "Int64", "body": "String", "part": "Int64", "a": "Int64", "b": "Int64"}
    for texts in ((PROSE,), (), (None,)):
        frame = pl.DataFrame({"id": [7] * len(texts), "body": list(texts)}, schema={"id": pl.Int64, "body": pl.String})
        schema = step.apply(frame.lazy()).collect().schema
        assert {name: str(kind) for name, kind in schema.items()} == after
    assert step.adds_keys == ("part",)
    assert step.adds_rows
    assert step.drops_rows


def test_a_model_says_which_tokens_are_counted(step_of: Make) -> None:
    text = "Donaudampfschifffahrtsgesellschaft " * 20
    for model in ("gpt-4o", "text-embedding-3-small", "llama3"):
        done = rows(step_of(f"{{uses: chunk, input: body, tokens: 32, model: {model}}}"), text)["chunk_text"]
        counts = counter(model).count_many(done.to_list())
        assert 16 < max(counts) <= 32
    old = step_of("{uses: chunk, input: body, tokens: 32}")
    assert rows(old, text).equals(
        rows(step_of("{uses: chunk, input: body, tokens: 32, vocabulary: cl100k_base}"), text)
    )


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("tokens: 7", "greater than or equal to 8"),
        ("tokens: 100, overlap: 51", "more than half of `tokens`"),
        ("model: gpt-4o, vocabulary: o200k_base", "says the vocabulary already"),
        ("at: lines", "paragraphs"),
        ("output: ''", "at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_mistakes(step_of: Make, settings: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        step_of(f"{{uses: chunk, input: body, {settings}}}")


def test_a_column_that_is_there_or_is_no_text_is_a_mistake(step_of: Make) -> None:
    step = step_of("{uses: chunk, input: body}")
    with pytest.raises(ValueError, match=r"'start' exists already; give `start` another name"):
        step.columns_after({"body": "String", "start": "Int64"})
    with pytest.raises(ValueError, match="chunk needs text, and the column 'body' is Int64"):
        step.columns_after({"body": "Int64"})
    with pytest.raises(ValueError, match="both name the column 'chunk'"):
        step_of("{uses: chunk, input: body, output: chunk}").columns_after({"body": None})
    with pytest.raises(InputError, match="needs text, and the column 'body' is Int64"):
        step.apply(pl.LazyFrame({"body": [1]}))


@pytest.mark.parametrize("unit", ["a", "word ", "中", "\n", ". ", "🇩🇪"])
def test_a_very_long_text_takes_no_quadratic_time(unit: str) -> None:
    import time

    chunker = Chunker(COUNTERS["exact"], 256, 32, "sentences")
    spent = []
    for times in (20_000, 160_000):
        began = time.process_time()
        chunker.pieces("x " + unit * times + " x")
        spent.append(time.process_time() - began)
    assert spent[1] < 40 * max(spent[0], 0.01)
