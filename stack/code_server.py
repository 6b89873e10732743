"""Starts the one shared code server, and first ends what the last one left: `python -m stack.code_server`.

A run's worker descends from the code server. When both are killed, nobody is left to say that the run ended: Dagster
has no worker check for its default launcher, and the run would stay STARTED, in the way of every later one. So each
start of a code server begins by failing the runs whose process is gone. Usually there are none, which one query of
PostgreSQL tells; Dagster itself is loaded for it only when there are, or when its tables or pools must first be made.

It runs at a low priority, and with it its runs and their decoding processes: what is developed can wait, and an image
at the door, or on its way to an answer, cannot. Limit: the batch lane falls behind while doors and recogniser have all
of the machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import psycopg

from resources.pools import every_pool
from stack.state import DAGSTER_DATABASE, load_state, postgres_dsn

UNFINISHED = ("NOT_STARTED", "STARTING", "STARTED", "CANCELING")
WAIT_SECONDS = 60.0
NICENESS = 10


def needs_a_look(dsn: str) -> bool:
    """Whether tables or pools are missing, or a run is unfinished. Waits for PostgreSQL; gives up in the end."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            with psycopg.connect(dsn, connect_timeout=5) as connection:
                tables = "SELECT to_regclass('public.runs'), to_regclass('public.concurrency_limits')"
                if None in (connection.execute(tables).fetchone() or (None,)):
                    return True
                pools = {row[0] for row in connection.execute("SELECT concurrency_key FROM concurrency_limits")}
                if every_pool() - pools:
                    return True
                query = "SELECT EXISTS (SELECT FROM runs WHERE status = ANY(%s))"
                return connection.execute(query, [list(UNFINISHED)]).fetchone() == (True,)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def main() -> None:
    """Look after the last code server's runs, then become the code server (stack/run_server.py)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--module", default="platform_assets.definitions")
    arguments = parser.parse_args()
    os.nice(NICENESS)
    from stack.paths import Layout

    layout = Layout(Path(os.environ["DARKROOM_HOME"]))
    port = load_state(layout.home).ports["postgres"]
    if needs_a_look(postgres_dsn(layout, port, "dagster", DAGSTER_DATABASE)):
        subprocess.run([sys.executable, "-m", "stack.dead_runs"], check=True)
    # A socket file that a killed server left would keep this one from listening.
    arguments.socket.unlink(missing_ok=True)
    command = [sys.executable, "-m", "stack.run_server", "--socket", str(arguments.socket)]
    # Without --heartbeat it lives until it is told to end. Runs are started by this very Python.
    options = ["--module-name", arguments.module, "--use-python-environment-entry-point", "--location-name", "darkroom"]
    os.execv(sys.executable, [*command, *options])  # noqa: S606


if __name__ == "__main__":
    main()
