"""The record of changes: who changed which row, when, and to what; only ever added to.

Written by triggers under the name of the login (session_user), which SET ROLE does not change. Of member_contacts only
the membership id is kept: a record that lives for ever must not hold what may have to be erased. Totals of a sale
follow from its details and are not recorded. `transaction` says which changes were one; a reader that goes on where it
stopped reads those below pg_snapshot_xmin(pg_current_snapshot()), for numbers are not given in the order of commits.
"""

from __future__ import annotations

from resources.migrations.plain_sql import run

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL ROLE shop_owner;
CREATE TABLE shop.changes (
    change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by text NOT NULL DEFAULT session_user,
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    table_name text NOT NULL,
    operation text NOT NULL CHECK (operation IN ('INSERT', 'UPDATE', 'DELETE')),
    before jsonb,
    after jsonb
);
COMMENT ON TABLE shop.changes IS 'Who changed which row, when, and to what; only ever added to.';

-- The arguments are the columns to keep; none means all of them.
CREATE FUNCTION shop.kept(entry jsonb, columns text[]) RETURNS jsonb LANGUAGE sql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT CASE WHEN columns IS NULL THEN entry ELSE
        (SELECT jsonb_object_agg(key, value) FROM jsonb_each(entry) WHERE key = ANY(columns)) END;
END;

CREATE FUNCTION shop.record_rows() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO shop.changes (table_name, operation, after)
        SELECT TG_TABLE_NAME, TG_OP, shop.kept(to_jsonb(g), TG_ARGV::text[]) FROM given g;
    ELSE
        INSERT INTO shop.changes (table_name, operation, before)
        SELECT TG_TABLE_NAME, TG_OP, shop.kept(to_jsonb(t), TG_ARGV::text[]) FROM taken t;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION shop.record_update() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO shop.changes (table_name, operation, before, after)
    VALUES (TG_TABLE_NAME, TG_OP,
            shop.kept(to_jsonb(OLD), TG_ARGV::text[]), shop.kept(to_jsonb(NEW), TG_ARGV::text[]));
    RETURN NULL;
END $$;

DO $$
DECLARE
    place text;
    columns text;
    condition text;
    name text;
BEGIN
    FOREACH place IN ARRAY ARRAY['item_versions', 'members', 'member_contacts', 'sales', 'sales_details'] LOOP
        columns := CASE place WHEN 'member_contacts' THEN '''membership_id''' ELSE '' END;
        condition := CASE place WHEN 'sales' THEN 'OLD.status IS DISTINCT FROM NEW.status'
                                ELSE 'OLD.* IS DISTINCT FROM NEW.*' END;
        EXECUTE format('CREATE TRIGGER record_insert AFTER INSERT ON shop.%I REFERENCING NEW TABLE AS given '
                       'FOR EACH STATEMENT EXECUTE FUNCTION shop.record_rows(%s)', place, columns);
        EXECUTE format('CREATE TRIGGER record_update AFTER UPDATE ON shop.%I FOR EACH ROW WHEN (%s) '
                       'EXECUTE FUNCTION shop.record_update(%s)', place, condition, columns);
        EXECUTE format('CREATE TRIGGER record_delete AFTER DELETE ON shop.%I REFERENCING OLD TABLE AS taken '
                       'FOR EACH STATEMENT EXECUTE FUNCTION shop.record_rows(%s)', place, columns);
        FOREACH name IN ARRAY ARRAY['record_insert', 'record_update', 'record_delete'] LOOP
            EXECUTE format('ALTER TABLE shop.%I ENABLE ALWAYS TRIGGER %I', place, name);
        END LOOP;
    END LOOP;
END $$;
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON shop.changes
    FOR EACH ROW EXECUTE FUNCTION shop.refuse('record_is_only_added_to');
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON shop.changes
    FOR EACH STATEMENT EXECUTE FUNCTION shop.refuse('record_is_only_added_to');
ALTER TABLE shop.changes ENABLE ALWAYS TRIGGER refuse_change;
ALTER TABLE shop.changes ENABLE ALWAYS TRIGGER refuse_truncate;
RESET ROLE;
"""


def upgrade() -> None:
    """Make the record and the triggers that write it."""
    run(UPGRADE)


def downgrade() -> None:
    """There is no way back: it would drop the record of who did what."""
    raise NotImplementedError("shop keeps its record of changes: restore a backup instead of downgrading")
