"""Launcher: one instance over TLS, `python -m services.streams --port N --certificate FILE --key FILE`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI

from resources.settings import Settings
from services.door.launcher import launch
from services.streams.app import create_app, server_options


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; see `services.door.launcher.launch`."""
    return launch("python -m services.streams", "One instance of the stream application.", arguments, _made)


def _made(settings: Settings) -> tuple[FastAPI, Mapping[str, Any]]:
    app = create_app(settings)
    return app, server_options(app, settings)


if __name__ == "__main__":
    sys.exit(main())
