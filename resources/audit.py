"""What people did that must not be forgotten: one JSON line each, on disk before the deed is done."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from resources.failures import PermanentFailure


class AuditUnavailable(PermanentFailure):
    """The line could not be written; what was to be audited was not done."""


def audited(path: Path, event: str, **facts: str) -> None:
    """Append a line and wait until the disk has it.

    Args:
        path: the log; made readable for its owner alone.
        event: what is about to be done.
        facts: who, why, on what; no name, label or id of a person's image.

    Raises:
        AuditUnavailable: it could not be written.
    """
    line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **facts})
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, line.encode() + b"\n")
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        raise AuditUnavailable(
            f"{event}: not done, for the audit log {path} cannot be written ({error.strerror or error}). "
            "Make room or give this account the right to write it."
        ) from error
