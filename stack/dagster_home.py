"""DAGSTER_HOME of the stack: dagster.yaml and workspace.yaml, written anew at each `up`.

Storage is PostgreSQL, with the identity `dagster` known by certificate. The URL scheme is spelled out: SQLAlchemy 2.1
reads a bare `postgresql://` as psycopg 3, which Dagster does not speak; no event would be stored and no run would
start.
"""

from __future__ import annotations

from typing import Any

import yaml

from stack.paths import Layout, write_private
from stack.service_names import code_socket
from stack.state import DAGSTER_DATABASE, StackState

LOCATION = "darkroom"
# The longest run that is believed. A run whose worker vanished without a word ends then at the latest.
MAX_RUN_SECONDS = 3600
START_SECONDS = 120
"""A run that was launched and has not begun by then is failed: daemon or code server was killed in between. On a
machine with ten times its load runs begin within half a minute."""
MONITOR_SECONDS = 30


def instance(layout: Layout, state: StackState) -> dict[str, Any]:
    """The content of dagster.yaml."""
    compute = layout.dagster / "compute"
    return {
        "storage": {
            "custom": {
                "module": "stack.dagster_storage",
                "class": "PooledPostgresStorage",
                "config": {
                    "postgres_db": {
                        "scheme": "postgresql+psycopg2",
                        "hostname": "127.0.0.1",
                        "port": state.ports["postgres"],
                        "username": "dagster",
                        "db_name": DAGSTER_DATABASE,
                        "params": {
                            "sslmode": "verify-full",
                            "sslrootcert": str(layout.ca),
                            "sslcert": str(layout.certificate("dagster")),
                            "sslkey": str(layout.key("dagster")),
                        },
                    },
                    # Made before the first code server (stack/dead_runs.py), and not looked for at each tick and run.
                    "should_autocreate_tables": False,
                },
            }
        },
        "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"},
        "run_monitoring": {
            "enabled": True,
            "start_timeout_seconds": START_SECONDS,
            "poll_interval_seconds": MONITOR_SECONDS,
            "max_runtime_seconds": MAX_RUN_SECONDS,
            "free_slots_after_run_end_seconds": 60,
        },
        # One writer per table: live runs and backfills take turns.
        "concurrency": {"pools": {"default_limit": 1, "granularity": "op"}},
        "sensors": {"use_threads": True, "num_workers": 2},
        "schedules": {"use_threads": True, "num_workers": 2},
        "compute_logs": {
            "module": "dagster._core.storage.local_compute_log_manager",
            "class": "LocalComputeLogManager",
            "config": {"base_dir": str(compute)},
        },
        "local_artifact_storage": {
            "module": "dagster._core.storage.root",
            "class": "LocalArtifactStorage",
            "config": {"base_dir": str(layout.dagster / "artifacts")},
        },
        "retention": {
            kind: {"purge_after_days": {"skipped": 1, "started": 1, "success": 7, "failure": 30}}
            for kind in ("schedule", "sensor", "auto_materialize")
        },
        "telemetry": {"enabled": False},
        # A pop-up that asks for an address would cover the graph.
        "nux": {"enabled": False},
    }


def workspace(state: StackState) -> dict[str, Any]:
    """The content of workspace.yaml: the one shared code server."""
    return {"load_from": [{"grpc_server": {"socket": str(code_socket(state)), "location_name": LOCATION}}]}


def prepare(layout: Layout, state: StackState) -> None:
    """Write both files."""
    layout.dagster.mkdir(mode=0o700, exist_ok=True)
    write_private(layout.dagster / "dagster.yaml", yaml.safe_dump(instance(layout, state), sort_keys=False))
    write_private(layout.dagster / "workspace.yaml", yaml.safe_dump(workspace(state), sort_keys=False))
