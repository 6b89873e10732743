"""Delta's log: the files that a snapshot names, and whether a commit that delta-rs gave up on stands after all."""

from __future__ import annotations

import itertools
from typing import Any

import pyarrow as pa
import pyarrow.fs
from deltalake import DeltaTable


def file_table(handle: DeltaTable) -> pa.Table:
    """The files of this snapshot, as the log tells of them: `path`, `num_records`, `partition.NAME`, `min.NAME`..."""
    # Not `pa.table`, which imports pandas to ask whether it was given a frame of it: half a second of a small run.
    return pa.RecordBatchReader.from_stream(handle.get_add_actions(flatten=True)).read_all()


def files_of(handle: DeltaTable) -> list[dict[str, Any]]:
    """The rows of `file_table`."""
    return file_table(handle).to_pylist()


def names_file(filesystem: pyarrow.fs.FileSystem, folder: str, after: int, file: str) -> bool:
    """Whether an entry of a version later than `after` names a data file.

    An object store may keep a put and lose its answer: the next try finds the name taken, and the commit that was
    refused is our own.

    Args:
        folder: of the table.
        file: its name, which no other file has.
    """
    for version in itertools.count(after + 1):
        try:
            with filesystem.open_input_stream(f"{folder}/_delta_log/{version:020d}.json") as entry:
                if file.encode() in entry.read():
                    return True
        except FileNotFoundError:
            return False
    raise AssertionError("unreachable: versions end")
