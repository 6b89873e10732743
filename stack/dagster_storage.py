"""Dagster's storage in PostgreSQL, with connections that are kept.

Dagster's own opens a connection for each event and each question, and closes it: over TLS with certificates that was a
third of the processor time of a small run, and as much again in PostgreSQL, which starts a process for each. Here a
process keeps one for each of the three storages, asks before it is used again whether it still stands (PostgreSQL may
have been restarted), and opens more only while threads need them at once.

The web server puts its own way of keeping connections in place of this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import create_pg_engine, pg_url_from_config

KEPT = 1
MOST_AT_ONCE = 20
RECYCLE_SECONDS = 300
"""As old as a connection gets."""


class PooledPostgresStorage(DagsterPostgresStorage):
    """Dagster's storage with kept connections; configured as Dagster's own is."""

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(postgres_url, inst_data=inst_data)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            # Dagster has no setting for it, and replaces the very same attribute for its web server.
            storage._engine = create_pg_engine(
                postgres_url,
                isolation_level="AUTOCOMMIT",
                pool_size=KEPT,
                max_overflow=MOST_AT_ONCE - KEPT,
                pool_recycle=RECYCLE_SECONDS,
                pool_pre_ping=True,
            )

    @classmethod
    def from_config_value(  # type: ignore[override]
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> PooledPostgresStorage:
        """As Dagster makes it from dagster.yaml."""
        return cls(pg_url_from_config(config_value), inst_data)
