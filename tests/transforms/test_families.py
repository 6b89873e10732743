"""Which family an image is of, and what the families that there are answer."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

import transforms.families as package
from cli.dataset import digits, photographs
from transforms.colour_terms import COLOURLESS, SURVEY, TERMS, term_shares, to_lab
from transforms.families import DIGITS, DOMINANT_COLOUR, FAMILIES
from transforms.features import COLOUR, COUNT, RECIPE, features
from transforms.image_decoding import Limits
from transforms.images import Developed, develop
from transforms.onnx_models import Scorer, export
from transforms.recognition import SPLITS, train


def vector(image: bytes) -> np.ndarray:
    developed = develop(image, Limits(10**7, 10**8))
    assert isinstance(developed, Developed)
    return features(developed.thumbnail)


def painted(mode: str, size: tuple[int, int], colour: object) -> bytes:
    target = io.BytesIO()
    Image.new(mode, size, colour).save(target, "PNG")
    return target.getvalue()


@pytest.fixture(scope="module")
def colours() -> Scorer:
    """The colours' model, learned as training learns it."""
    assert DOMINANT_COLOUR.examples is not None
    learned = [one for one in DOMINANT_COLOUR.examples() if one.split == SPLITS[0]]
    fitted = train(
        DOMINANT_COLOUR, np.array([features(one.thumbnail) for one in learned]), [one.label for one in learned]
    )
    return Scorer(export(fitted, RECIPE, COUNT), RECIPE, COUNT)


def test_every_digit_is_one_and_no_photograph_is() -> None:
    for item in digits()[::20]:
        assert [family.name for family in FAMILIES if family.admits(vector(item.image))] == [DIGITS.name]
    for item in photographs():
        assert [family.name for family in FAMILIES if family.admits(vector(item.image))] == [DOMINANT_COLOUR.name]


@pytest.mark.parametrize(
    ("size", "colour", "admitted"),
    [((32, 32), (90, 90, 90), True), ((33, 20), (90, 90, 90), False), ((20, 20), (200, 30, 30), False)],
    ids=["as large as may be", "a pixel wider", "of a colour"],
)
def test_a_small_scan_is_small_and_without_colour(size: tuple[int, int], colour: object, admitted: bool) -> None:
    assert DIGITS.admits(vector(painted("RGB", size, colour))) is admitted


def test_no_grey_is_taken_for_a_colour() -> None:
    """Bug prevented: a scan turned away for a shade of grey that happens to lie near a pale colour."""
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    assert {TERMS[term_shares(grey).argmax()] for grey in greys} == set(COLOURLESS)


def test_lab_is_as_cie_defines_it() -> None:
    """Against Lindbloom's calculator (sRGB, D65), to what its reference white differs."""
    known = {"ff0000": (53.24, 80.09, 67.20), "0000ff": (32.30, 79.19, -107.86), "ffffff": (100.0, 0.0, 0.0)}
    for shade, lab in known.items():
        assert np.allclose(to_lab(np.frombuffer(bytes.fromhex(shade), np.uint8)), lab, atol=0.05)


def test_the_palette_is_that_of_the_survey() -> None:
    """matplotlib carries the survey's own file."""
    from matplotlib.colors import XKCD_COLORS

    for term, shades in SURVEY.items():
        named = [XKCD_COLORS.get(f"xkcd:{prefix}{term}") for prefix in ("", "light ", "dark ")]
        assert [f"#{shade}" for shade in shades] == [one for one in named if one is not None]


@pytest.mark.parametrize(("larger", "smaller"), list(combinations(TERMS, 2))[::6])
def test_the_larger_share_is_the_answer(colours: Scorer, larger: str, smaller: str) -> None:
    picture = Image.new("RGB", (50, 50), f"#{SURVEY[larger][0]}")
    picture.paste(f"#{SURVEY[smaller][0]}", (0, 28, 50, 50))
    target = io.BytesIO()
    picture.save(target, "PNG")
    scores = colours.score(vector(target.getvalue())[None])
    assert scores.labels == (larger,)
    assert 0.5 < scores.probabilities[0] < 1


def test_whatever_the_shares_the_largest_is_named(colours: Scorer) -> None:
    shares = np.random.default_rng(0).dirichlet(np.full(len(TERMS), 0.3), 500)
    rows = np.zeros((len(shares), COUNT))
    rows[:, COLOUR] = shares
    assert [TERMS.index(label) for label in colours.score(rows).labels] == list(shares.argmax(axis=1))


def test_a_family_learns_from_labels_or_from_examples_and_not_from_both_or_neither() -> None:
    for wrong in ({"examples": DOMINANT_COLOUR.examples}, {"take": None}):
        with pytest.raises(ValueError, match="exactly one of the two"):
            replace(DIGITS, **wrong)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_is_one_file_of_under_sixty_lines(family) -> None:
    """What docs/recognition.md promises whoever adds one."""
    from pathlib import Path

    sources = [one for one in Path(package.__file__).parent.glob("*.py") if f'name="{family.name}"' in one.read_text()]
    (source,) = sources
    assert len(source.read_text().splitlines()) < 60
