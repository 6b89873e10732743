"""Runs SQL as it is written: through SQLAlchemy's text(), a `%` of RAISE or a `:=` would be taken for a parameter."""

from __future__ import annotations

from alembic import op


def run(sql: str) -> None:
    """Execute statements on the migration's own connection, in its transaction."""
    connection = op.get_bind().connection.driver_connection
    if connection is None:
        raise RuntimeError("the migration's connection is closed")
    connection.execute(sql)
