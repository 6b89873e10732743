"""The demo's images: all there, all different, the same everywhere, nine in ten with their label."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from cli.dataset import DIGITS, UNLABELLED, MemoryItem, digits, photographs


@pytest.fixture(scope="module")
def items() -> list[MemoryItem]:
    return digits()


def test_there_are_1797_digits_and_no_two_have_the_same_bytes(items):
    # Two with the same bytes would be one image, and the demo's sums would not say 1,797.
    assert len(items) == DIGITS == 1797
    assert len({item.image for item in items}) == DIGITS
    assert len({item.filename for item in items}) == DIGITS


def test_each_png_shows_the_pixels_that_were_written(items):
    source = load_digits().images
    for index in (0, 9, 1000, 1796):
        with Image.open(io.BytesIO(items[index].image), formats=("PNG",)) as picture:
            assert picture.size == (8, 8) and picture.mode == "L"
            shown = np.asarray(picture, dtype=float) * 16 / 255
        assert np.abs(shown - source[index]).max() < 0.05


def test_nine_in_ten_have_their_own_digit_as_label_and_no_digit_is_left_out(items):
    target = load_digits().target
    labelled = [(item.label, str(number)) for item, number in zip(items, target, strict=True) if item.label is not None]
    assert len(labelled) == DIGITS - UNLABELLED
    assert all(label == number for label, number in labelled)
    unlabelled = Counter(int(number) for item, number in zip(items, target, strict=True) if item.label is None)
    assert sum(unlabelled.values()) == UNLABELLED
    assert set(unlabelled) == set(range(10))
    # A share by position would leave out nearly one whole digit: the data set counts 0 to 9 again and again.
    assert max(unlabelled.values()) < 2 * UNLABELLED / 10


def test_a_second_making_is_the_same_bytes_and_labels(items):
    again = digits()
    assert [(item.image, item.label) for item in again] == [(item.image, item.label) for item in items]


def test_the_photographs_are_the_files_that_scikit_learn_ships():
    found = photographs()
    assert [item.name for item in found] == ["china.jpg", "flower.jpg"]
    for item in found:
        with Image.open(io.BytesIO(item.read()), formats=("JPEG",)) as picture:
            assert picture.size == (640, 427)
