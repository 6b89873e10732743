"""The trail of opened keys: who opened which key, and when, a line each, appended before the key is given out.

Limits: a process that remembers a key uses it without another line until its cache has aged out. Nothing is forced to
the disk at once: after a power cut the last lines may be missing, after a kill none is. With AWS KMS the account's own
trail says more, but only of days.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from resources.key_objects import KeyUnavailable
from resources.key_rights import identity_of

if TYPE_CHECKING:
    from resources.settings import Settings

TRAIL = "keys.log"


class KeyTrail:
    """Appends to one file; lines of many processes and threads do not mix.

    A line is a JSON object with time, who, pid and key: a day, or a day and a key's suffix. It has no pseudonym, for it
    outlives the day.

    Args:
        path: the file; made readable for its owner alone.
        who: identity of this process.
    """

    def __init__(self, path: Path, who: str) -> None:
        self._path = path
        self._who = who

    def __call__(self, key: str) -> None:
        """Append a line.

        Raises:
            KeyUnavailable: it could not be written, and the key must not be given out.
        """
        said = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "who": self._who,
            "pid": os.getpid(),
            "key": key,
        }
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(file, json.dumps(said).encode() + b"\n")
            finally:
                os.close(file)
        except OSError as error:
            raise KeyUnavailable(
                f"The key {key} was not opened: the trail {self._path} cannot be written "
                f"({error.strerror or error}). Make room, or give this account the right to write it.",
                {"trail": str(self._path)},
            ) from error


def key_trail(settings: Settings) -> KeyTrail:
    """The trail of a process with these settings."""
    return KeyTrail(settings.home / "logs" / TRAIL, identity_of(settings))
