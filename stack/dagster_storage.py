"""Dagster's storage in PostgreSQL, with connections that are kept.

Dagster's own opens a connection for each event and each question, and closes it: over TLS with certificates that was a
third of the processor time of a small run, and as much again in PostgreSQL, which starts a process for each. Here a
process keeps one for each of the three storages, asks before it is used again whether it still stands (PostgreSQL may
have been restarted), and opens more only while threads need them at once.

They are the process's, not the instance's: Dagster makes an instance for each tick of a sensor, and closes none of its
engines. The web server puts its own way of keeping connections in place of this one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

import sqlalchemy
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import create_pg_engine, pg_url_from_config

KEPT = 1
MOST_AT_ONCE = 20
RECYCLE_SECONDS = 300
"""An older connection is replaced when it is next wanted."""


class PooledPostgresStorage(DagsterPostgresStorage):
    """Dagster's storage with kept connections; configured as Dagster's own is, but for `auth_provider`."""

    def __init__(
        self, postgres_url: str, should_autocreate_tables: bool = True, inst_data: ConfigurableClassData | None = None
    ) -> None:
        super().__init__(postgres_url, should_autocreate_tables, inst_data)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            # Dagster has no setting for it, and replaces the very same attribute for its web server.
            storage._engine = _engine(os.getpid(), postgres_url, type(storage).__name__)

    @classmethod
    def from_config_value(  # type: ignore[override]
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> PooledPostgresStorage:
        """As Dagster makes it from dagster.yaml."""
        return cls(pg_url_from_config(config_value), config_value.get("should_autocreate_tables", True), inst_data)


def make_tables(postgres_url: str) -> None:
    """Make Dagster's tables that are not there yet, which takes three connections and a look at each."""
    DagsterPostgresStorage(postgres_url, should_autocreate_tables=True)


@cache
def _engine(pid: int, postgres_url: str, storage: str) -> sqlalchemy.Engine:
    """The engine of one of a process's storages; a fork's own, for two processes cannot share a connection."""
    return create_pg_engine(
        postgres_url,
        isolation_level="AUTOCOMMIT",
        pool_size=KEPT,
        max_overflow=MOST_AT_ONCE - KEPT,
        pool_recycle=RECYCLE_SECONDS,
        pool_pre_ping=True,
    )
