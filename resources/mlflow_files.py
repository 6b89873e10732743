"""A model's file in MLflow's own layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def save_model(onnx_file: bytes, folder: Path) -> None:
    """The file in MLflow's own layout, so that its tools load it too. Requirements are named, not guessed: MLflow would
    import the model in a process of its own to find them."""
    from importlib.metadata import version

    import mlflow.onnx
    import onnx

    model = onnx.load_model_from_string(onnx_file)
    requirements = [f"{name}=={version(name)}" for name in ("onnx", "onnxruntime")]
    mlflow.onnx.save_model(
        model,
        str(folder),
        # Unity Catalog takes no model without one.
        signature=_signature(model),
        pip_requirements=requirements,
        onnx_execution_providers=["CPUExecutionProvider"],
    )
    # Byte by byte what was scored: saving may write the same graph in another order.
    (folder / "model.onnx").write_bytes(onnx_file)


def _signature(model: Any) -> Any:
    """The tensors that a model takes and gives, as MLflow writes them down; -1 for as many rows as there are."""
    import onnx
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    def specs(values: Any) -> Schema:
        found: list[ColSpec | TensorSpec] = []
        for value in values:
            tensor = value.type.tensor_type
            shape = [one.dim_value or -1 for one in tensor.shape.dim] or [-1]
            found.append(TensorSpec(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type), shape, value.name))
        return Schema(found)

    return ModelSignature(specs(model.graph.input), specs(model.graph.output))
