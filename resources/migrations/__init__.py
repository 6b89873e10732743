"""Alembic's chains, one a PostgreSQL schema; run by `resources.postgres.upgrade`, never by hand."""
