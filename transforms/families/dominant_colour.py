"""The colour that most of a picture has, of the eleven basic terms, for every image that is no small scan.

It needs no labels: a Gaussian of one width around each flat picture of one term, so that the largest share wins; how
far it stands out is the probability. It is tested on pictures of two colours that it has not seen.
"""

from __future__ import annotations

import io
from itertools import permutations
from typing import Any

from transforms.colour_terms import SURVEY, TERMS
from transforms.families.digits import is_small_scan
from transforms.features import COLOUR
from transforms.recognition import SPLITS, Example, Family


def _pipeline() -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.naive_bayes import GaussianNB
    from sklearn.pipeline import make_pipeline

    # One picture a term has no spread of its own: smoothing by 1 gives all the spread that there is between terms.
    return make_pipeline(ColumnTransformer([("colour", "passthrough", COLOUR)]), GaussianNB(var_smoothing=1.0))


def _picture(larger: str, smaller: str) -> bytes:
    """16 x 16 pixels, ten rows of one colour and six of another."""
    from PIL import Image

    picture = Image.new("RGB", (16, 16), f"#{larger}")
    picture.paste(f"#{smaller}", (0, 10, 16, 16))
    written = io.BytesIO()
    picture.save(written, "WEBP", lossless=True)
    return written.getvalue()


def _examples() -> list[Example]:
    learned, held_back, test = SPLITS
    flat = [(term, shade) for term in TERMS for shade in SURVEY[term]]
    splits = {shade: learned if shade == SURVEY[term][0] else held_back for term, shade in flat}
    pairs = [one for one in permutations(flat, 2) if one[0][0] != one[1][0]]
    return [
        *(Example(splits[shade], term, _picture(shade, shade)) for term, shade in flat),
        *(Example(test, term, _picture(shade, other)) for (term, shade), (_, other) in pairs),
    ]


DOMINANT_COLOUR = Family(
    name="dominant_colour",
    recipe="nearest-flat-1",
    labels=TERMS,
    pipeline=_pipeline,
    admits=lambda vector: not is_small_scan(vector),
    examples=_examples,
)
