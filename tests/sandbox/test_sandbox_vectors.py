"""The lexical vectors: laws that hold for every text."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.sandbox.models.embeddings import LexicalModel, lexical_model

SMALL = ("text-embedding-3-small", 1536)
FLOWS = str(Path(__file__).resolve().parents[2] / "flows")


def near(first: str, second: str, dimensions: int = 512) -> float:
    model = lexical_model(*SMALL, dimensions)
    return sum(a * b for a, b in zip(model.vector(first), model.vector(second), strict=True))


@given(text=st.text(max_size=80), dimensions=st.sampled_from([1, 2, 7, 16, 100, 512, 1536]))
def test_every_vector_has_length_one(text: str, dimensions: int) -> None:
    vector = lexical_model(*SMALL, dimensions).vector(text)
    assert len(vector) == dimensions
    assert math.hypot(*vector) == pytest.approx(1, abs=1e-5)


@given(text=st.text(max_size=80), dimensions=st.sampled_from([1, 16, 40, 128, 300, 1000]))
def test_fewer_dimensions_are_the_full_vector_cut_and_made_length_one_again(text: str, dimensions: int) -> None:
    full = lexical_model(*SMALL, 1536).vector(text)[:dimensions]
    length = math.hypot(*full)
    short = lexical_model(*SMALL, dimensions).vector(text)
    # Where next to nothing is left of the full vector its 32 bits say too little for a comparison.
    if length > 1e-3:
        assert list(short) == pytest.approx([value / length for value in full], abs=1e-4)


@given(text=st.text(max_size=60))
def test_what_a_model_has_learnt_does_not_change_its_vectors(text: str) -> None:
    assert lexical_model(*SMALL, 64).vector(text) == LexicalModel(*SMALL, 64).vector(text)


def test_vectors_are_the_same_in_every_process() -> None:
    code = (
        "from penstock.sandbox.models.embeddings import lexical_model;"
        "print(lexical_model('text-embedding-3-small', 1536, 512).vector('Grüße aus Köln, 東京').tobytes().hex())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": FLOWS, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert runs == {lexical_model(*SMALL, 512).vector("Grüße aus Köln, 東京").tobytes().hex() + "\n"}


BASE = "The battery of this phone died after two weeks of use"


@pytest.mark.parametrize(
    "text",
    [
        "The batery of this phone dyed after two weeks of use",
        "After two weeks of use, the battery of this phone died!",
        "THE BATTERY OF THIS PHONE DIED AFTER TWO WEEKS OF USE",
    ],
)
def test_misspelt_and_reordered_texts_are_near(text: str) -> None:
    assert near(BASE, text) > 0.7


@pytest.mark.parametrize(
    "text", ["My cat sleeps on the warm window sill every afternoon", "Sehr gute Suppe", "東京は晴れ"]
)
def test_unrelated_texts_are_far(text: str) -> None:
    assert near(BASE, text) < 0.3


def test_the_nearest_neighbour_of_a_misspelt_text_is_its_original() -> None:
    originals = [f"{thing} {verb} {place}" for thing in THINGS for verb in VERBS for place in PLACES]
    model = lexical_model(*SMALL, 512)
    vectors = [model.vector(text) for text in originals]
    hits = 0
    for at in range(0, len(originals), 5):
        query = model.vector(originals[at].replace("e", "ee", 1).replace("o", "", 1))
        scores = [sum(a * b for a, b in zip(query, vector, strict=True)) for vector in vectors]
        hits += scores.index(max(scores)) == at
    assert hits >= 0.9 * len(range(0, len(originals), 5))


THINGS = ["the red bicycle", "my old dishwasher", "a leather sofa", "this garden hose", "our espresso machine"]
VERBS = ["arrived broken", "works perfectly", "smells strange", "was delivered late"]
PLACES = ["in the kitchen", "at my office", "before the holidays", "without instructions", "despite careful packing"]


def test_texts_of_scripts_without_spaces_are_compared_by_their_characters() -> None:
    assert near("東京の天気は晴れです", "東京の天気は雨です") > near("東京の天気は晴れです", "猫が寝ている") + 0.3


def test_two_models_give_unrelated_vectors() -> None:
    small = lexical_model("text-embedding-3-small", 1536, 512).vector(BASE)
    ada = lexical_model("text-embedding-ada-002", 1536, 512).vector(BASE)
    assert abs(sum(a * b for a, b in zip(small, ada, strict=True))) < 0.3


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "!!!", "\x00"])
def test_a_text_without_a_word_has_a_vector_too(text: str) -> None:
    assert any(lexical_model(*SMALL, 8).vector(text))
