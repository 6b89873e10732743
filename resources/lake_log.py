"""Delta's log, read entry by entry: what delta-rs does not tell of a commit that it gave up on."""

from __future__ import annotations

import itertools

import pyarrow.fs


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
