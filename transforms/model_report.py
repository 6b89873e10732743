"""What is kept beside a model for people: its confusion matrix as a picture, and its card.

Counts and shares only, no image, id or person: it lives as long as the registry. Drawn with Pillow, for a plotting
library would cost a run more to import than its training takes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from transforms.recognition import Evaluation

_CELL, _EDGE = 44, 96
_INK, _PAPER = (27, 36, 64), (246, 247, 251)

_OWN = (
    "It learned from pictures that its family brings with the release, and was tested on others of them: no image of",
    "anybody is in it.",
)
_UPLOADED = (
    "Splits follow the hash of each image's content: no image that it is tested on was learned from. Labels are the",
    "uploaders' word. What it learned from can be named by the manifest, and not be had again once the days are purged",
    "or keys destroyed.",
)


def confusion_png(evaluation: Evaluation, title: str) -> bytes:
    """The confusion matrix: a row a true class, a column an answer, darker for more."""
    from PIL import Image, ImageDraw, ImageFont

    labels = evaluation.labels
    side = _EDGE + _CELL * max(1, len(labels)) + 16
    picture = Image.new("RGB", (side, side), _PAPER)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(14)
    draw.text((12, 10), title, _INK, font)
    draw.text((12, 34), f"accuracy {evaluation.accuracy:.4f} on {evaluation.rows} images; rows: truth", _INK, font)
    most = max((max(row) for row in evaluation.confusion), default=0) or 1
    for at, label in enumerate(labels):
        draw.text((_EDGE + at * _CELL + 14, _EDGE - 24), label[:4], _INK, font)
        draw.text((_EDGE - 28, _EDGE + at * _CELL + 12), label[:4], _INK, font)
    for row, counts in enumerate(evaluation.confusion):
        for column, count in enumerate(counts):
            share = count / most
            colour = tuple(round(255 - (255 - full) * share) for full in (79, 91, 213))
            left, top = _EDGE + column * _CELL, _EDGE + row * _CELL
            draw.rectangle((left, top, left + _CELL - 2, top + _CELL - 2), fill=colour)
            if count:
                draw.text((left + 8, top + 12), str(count), (255, 255, 255) if share > 0.5 else _INK, font)
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()


def model_card(
    name: str,
    facts: Mapping[str, object],
    test: Evaluation,
    validation: Evaluation,
    counts: Sequence[Sequence[object]],
    own: bool,
) -> str:
    """The model card, Markdown.

    Args:
        facts: what it is and where it came from, by name.
        counts: class, and rows of it by split (train, validation, test).
        own: whether it learned from pictures that its family brings, and not from uploaders' images.
    """
    rows = [
        f"| {label} | {score.rows} | {score.recall:.4f} | {score.precision:.4f} |"
        for label, score in test.classes.items()
    ]
    return "\n".join(
        [
            f"# {name}",
            "",
            "Names an image by numbers taken from its thumbnail. It gives one of its classes to every image that its",
            "family admits, also to one that is of none of them: the probability is the model's own, and not",
            "calibrated.",
            "",
            *(f"- {key}: {value}" for key, value in facts.items()),
            f"- accuracy on the test split: {test.accuracy:.4f} ({test.right} of {test.rows})",
            f"- accuracy on the validation split: {validation.accuracy:.4f} ({validation.right} of {validation.rows})",
            "",
            *(_OWN if own else _UPLOADED),
            "",
            "## Test split by class",
            "",
            "| class | images | recall | precision |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            "## Labelled images by class",
            "",
            "| class | train | validation | test |",
            "| --- | --- | --- | --- |",
            *(f"| {' | '.join(map(str, row))} |" for row in counts),
            "",
        ]
    )
