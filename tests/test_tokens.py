"""Token counts: as the service counts, whatever the text says."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from splintr import Tokenizer

from growth import growth
from penstock.tokens import counter, vocabulary


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("text-embedding-3-small", "cl100k_base"),
        ("text-embedding-ada-002", "cl100k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo-2024-04-09", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("gpt-4o-mini", "o200k_base"),
        ("chatgpt-4o-latest", "o200k_base"),
        ("gpt-4.1-nano", "o200k_base"),
        ("gpt-5-mini", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("o1", "o200k_base"),
        ("ft:gpt-4o-mini-2024-07-18:org::abc", "o200k_base"),
        ("ft:gpt-3.5-turbo:org::abc", "cl100k_base"),
        ("llama3", None),
        ("olmo-2", None),
        ("omni-moderation-latest", None),
        ("nomic-embed-text", None),
    ],
)
def test_each_family_has_its_vocabulary(model, name):
    assert vocabulary(model) == name
    assert counter(model).exact is (name is not None)


def test_known_counts():
    assert counter("gpt-4").count("hello world") == 2
    assert counter("gpt-4o").count("tiktoken is great!") == 6
    assert counter("gpt-4").count("") == 0


PIECES = st.lists(
    st.sampled_from(["<|endoftext|>", "<|", "|>", "<|im_start|>", " ", "\n", "a", "naïve", "中文", "🙂", "12", "<"])
)


PLAIN = {name: Tokenizer.from_pretrained(name).encode_ordinary for name in ("cl100k_base", "o200k_base")}


@given(st.text() | PIECES.map("".join))
@example("<|endoftext|> and <|fim_prefix|>")
def test_a_special_token_in_a_text_is_plain_text(text):
    """The fast way and the plain way agree, and neither reads markers in user text as such."""
    for model, name in (("gpt-4", "cl100k_base"), ("gpt-4o", "o200k_base")):
        expected = len(PLAIN[name](text))
        assert counter(model).count(text) == expected
        assert counter(model).count_many([text, "", text]) == [expected, 0, expected]


def test_a_broken_surrogate_is_counted_not_raised():
    assert counter("gpt-4").count("a\ud800b") >= 2
    assert counter("llama3").count("a\ud800b") >= 1


@given(st.text())
def test_an_estimate_is_a_third_of_the_bytes_rounded_up(text):
    size = len(text.encode())
    assert counter("llama3").count(text) == -(-size // 3)


@pytest.mark.parametrize("unit", ["a", "word ", "中", "<|x", "1"])
def test_a_very_long_text_takes_no_quadratic_time(unit):
    count = counter("gpt-4").count
    assert growth(lambda: count(unit * 100_000), lambda: count(unit * 800_000)) < 5 * 8
