"""Looks for bytes in files as they lie on a disk: not in what tables and brokers say they hold, but in what is there.

Why: a row that is deleted is still in the file of an older version, and a record behind the low watermark still in its
segment. Mechanism: every file below a folder is read, hidden ones, orphans and old versions too; of Parquet, whose
pages are encoded and compressed, each column's values as well. Kafka's segments are searched as they are, for the
topics keep records uncompressed.

Limits: it finds what lies in one piece. A search proves nothing unless it has found the same bytes before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_AT_ONCE = 16 * 1024 * 1024
_PARQUET = b"PAR1"


def below(folder: Path) -> Iterator[Path]:
    """All that lies below a folder, hidden things too; what goes meanwhile is left out. Raises OSError where a folder
    cannot be read."""

    def refused(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for place, folders, files in os.walk(folder, onerror=refused):
        yield from (Path(place, name) for name in (*folders, *files))


def search(folder: Path, needles: Mapping[str, bytes]) -> dict[str, set[str]]:
    """The files below a folder that hold the bytes, by the needles' names; paths are relative to the folder.

    A file that is gone before it is read was renamed, perhaps: what has come meanwhile is read, too. Raises OSError
    where one cannot be read.
    """
    found: dict[str, set[str]] = {name: set() for name in needles}
    read: set[Path] = set()
    while new := [path for path in sorted(below(folder)) if path not in read]:
        read.update(new)
        gone = False
        for path in new:
            try:
                if not path.is_file() or path.is_symlink():
                    gone |= not path.exists()
                    continue
                held = _held(path, needles)
            except FileNotFoundError:
                gone = True
                continue
            for name in held:
                found[name].add(path.relative_to(folder).as_posix())
        if not gone:
            break
    return found


def _held(path: Path, needles: Mapping[str, bytes]) -> set[str]:
    held: set[str] = set()
    overlap = max(map(len, needles.values()), default=1) - 1
    with path.open("rb") as file:
        parquet = file.read(len(_PARQUET)) == _PARQUET
        file.seek(0)
        before = b""
        while piece := file.read(_AT_ONCE):
            text = before + piece
            held |= {name for name, needle in needles.items() if needle in text}
            before = text[-overlap:] if overlap else b""
    if parquet:
        for text in _values(path):
            held |= {name for name, needle in needles.items() if needle in text}
    return held


def _values(path: Path) -> Iterator[bytes]:
    """The bytes of all texts and binaries in a Parquet file, a column of a row group at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid:
        return  # half of a file: what it holds has been read as it lies
    with file:
        for group in range(file.num_row_groups):
            for column in file.read_row_group(group, use_threads=False).columns:
                for chunk in column.chunks:
                    yield from _buffers(chunk)


def _buffers(array: pa.Array) -> Iterator[bytes]:
    import pyarrow as pa

    kind = array.type
    if pa.types.is_struct(kind):
        for number in range(kind.num_fields):
            yield from _buffers(array.field(number))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _buffers(array.values)
    elif pa.types.is_dictionary(kind):
        yield from _buffers(array.dictionary)
    elif (pa.types.is_binary(kind) or pa.types.is_string(kind)) and (data := array.buffers()[2]) is not None:
        yield data.to_pybytes()
