"""Launcher: one instance over TLS, `python -m services.signin --port N --certificate FILE --key FILE`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from services.door.launcher import launch
from services.signin.app import create_app


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; see `services.door.launcher.launch`."""
    return launch(
        "python -m services.signin", "One instance of sign-in.", arguments, lambda settings: (create_app(settings), {})
    )


if __name__ == "__main__":
    sys.exit(main())
