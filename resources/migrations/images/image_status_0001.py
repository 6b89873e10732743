"""The projection `images.image_status`: where is my image.

It holds no word of an image (id, day, pseudonym, state, reason), so that write-ahead logs and backups need no purge.
Days are purged together, hence the index on day.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE images.image_status (
    id text PRIMARY KEY,
    day date NOT NULL,
    pseudonym text NOT NULL,
    state text NOT NULL CHECK (state IN ('accepted', 'landed', 'quarantined', 'processed')),
    reason text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((reason IS NOT NULL) = (state = 'quarantined'))
);
CREATE INDEX image_status_day ON images.image_status (day);
COMMENT ON TABLE images.image_status IS 'Where an image is; a projection that can be rebuilt from the lake.';
COMMENT ON COLUMN images.image_status.pseudonym IS 'who uploaded it, by a name that holds for that day only';
"""


def upgrade() -> None:
    """Make the table."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Drop the table; the job `rebuild_status` fills it again from the lake."""
    op.execute("DROP TABLE images.image_status")
