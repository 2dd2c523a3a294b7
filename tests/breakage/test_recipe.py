"""The text form of breakages: it composes, goes back and forth, and says in one line what is wrong with it."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_digits

import breaknet
from breaknet.breakage import BREAKAGES, PARTS, Step, leak, missing_class, parse, shift, shuffle_labels


@st.composite
def steps(draw):
    known = BREAKAGES[draw(st.sampled_from(sorted(BREAKAGES)))]
    values = tuple(
        draw(st.integers(int(one.low), int(one.high)) if one.whole else st.floats(one.low, one.high))
        for one in known.parameters
    )
    part = draw(st.sampled_from(PARTS))
    return Step(known.name, values, part, draw(st.none() | st.integers(0, 2**63 - 1)))


@given(st.lists(steps(), max_size=5))
def test_text_goes_back_and_forth(recipe):
    assert parse(" + ".join(map(str, recipe))) == tuple(recipe)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("", ""),
        ("  invert ", "invert"),
        ("invert()", "invert"),
        ("shuffle_labels", "shuffle_labels(1)"),
        ("shuffle_labels(fraction=.3,seed=0)", "shuffle_labels(0.3, seed=0)"),
        ("train : shuffle_labels(0.3)+ valid:shift(-2,down=+1)", "shuffle_labels(0.3) + shift(-2, 1)"),
        ("both:shift(3) + train:leak", "both:shift(3, 0) + leak(1)"),
        ("imbalance(1e+2)", "imbalance(100)"),
    ],
)
def test_forms_of_text(text, plain):
    assert " + ".join(map(str, parse(text))) == plain


def test_parts():
    digits = tiny_digits()
    bad = breaknet.break_data(digits, "shuffle_labels(0.3) + missing_class(7) + shift(3) + both:leak", seed=4)
    train = leak(missing_class(shuffle_labels(digits.train, 0.3, seed=4), 7), seed=4)
    valid = leak(shift(digits.valid, 3), seed=4)
    for found, expected in ((bad.train, train), (bad.valid, valid)):
        assert np.array_equal(found.images, expected.images)
        assert np.array_equal(found.labels, expected.labels)
    assert bad.train.breakage == "shuffle_labels(0.3, seed=4) + missing_class(7) + leak(1, seed=4)"
    assert bad.valid.breakage == "shift(3, 0) + leak(1, seed=4)"
    assert bad.test is digits.test
    assert bad.source == digits.source
    assert bad.train[:5].breakage == bad.train[np.arange(3)].breakage == bad.train.breakage


def test_splits_get_what_concerns_their_part():
    split = tiny_digits().valid
    text = "missing_class(7) + shift(3) + both:invert"
    assert breaknet.break_data(split, text).breakage == "missing_class(7) + invert"
    assert breaknet.break_data(split, text, part="valid").breakage == "shift(3, 0) + invert"
    assert breaknet.break_data(split, "") is split


def test_a_steps_own_seed_goes_before_the_recipes():
    split = tiny_digits().train
    own = breaknet.break_data(split, "shuffle_labels(1, seed=0) + flip_labels(0.5)", seed=9)
    assert own.breakage == "shuffle_labels(1) + flip_labels(0.5, seed=9)"
    assert np.array_equal(breaknet.break_data(split, own.breakage).labels, own.labels)


WRONG = {
    "shufle_labels(0.3)": "did you mean shuffle_labels?",
    "valdi:invert": "did you mean valid?",
    "invert(1)": "invert takes no numbers, not 1 numbers",
    "missing_class": "missing_class needs digit, such as missing_class(7)",
    "missing_class(10)": "digit: 0 to 9, not 10",
    "missing_class(1.5)": "digit: a whole number from 0 to 9, not 1.5",
    "flip_labels(1.5)": "fraction: 0 to 1, not 1.5",
    "flip_labels(1e999)": "fraction: 0 to 1, not inf",
    f"flip_labels({10**400})": "fraction: 0 to 1",
    "flip_labels(0.1, fraction=0.2)": "fraction stands twice",
    "flip_labels(0.1, 0.2)": "flip_labels takes fraction, not 2 numbers",
    "flip_labels(0.1, share=0.2)": "one of fraction, seed, not 'share'",
    "flip_labels(0.1, seed=-1)": "seed: 0 to 2^63 - 1, not -1",
    "flip_labels(0.1, seed=0.5)": "seed: a whole number, not 0.5",
    "flip_labels(True)": "numbers in the parentheses, not True",
    "flip_labels(open('x'))": "numbers in the parentheses",
    "flip_labels(*[0.1])": "numbers in the parentheses",
    "flip_labels(**{})": "numbers in the parentheses",
    "flip_labels(0.1), invert(": "a step such as",
    "flip_labels(0.1), f(0.2)": "numbers in the parentheses",
    "flip_labels(0.1) invert": "a step such as",
    "invert + ": "a step such as",
    "+": "a step such as",
    "invert +" * 19 + "invert + invert + invert": "at most 20 steps, not 22",
    "x" * 1001: "at most 1,000 characters, not 1,001",
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_text(text):
    with pytest.raises(ValueError, match=r"^breakage: ") as caught:
        parse(text)
    assert WRONG[text] in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text("invert()+:,.0123456789e- =seed", max_size=40) | st.text(max_size=40))
def test_any_other_text_is_refused_or_means_something(text):
    with suppress(ValueError):
        recipe = parse(text)
        assert parse(" + ".join(map(str, recipe))) == recipe


def test_wrong_arguments():
    digits = tiny_digits()
    with pytest.raises(TypeError, match=r"^breakage: text such as"):
        breaknet.break_data(digits, 3)
    with pytest.raises(TypeError, match=r"^data: a Split such as digits.train or a pair"):
        breaknet.break_data(digits.train.images, "invert")
    with pytest.raises(ValueError, match=r"^part: train or valid, not 'test'"):
        breaknet.break_data(digits.train, "invert", part="test")
    with pytest.raises(ValueError, match=r"^seed: "):
        breaknet.break_data(digits, "invert", seed=-1)
