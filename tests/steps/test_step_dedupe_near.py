"""`dedupe` with `near`: texts that are alike."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from barrier_harness import carry_out
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.steps.base import SIMILARITY
from penstock.steps.dedupe import Dedupe
from penstock.texts import near_pairs
from penstock.texts.minhash import similarities, sketches

Make = Callable[[str], Any]


def vocabulary(chance: random.Random) -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(2_000)]


def texts_of(count: int, words: int, seed: int = 1) -> list[str]:
    chance = random.Random(seed)
    known = vocabulary(chance)
    return [" ".join(chance.choices(known, k=words)) for _ in range(count)]


def mistyped(text: str, mistakes: int, chance: random.Random) -> str:
    letters = list(text)
    for _ in range(mistakes):
        place = chance.randrange(len(letters))
        letters[place] = chance.choice(["", letters[place] * 2, "x", letters[place].upper()])
    return "".join(letters)


def near(**more: Any) -> Dedupe:
    return Dedupe.model_validate({"uses": "dedupe", "text": "{{ body }}", "near": 0.7, **more})


def table(texts: list[str | None], **columns: list[Any]) -> pl.DataFrame:
    keys = [f"k{place:05}" for place in range(len(texts))]
    return pl.DataFrame({"id": keys, "body": pl.Series(texts, dtype=pl.String), **columns})


def shingles_of(text: str, size: int = 5) -> set[str]:
    return {text[place : place + size] for place in range(max(1, len(text) - size + 1))}


def jaccard(one: str, other: str, size: int = 5) -> float:
    left, right = shingles_of(one, size), shingles_of(other, size)
    return len(left & right) / len(left | right)


@pytest.mark.parametrize("words", [12, 40, 300])
def test_planted_near_duplicates_are_found_and_nothing_else(words: int) -> None:
    chance = random.Random(7)
    originals = texts_of(300, words)
    planted = [mistyped(text, max(1, words // 20), chance) for text in originals[:150]]
    carried = carry_out(near(), table([*originals, *planted]), [100, 320])
    assert carried.into == {f"k{300 + place:05}": f"k{place:05}" for place in range(150)}
    assert carried.merged[SIMILARITY].min() >= 0.7


@pytest.mark.parametrize("unit", ["characters", "words"])
def test_case_white_space_and_punctuation_make_no_difference(unit: str) -> None:
    text = "The parcel came late, and the box was torn; I want my money back."
    other = "the parcel came  late and the box was torn. I WANT my money back!!"
    carried = carry_out(near(shingles=unit), table([text, "Great shoes, would buy again.", other]))
    assert carried.into == {"k00002": "k00000"}
    assert carried.merged[SIMILARITY].to_list() == [1.0]


def test_texts_without_spaces_between_words_are_compared_too() -> None:
    text = "包裹迟到了而且盒子已经破损我想要退款请尽快处理谢谢你们的帮助"
    carried = carry_out(
        near(shingle_size=3), table([text, "这双鞋子非常好穿下次还会再来购买推荐给大家", text.replace("尽快", "马上")])
    )
    assert carried.into == {"k00002": "k00000"}


@pytest.mark.parametrize("words", [3, 20, 200])
def test_the_similarity_is_near_the_true_share_of_common_shingles(words: int) -> None:
    chance = random.Random(3)
    texts = texts_of(200, words)
    others = [mistyped(text, 1 + place % (1 + words // 6), chance) for place, text in enumerate(texts)]
    sketch = sketches(pl.Series([*texts, *others]), "characters", 5, 128, "w")
    found = similarities(sketch, pl.Series(range(200)), pl.Series(range(200, 400))).to_list()
    wrong = [one - jaccard(left, right) for one, left, right in zip(found, texts, others, strict=True)]
    assert (sum(error * error for error in wrong) / len(wrong)) ** 0.5 < 0.045
    assert abs(sum(wrong) / len(wrong)) < 0.02


def test_more_hashes_are_more_exact() -> None:
    chance = random.Random(3)
    texts = texts_of(200, 100)
    others = [mistyped(text, 12, chance) for text in texts]
    errors = []
    for bins in (64, 512):
        sketch = sketches(pl.Series([*texts, *others]), "characters", 5, bins, "w")
        found = similarities(sketch, pl.Series(range(200)), pl.Series(range(200, 400))).to_list()
        wrong = [one - jaccard(left, right) for one, left, right in zip(found, texts, others, strict=True)]
        errors.append((sum(error * error for error in wrong) / len(wrong)) ** 0.5)
    assert errors[1] < errors[0] / 1.8


def test_the_threshold_is_written_as_a_share(step_of: Make) -> None:
    assert step_of('uses: dedupe\ntext: "{{ body }}"\nnear: 85%').near == 0.85


def test_a_chain_of_likenesses_ends_at_one_row() -> None:
    words = texts_of(1, 60)[0].split()
    fresh = texts_of(1, 60, seed=9)[0].split()
    chain = [" ".join(fresh[: 6 * step] + words[6 * step :]) for step in range(6)]
    carried = carry_out(near(near=0.6), table(chain))
    assert carried.into == {f"k{place:05}": "k00000" for place in range(1, 6)}
    likeness = carried.merged.sort("id")[SIMILARITY].to_list()
    assert likeness[0] > 0.6 > likeness[-1]


def test_what_is_kept_follows_the_order_that_was_asked_for() -> None:
    text = texts_of(1, 30)[0]
    rows = table([text, text + " indeed", text + " really"], at=[2, 3, 1])
    assert carry_out(near(order_by="at"), rows).into == {"k00000": "k00002", "k00001": "k00002"}
    assert carry_out(near(keep="last"), rows).into == {"k00000": "k00002", "k00001": "k00002"}
    assert carry_out(near(order_by="at", keep="last"), rows).into == {"k00000": "k00001", "k00002": "k00001"}


def test_only_rows_with_equal_columns_are_compared() -> None:
    text = texts_of(1, 30)[0]
    rows = table([text, text + " x", text + " y", text, text], shop=["a", "b", "a", "b", None])
    carried = carry_out(near(by=["shop"]), rows, [2])
    assert carried.into == {"k00002": "k00000", "k00003": "k00001"}


def test_nulls_and_texts_of_nothing_are_like_no_text() -> None:
    texts = [None, None, "", " ", "a", "a!", "b", "...", "???"]
    assert carry_out(near(), table(texts)).into == {"k00003": "k00002", "k00005": "k00004"}
    assert carry_out(near(nulls="equal"), table(texts)).into["k00001"] == "k00000"


def test_thousands_of_texts_from_one_form_are_merged_without_comparing_each_with_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = 0
    real = near_pairs.similarities

    def counting(sketch: pl.DataFrame, left: pl.Series, right: pl.Series) -> pl.Series:
        nonlocal compared
        compared += len(left)
        return real(sketch, left, right)

    monkeypatch.setattr(near_pairs, "similarities", counting)
    form = texts_of(1, 60)[0]
    texts: list[str | None] = [f"{form} order {number}" for number in range(4_000)]
    carried = carry_out(near(near=0.8), table(texts), [1_000])
    assert set(carried.into.values()) == {"k00000"}
    assert len(carried.merged) == 3_999
    assert compared < 40 * 4_000


@pytest.mark.parametrize(("hashes", "most"), [(64, 64 + 40), (128, 128 + 40), (512, 512 + 40)])
def test_what_is_held_of_a_row_does_not_grow_with_its_text(hashes: int, most: int) -> None:
    looked = near(hashes=hashes, by=["id"]).look(table(texts_of(500, 200)).with_columns(__row=1).lazy()).collect()
    assert looked.estimated_size() / 500 <= most


def test_many_rows_of_one_text_are_one_before_anything_is_compared() -> None:
    carried = carry_out(near(), table(["thanks!"] * 5_000))
    assert len(carried.kept) == 1
    assert carried.merged[SIMILARITY].unique().to_list() == [1.0]


def test_one_very_long_text_beside_short_ones_is_read() -> None:
    long = " ".join(texts_of(1, 300_000))
    rows = table(["short", long, long + " end", "other"])
    assert carry_out(near(), rows).into == {"k00002": "k00001"}


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("bins", [128, 256, 512])
def test_bands_are_narrow_enough_to_find_pairs_at_the_threshold(threshold: float, bins: int) -> None:
    rows = near_pairs.band_rows(threshold, bins)
    assert 1 - (1 - threshold**rows) ** (bins // rows) >= 0.98


WORDS = st.lists(
    st.sampled_from(["late", "parcel", "broken", "shoe", "box", "Money", "back!", "ß", "日本", ""]), max_size=9
)


@settings(max_examples=30, deadline=None)
@given(
    texts=st.lists(st.one_of(st.none(), WORDS.map(" ".join)), max_size=20),
    cuts=st.lists(st.integers(0, 20), max_size=4),
    threshold=st.sampled_from([0.5, 0.8, 1.0]),
    unit=st.sampled_from(["characters", "words"]),
    data=st.data(),
)
def test_the_result_depends_on_the_texts_and_not_on_how_the_table_is_cut(
    texts: list[str | None], cuts: list[int], threshold: float, unit: str, data: st.DataObject
) -> None:
    step = near(near=threshold, shingles=unit, order_by="id", duplicates="copies")
    whole = carry_out(step, table(texts))
    order = data.draw(st.permutations(range(len(cuts) + 1)))
    columns = ["id", "__fate", "__into", SIMILARITY, "copies"]
    assert carry_out(step, table(texts), cuts, order).rows.select(columns).equals(whole.rows.select(columns))
    assert len(whole.kept) + len(whole.merged) == len(texts)
    assert whole.kept["copies"].sum() == len(whole.merged)
    assert {key for key, text in whole.by_key("body").items() if text is None} <= whole.kept_keys
