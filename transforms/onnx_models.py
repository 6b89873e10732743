"""A model as one ONNX file: written from scikit-learn, scored by onnxruntime, in every lane with the same answer.

Exported in double precision, as scikit-learn computes: probabilities agree with its own to 1e-15, and a batch of one
with a batch of many to the same; in single precision they differed by 5e-7 (measured on the 1,797 digits). The graph
has one input `features`, double[rows, N], and two outputs: `label`, string[rows], and `probabilities`,
double[rows, classes]; its classes stand in the file's metadata, and so does the recipe of its features.

One thread: lanes run beside each other, and a row costs 20 microseconds. Limits: what a file says of itself is
believed once its shape fits; a file of another shape is refused by name and scores nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

OPSET = 18
INPUT = "features"
OUTPUTS = ("label", "probabilities")


class ModelRefused(Exception):
    """Bytes that are no model, or one of other features than this release computes."""


@dataclass(frozen=True)
class Scores:
    """Answers of a model, one a row: the label, and how probable the model holds it."""

    labels: tuple[str, ...]
    probabilities: np.ndarray


def export(fitted: Any, recipe: str, count: int) -> bytes:
    """The fitted pipeline as an ONNX file.

    Args:
        fitted: a scikit-learn pipeline whose classes are texts.
        recipe: name of the features' recipe, kept in the file.
        count: numbers in a vector of that recipe.
    """
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType

    graph: Any = convert_sklearn(
        fitted,
        initial_types=[(INPUT, DoubleTensorType([None, count]))],
        options={id(fitted): {"zipmap": False}},
        target_opset=OPSET,
    )
    classes = [str(label) for label in fitted.classes_]
    for name, value in (("features", recipe), ("classes", json.dumps(classes))):
        entry = graph.metadata_props.add()
        entry.key, entry.value = name, value
    return graph.SerializeToString(deterministic=True)


class Scorer:
    """One model, ready to score. Safe for threads."""

    def __init__(self, model: bytes, recipe: str, count: int) -> None:
        """Load a file.

        Args:
            model: the ONNX file.
            recipe: name of the features it will be given.
            count: numbers in a vector of them.

        Raises:
            ModelRefused: the bytes are no ONNX model, or one of other features.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # onnxruntime's exceptions have no common class of their own.
            first = (str(error).splitlines() or [""])[0][:200]
            raise ModelRefused(f"{len(model)} bytes are no ONNX model that onnxruntime can load: {first}") from error
        inputs, outputs = session.get_inputs(), [one.name for one in session.get_outputs()]
        said = session.get_modelmeta().custom_metadata_map
        shape = inputs[0].shape if len(inputs) == 1 else None
        if shape is None or shape[-1] != count or tuple(outputs) != OUTPUTS or said.get("features") != recipe:
            raise ModelRefused(
                f"The model takes {shape} of recipe {said.get('features')!r} and gives {', '.join(outputs)}; "
                f"this release gives it rows of {count} of recipe {recipe!r} and wants {', '.join(OUTPUTS)}."
            )
        self._session = session
        self.classes: tuple[str, ...] = tuple(json.loads(said.get("classes", "[]")))

    def score(self, features: np.ndarray) -> Scores:
        """Name each row.

        Args:
            features: one row an image; no rows give no answers.
        """
        rows = np.asarray(features, dtype=np.float64)
        if not len(rows):
            return Scores((), np.empty(0))
        answers: Any = self._session.run(list(OUTPUTS), {INPUT: rows})  # of kinds that only the graph knows
        labels, probabilities = answers
        return Scores(tuple(str(label) for label in labels), np.asarray(probabilities).max(axis=1))
