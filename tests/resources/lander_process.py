"""A lander as a process of its own, for tests that kill or stop it: settings as JSON on standard input, one line.

Prints `ready` when it is about to land, `landed N` after each commit, `refused ERROR` after one that was refused, and
`done N` at the end.
"""

from __future__ import annotations

import json
import logging
import sys

from resources.lake import open_lake
from resources.landing import Lander
from resources.settings import load_settings


class Refusals(logging.Handler):
    """Prints the kind of error for which the lander began again; the lander logs nothing else at this level."""

    def emit(self, record: logging.LogRecord) -> None:
        errors = [one for one in record.args or () if isinstance(one, Exception)]
        for error in errors:
            print("refused", type(error).__name__, flush=True)


def main() -> None:
    """Land once."""
    settings = load_settings(json.loads(sys.stdin.readline()))
    log = logging.getLogger("darkroom.landing")
    log.setLevel(logging.INFO)
    log.addHandler(Refusals())
    print("ready", flush=True)
    result = Lander(settings, open_lake(settings)).land(lambda records, _: print("landed", records, flush=True))
    print("done", result.records, flush=True)


if __name__ == "__main__":
    main()
