"""The frames of `/v1/stream`: metadata as it may be written, and answers as they are.

Whatever a machine writes that this page does not know is a violation and never passed over: a slip of the pen in a
sender must not lose the label of a million images.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from services.door.intake import Accepted
from services.door.problems import Kind, Problem

LONGEST_METADATA = 16 * 1024
"""Characters of a metadata frame; the longest label and file name fit, however they are escaped."""
LARGEST_SEQ = 2**53 - 1
"""The largest whole number that every JSON library reads as written."""

UNSUPPORTED = 1003
OUT_OF_ORDER = 1002
RESTARTING = 1012
TRY_LATER = 1013
GOING_AWAY = 1001
UNAUTHENTICATED = 4401

_TEXTS = ("label", "filename", "uploaded_at", "sha256")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class ImageMetadata:
    """What a sender says about the image in the next frame."""

    seq: int
    label: str | None = None
    filename: str | None = None
    uploaded_at: str | None = None
    sha256: str | None = None


class Violation(Exception):
    """A frame that breaks the protocol: it ends the connection with this close code."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.problem = Problem(Kind.MALFORMED, detail)


def metadata_of(text: str, after: int) -> ImageMetadata:
    """The metadata of a text frame.

    Args:
        text: the frame.
        after: the last seq; the next one is larger.

    Raises:
        Violation: not a JSON object of the members that are known, each of its type, with a rising seq.
    """
    found = _object_of(text)
    unknown = sorted(set(found) - {"seq", *_TEXTS})
    if unknown:
        raise Violation(
            UNSUPPORTED, f"The metadata has the member {unknown[0][:64]!a}; known are seq, {', '.join(_TEXTS)}."
        )
    seq = found.get("seq")
    if type(seq) is not int or not 0 <= seq <= LARGEST_SEQ:
        raise Violation(UNSUPPORTED, f"The metadata's seq is no whole number of 0 to {LARGEST_SEQ}.")
    for name in _TEXTS:
        if not isinstance(found.get(name), str | None):
            raise Violation(UNSUPPORTED, f"The metadata's {name} is no text; leave it out where there is none.")
    digest = found.get("sha256")
    if digest is not None and not _SHA256.fullmatch(digest):
        raise Violation(UNSUPPORTED, "The metadata's sha256 is not 64 hexadecimal digits.")
    if seq <= after:
        raise Violation(OUT_OF_ORDER, f"The metadata's seq is {seq} after {after}; every image has a larger one.")
    return ImageMetadata(**found)


def accepted_frame(seq: int, accepted: Accepted) -> str:
    """The answer for an image that the broker keeps."""
    return json.dumps({"seq": seq, **accepted.document()})


def refused_frame(seq: int | None, problem: Problem, instance: str) -> str:
    """The answer for an image that was refused, or, without a seq, for the connection itself."""
    document = {"problem": problem.document(instance)}
    return json.dumps(document if seq is None else {"seq": seq, **document})


def _object_of(text: str) -> dict[str, Any]:
    if len(text) > LONGEST_METADATA:
        raise Violation(
            UNSUPPORTED, f"The metadata has {len(text)} characters; a frame of it has at most {LONGEST_METADATA}."
        )
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise Violation(UNSUPPORTED, "The text frame is no JSON. Metadata is an object with a seq.") from None
    if not isinstance(found, dict):
        raise Violation(UNSUPPORTED, "The metadata is no JSON object. It is one, with a seq.")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Violation(UNSUPPORTED, "The metadata has a member twice.")
    return found
