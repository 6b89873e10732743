"""Launcher: one instance over TLS, `python -m services.recogniser --port N --certificate FILE --key FILE`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI

from resources.settings import Settings
from services.door.launcher import launch
from services.recogniser.app import create_app


def main(arguments: Sequence[str] | None = None) -> int:
    """Work until told to stop; see `services.door.launcher.launch`."""
    return launch("python -m services.recogniser", "One instance of the sub-second lane.", arguments, _made)


def _made(settings: Settings) -> tuple[FastAPI, Mapping[str, Any]]:
    return create_app(settings), {}


if __name__ == "__main__":
    sys.exit(main())
