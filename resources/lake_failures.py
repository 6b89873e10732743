"""How the lake fails: what each failure means for who asked, and the storage's errors under these names."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from deltalake.exceptions import DeltaError
from obstore.exceptions import BaseError

from resources.failures import PermanentFailure, TransientFailure

STORAGE_ERRORS = (OSError, BaseError)
"""What a file system raises: this machine's, and obstore's over an object store."""


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


class LakeDenied(PermanentFailure):
    """The lake's storage refuses this process, or is not there: until a person acts, trying again is of no use."""


class LakeUnavailable(TransientFailure):
    """The lake's storage answered with an error that is none of the above."""


class FileGone(LakeUnavailable):
    """A file that was named is not there: upkeep, a purge or an erasure was quicker. Another look knows better."""


@contextmanager
def named(root: str, what: str) -> Iterator[None]:
    """Give errors of the storage our names inside the block.

    Args:
        root: of the lake.
        what: what was tried, as in "tried to ...".

    Raises:
        LakeFull, LakeDenied, LakeUnavailable: in the place of the errors of file systems, delta-rs and polars.
    """
    try:
        yield
    except Exception as error:
        if not _of_storage(error):
            raise
        if _is_full(error):
            raise LakeFull(
                f"The lake's disk is full: tried to {what} below {root}. Nothing of it stands, and nothing is "
                "lost: make room, then run again.",
                {"root": root},
            ) from error
        raise answered(root, what, error) from error


def _of_storage(error: Exception) -> bool:
    """Whether it came of reading or writing files, and not of our own code."""
    # Not imported, which takes a second: who has got an error of polars has polars. This one is of a file that is none.
    polars = sys.modules.get("polars")
    return isinstance(error, (*STORAGE_ERRORS, DeltaError)) or (
        polars is not None and isinstance(error, polars.exceptions.ComputeError)
    )


def answered(root: str, what: str, error: BaseException) -> LakeDenied | LakeUnavailable:
    """An error of the storage as a failure: S3's own code where it gave one, and what to do about it."""
    code = code_of(error)
    for pattern, advice in _ADVICE:
        if code is not None and pattern.fullmatch(code):
            return LakeDenied(
                f"The lake at {root} refuses: tried to {what}, S3 answered {code}. {advice} Nothing of it stands, and "
                "nothing is lost.",
                {"root": root, "code": code},
            )
    told = code or first_line(error)
    kind = FileGone if isinstance(error, FileNotFoundError) else LakeUnavailable
    return kind(
        f"The lake at {root} answered with an error: tried to {what}, got {told}.", {"root": root, "code": code or ""}
    )


def code_of(error: BaseException) -> str | None:
    """S3's error code in the text of an error; None where there is none."""
    found = _CODE.search(str(error))
    return found[1] if found is not None else None


_CODE = re.compile(r"<Code>([\w.]+)</Code>")
_ADVICE = [
    (re.compile(pattern), advice)
    for pattern, advice in (
        (
            "SignatureDoesNotMatch|InvalidAccessKeyId|ExpiredToken|InvalidToken",
            "The credentials are not this server's, or have ended: look at the role of this process, or at the file "
            "that s3_credentials names.",
        ),
        ("AccessDenied|AllAccessDisabled", "Its policy does not let this identity do that: ask who owns the bucket."),
        ("NoSuchBucket", "There is no such bucket: is `lake` right, and the account?"),
        (
            "PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraintException",
            "The bucket lies in another region: set aws_region to it.",
        ),
        ("NotImplemented", "That server lacks what is asked of it; most that are not AWS's know no s3_kms_key."),
        (
            r"KMS\.\w+",
            "The KMS key of s3_kms_key, or of the bucket, is disabled, gone or not for this identity: its owner may "
            "enable it, or grant kms:GenerateDataKey and kms:Decrypt.",
        ),
    )
]


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error)
    return "os error 28" in text or "No space left on device" in text or "os error 122" in text


def first_line(error: BaseException) -> str:
    """The first line of an error that says something, else its kind; of a chain as delta-rs draws it, the links."""
    plain = [_ANSI.sub("", line).strip() for line in str(error).splitlines()]
    lines = [line for line in plain if line]
    if not lines:
        return type(error).__name__
    links = [line.lstrip("↳ ") for line in lines if line.startswith("↳")]
    return "; ".join([lines[0], *links])[:600] if links else lines[0]


_ANSI = re.compile(r"\x1b\[[0-9;]*m")
