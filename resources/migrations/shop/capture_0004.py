"""What a reader of the shop's changes needs: the record's identity, and views that show no login and no other table.

A database has one `change_record`: a reader that went on where it stopped would miss changes, or take them twice, in
the record of another database. It is copied with the database, and so does not tell a restored backup from what the
backup was taken of; a reader compares the last change it took for that (resources/shop_capture.py).
"""

from __future__ import annotations

from resources.migrations.plain_sql import run

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL ROLE shop_owner;
CREATE TABLE shop.change_record (
    record_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    only_one boolean NOT NULL DEFAULT true UNIQUE CHECK (only_one)
);
COMMENT ON TABLE shop.change_record IS 'Which record of changes this is; one row, for ever the same.';
INSERT INTO shop.change_record DEFAULT VALUES;
CREATE TRIGGER refuse_change BEFORE INSERT OR UPDATE OR DELETE ON shop.change_record
    FOR EACH ROW EXECUTE FUNCTION shop.refuse('record_is_only_added_to');
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON shop.change_record
    FOR EACH STATEMENT EXECUTE FUNCTION shop.refuse('record_is_only_added_to');
ALTER TABLE shop.change_record ENABLE ALWAYS TRIGGER refuse_change;
ALTER TABLE shop.change_record ENABLE ALWAYS TRIGGER refuse_truncate;

CREATE INDEX changes_in_order ON shop.changes (table_name, transaction, change_id);

CREATE VIEW shop.item_changes WITH (security_barrier) AS
    SELECT transaction, change_id, changed_at, operation,
           coalesce(after, before) ->> 'item_id' AS item_id,
           after ->> 'name' AS name,
           after ->> 'manufacturer' AS manufacturer,
           (after ->> 'cost')::numeric AS cost,
           (after ->> 'weight_kg')::numeric AS weight_kg,
           (after ->> 'effective_date')::timestamptz AS effective_date,
           (after ->> 'end_date')::timestamptz AS end_date
    FROM shop.changes WHERE table_name = 'item_versions';
COMMENT ON VIEW shop.item_changes IS 'Every change of item_versions, without who made it.';

CREATE VIEW shop.change_marks WITH (security_barrier) AS
    SELECT table_name, transaction, change_id, changed_at FROM shop.changes;
COMMENT ON VIEW shop.change_marks IS 'That something changed, when, and in which table; not what, and not by whom.';
RESET ROLE;
"""


def upgrade() -> None:
    """Make the record's identity, the index in order of transactions, and the views."""
    run(UPGRADE)


def downgrade() -> None:
    """There is no way back: a reader's place in the record would mean nothing afterwards."""
    raise NotImplementedError("shop keeps its record of changes: restore a backup instead of downgrading")
