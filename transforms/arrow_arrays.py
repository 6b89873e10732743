"""Arrow arrays out of Python values and numpy, and back, without pandas.

`pa.array`, `pa.scalar`, `to_numpy` and `as_py` of a time import pandas at their first call, where it is installed:
seconds of processor time in a process that lives for ten. Everything here is made of buffers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def binary_array(values: Sequence[bytes | None], together: bytes | None = None) -> pa.Array:
    """Binary array of bytes and nulls; `together` are the values joined, where the caller has them so already."""
    sizes = np.array([-1 if value is None else len(value) for value in values], dtype=np.int64)
    return binary_over(joined(values) if together is None else together, sizes)


def joined(values: Sequence[bytes | None]) -> bytes:
    """All values one after the other; nulls are nothing."""
    try:
        return b"".join(values)  # type: ignore[arg-type]
    except TypeError:
        return b"".join(filter(None, values))


def binary_over(memory: bytes | bytearray, sizes: np.ndarray) -> pa.Array:
    """Binary array over values that lie one after the other in `memory`, not copied; size -1 is null."""
    offsets, valid, nulls = offsets_and_validity(sizes)
    buffer = pa.py_buffer(memory).slice(0, int(offsets[-1]))
    return pa.Array.from_buffers(pa.binary(), len(sizes), [valid, pa.py_buffer(offsets), buffer], null_count=nulls)


def text_array(values: Sequence[str], together: str | None = None) -> pa.Array:
    """String array of texts; `together` are the texts joined, where the caller has them so already."""
    text = "".join(values) if together is None else together
    encoded: Iterable[str | bytes] = values if text.isascii() else [value.encode() for value in values]
    sizes = np.fromiter(map(len, encoded), dtype=np.int64, count=len(values))
    offsets, _, _ = offsets_and_validity(sizes)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(text.encode())]
    return pa.Array.from_buffers(pa.string(), len(values), buffers, null_count=0)


def repeated_text(value: str, rows: int) -> pa.Array:
    """String array of one text, `rows` times."""
    encoded = value.encode()
    offsets = np.arange(rows + 1, dtype=np.int32) * len(encoded)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(encoded * rows)]
    return pa.Array.from_buffers(pa.string(), rows, buffers, null_count=0)


def fixed_array(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Array over numpy values of the same width as `kind`, not copied, without nulls."""
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)], null_count=0)


def integers(column: pa.ChunkedArray | pa.Array, kind: type[np.generic]) -> np.ndarray:
    """Values of a column of fixed width without nulls.

    Raises:
        ValueError: the column holds nulls.
    """
    if column.null_count:
        raise ValueError(f"{column.null_count} of {len(column)} values are null, and none may be.")
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    width = np.dtype(kind).itemsize
    parts = [
        np.frombuffer(chunk.buffers()[1], dtype=kind, count=len(chunk), offset=chunk.offset * width)
        for chunk in chunks
        if len(chunk)
    ]
    return np.concatenate(parts) if parts else np.empty(0, dtype=kind)


def places_of(value: pa.Scalar, column: pa.Array) -> np.ndarray:
    """Places at which a column without nulls has a value (a scalar taken from some column)."""
    found = pc.call_function("equal", [column, value])
    return integers(pc.call_function("indices_nonzero", [found]), np.uint64).astype(np.int64)


def offsets_and_validity(sizes: np.ndarray) -> tuple[np.ndarray, pa.Buffer | None, int]:
    """Offsets, validity bitmap and number of nulls of values of these sizes; size -1 is null."""
    offsets = np.zeros(len(sizes) + 1, dtype=np.int32)
    null = sizes < 0
    nulls = int(null.sum())
    np.cumsum(np.where(null, 0, sizes) if nulls else sizes, out=offsets[1:])
    valid = pa.py_buffer(np.packbits(~null, bitorder="little")) if nulls else None
    return offsets, valid, nulls
