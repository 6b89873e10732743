"""What an uploader may say about an image: label, file name, time of the first upload; checked before use."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta

from services.door.problems import Kind, Problem

MAX_LABEL_CHARACTERS = 256
MAX_FILENAME_CHARACTERS = 255
OLDEST = timedelta(hours=24)
AHEAD = timedelta(minutes=5)

# RFC 3339: a zone is demanded, for a day is stamped from it. datetime.fromisoformat takes more forms than we promise.
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})")
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, lone surrogates, line and paragraph separators


def label_of(given: bytes | str | None) -> str | None:
    """A label as NFC text without outer spaces; None where none or only spaces were given.

    Raises:
        Problem: BAD_PARAMETER, for bytes that are no UTF-8, over 256 characters, or control characters.
    """
    if given is None:
        return None
    try:
        text = given.decode("utf-8") if isinstance(given, bytes) else given
    except UnicodeDecodeError:
        raise Problem(Kind.BAD_PARAMETER, "The label is not UTF-8. Send it as UTF-8 text.") from None
    text = unicodedata.normalize("NFC", text).strip(" \t")
    if len(text) > MAX_LABEL_CHARACTERS:
        raise Problem(
            Kind.BAD_PARAMETER, f"The label has {len(text)} characters; one has at most {MAX_LABEL_CHARACTERS}."
        )
    if any(unicodedata.category(character) in _REFUSED_CATEGORIES for character in text):
        raise Problem(
            Kind.BAD_PARAMETER, "The label holds a control character or a line break; a label is one line of text."
        )
    return text or None


def filename_of(given: str | None) -> str | None:
    """A file name without folders and control characters, at most 255 characters; None where nothing is left.

    A name is kept for its owner's eye only, so it is cleaned, never refused.
    """
    if given is None:
        return None
    name = re.split(r"[/\\]", given)[-1]
    name = "".join(character for character in name if unicodedata.category(character) not in _REFUSED_CATEGORIES)
    name = unicodedata.normalize("NFC", name).strip()
    return None if name in {"", ".", ".."} else name[:MAX_FILENAME_CHARACTERS]


def uploaded_at_of(given: str | None, now: datetime) -> datetime:
    """When the door first took the image: `now`, or what a resend repeats. UTC.

    Raises:
        Problem: BAD_PARAMETER, for no RFC 3339 instant with a zone, over 24 hours old, or over 5 minutes ahead.
    """
    if given is None:
        return now
    if not _INSTANT.fullmatch(given.strip()):
        raise Problem(
            Kind.BAD_PARAMETER,
            "The upload time is no instant as RFC 3339 writes it, with a zone; one is 2026-03-14T15:09:26Z.",
        )
    try:
        instant = datetime.fromisoformat(given.strip().upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Problem(Kind.BAD_PARAMETER, "The upload time has a date or time that no calendar has.") from None
    if now - instant > OLDEST:
        raise Problem(
            Kind.BAD_PARAMETER,
            f"The upload time is over 24 hours old (the door's clock says {now:%Y-%m-%dT%H:%M:%SZ}). "
            "Send the image as a new one, without it.",
        )
    if instant - now > AHEAD:
        raise Problem(
            Kind.BAD_PARAMETER,
            f"The upload time is over 5 minutes ahead (the door's clock says {now:%Y-%m-%dT%H:%M:%SZ}). "
            "Set the sender's clock.",
        )
    return instant
