"""Alembic's environment for every chain: the caller brings the connection and names the schema.

The version table lives in the chain's own schema, so that chains of different schemas never see each other. There is no
offline mode: a migration is only ever run by `resources.postgres.upgrade`, inside its transaction and under its lock.
"""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table_schema=context.config.attributes["schema"])
with context.begin_transaction():
    context.run_migrations()
