"""How the lake fails: what each failure means for who asked, and the storage's errors under these names."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from deltalake.exceptions import DeltaError

from resources.failures import PermanentFailure, TransientFailure


class TableMissing(PermanentFailure):
    """There is no table of that name: its folder holds no Delta log."""


class CommitConflict(TransientFailure):
    """Another writer committed in between. Nothing of this commit stands; open again, look again, go on from there."""


class IdentifierRefused(PermanentFailure):
    """A commit would have moved a transaction identifier backwards or not at all: its rows stand already."""


class SchemaRefused(PermanentFailure):
    """Data or table do not have the columns that this release knows."""


class LakeFull(TransientFailure):
    """The lake's disk is full. No part of the commit stands; once there is room, the same work goes through."""


class LakeUnavailable(TransientFailure):
    """The lake's storage answered with an error that is none of the above."""


@contextmanager
def named(root: str, what: str) -> Iterator[None]:
    """Give errors of the storage our names inside the block.

    Args:
        root: of the lake.
        what: what was tried, as in "tried to ...".

    Raises:
        LakeFull, LakeUnavailable: in the place of OSError and DeltaError.
    """
    try:
        yield
    except (OSError, DeltaError) as error:
        if _is_full(error):
            raise LakeFull(
                f"The lake's disk is full: tried to {what} below {root}. Nothing of it stands, and nothing is "
                "lost: make room, then run again.",
                {"root": root},
            ) from error
        raise LakeUnavailable(
            f"The lake at {root} answered with an error: tried to {what}, got {first_line(error)}.",
            {"root": root},
        ) from error


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error)
    return "os error 28" in text or "No space left on device" in text or "os error 122" in text


def first_line(error: BaseException) -> str:
    """The first line of an error that is not empty, else its kind."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
