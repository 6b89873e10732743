"""Sessions of people who signed in: by a hash of their secret, so that who reads the table can be nobody else."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE signin.sessions (
    secret_sha256 bytea PRIMARY KEY CHECK (octet_length(secret_sha256) = 32),
    subject text NOT NULL,
    begun_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    CHECK (begun_at <= seen_at AND begun_at < ends_at)
);
CREATE INDEX sessions_subject ON signin.sessions (subject);
CREATE INDEX sessions_ends_at ON signin.sessions (ends_at);
COMMENT ON TABLE signin.sessions IS 'Who is signed in; a row that goes is a sign-out.';
"""


def upgrade() -> None:
    """Make the table."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Drop the table; everybody signs in again."""
    op.execute("DROP TABLE signin.sessions")
