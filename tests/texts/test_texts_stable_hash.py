"""Hashes that stay the same for good."""

from __future__ import annotations

from hashlib import blake2b

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from penstock.texts.shingles import mixed, shingle_hashes
from penstock.texts.stable_hash import hash_64, hash_128, row_texts

MASK = 2**64 - 1


def test_a_hash_is_blake2b_of_the_text() -> None:
    texts = pl.Series(["", "a", "größer", None])
    expected = [
        int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") for text in ("", "a", "größer")
    ]
    assert hash_64(texts).to_list() == [*expected, None]


def test_both_halves_of_a_long_hash_are_there_and_null_of_a_null() -> None:
    low, high = hash_128(pl.Series(["a", None, "b"]))
    whole = blake2b(b"a", digest_size=16).digest()
    assert [low[0], high[0]] == [int.from_bytes(whole[:8], "little"), int.from_bytes(whole[8:], "little")]
    assert low[1] is high[1] is None
    assert low[2] != low[0]


def test_no_rows_have_no_hashes() -> None:
    empty = pl.Series([], dtype=pl.String)
    assert hash_64(empty).to_list() == []
    assert [half.to_list() for half in hash_128(empty)] == [[], []]


@given(st.lists(st.integers(0, MASK), min_size=1, max_size=20))
def test_numbers_are_mixed_as_python_would(numbers: list[int]) -> None:
    """polars' arithmetic wraps around at 64 bits, on which all sketches rest."""

    def by_hand(number: int) -> int:
        number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 & MASK
        number = (number ^ (number >> 27)) * 0x94D049BB133111EB & MASK
        return number ^ (number >> 31)

    frame = pl.DataFrame({"number": pl.Series(numbers, dtype=pl.UInt64)})
    assert frame.select(mixed(pl.col("number"))).to_series().to_list() == [by_hand(number) for number in numbers]


@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=10), st.integers(1, 6))
def test_two_texts_share_a_shingle_exactly_where_they_share_a_run_of_characters(texts: list[str], size: int) -> None:
    found: dict[int, set[int]] = {}
    for begin, _, hashes in shingle_hashes(pl.Series(texts), "characters", size):
        for text, number in hashes.rows():
            found.setdefault(begin + text, set()).add(number)
    for one, text in enumerate(texts):
        runs = {text[place : place + size] for place in range(max(1, len(text) - size + 1))}
        assert len(found[one]) == len(runs)
        for other, another in enumerate(texts):
            # Short texts are filled up with zeros, as one that ends in zeros is.
            if "\0" not in text + another:
                theirs = {another[place : place + size] for place in range(max(1, len(another) - size + 1))}
                assert len(found[one] & found[other]) == len(runs & theirs)


@given(
    st.lists(
        st.tuples(st.one_of(st.none(), st.text(max_size=3)), st.one_of(st.none(), st.text(max_size=3))), max_size=12
    )
)
def test_two_rows_have_one_text_exactly_where_their_cells_are_equal(rows: list[tuple[str | None, str | None]]) -> None:
    frame = pl.DataFrame(rows, schema={"a": pl.String, "b": pl.String}, orient="row")
    texts = row_texts(frame, ["a", "b"], nulls_equal=True).to_list()
    assert len(set(texts)) == len(set(rows))
    nulls = row_texts(frame, ["a", "b"]).to_list()
    assert [text is None for text in nulls] == [row == (None, None) for row in rows]
