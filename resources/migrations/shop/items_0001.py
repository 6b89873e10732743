"""Items in versions (SCD type 2 in place), and the view of the current ones, through which items are changed.

Half-open intervals [effective_date, end_date); the current version's end_date is null. Two versions of an item never
overlap (gist exclusion). History is only added to: a version is closed once, by the view's own trigger, and otherwise
never changed or deleted, not by the owner either. The owner may add versions with dates of the past (a load), behind
what the item already has and not in the future.

Changes of one item wait for each other on an advisory lock, taken as a statement of its own, so that the next one sees
what was committed. A change made from values that another has replaced meanwhile is a lost update: it raises 40001, and
the client begins again (resources/shop.py). `shop.instant()` is the clock, as a function that a test can replace.
"""

from __future__ import annotations

from resources.migrations.plain_sql import run

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

OWNER = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'shop_owner') THEN
        CREATE ROLE shop_owner NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- another database of this server was furnished at the same time
END $$;
CREATE SCHEMA IF NOT EXISTS extensions;
CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA extensions;
ALTER SCHEMA shop OWNER TO shop_owner;
REVOKE ALL ON SCHEMA shop FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner REVOKE ALL ON FUNCTIONS FROM PUBLIC;
SET LOCAL ROLE shop_owner;
"""

TABLE = """
CREATE SEQUENCE shop.item_number;

CREATE TABLE shop.item_versions (
    version_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    item_id text NOT NULL CONSTRAINT item_id_form CHECK (item_id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    name text NOT NULL CONSTRAINT item_name_length CHECK (length(name) BETWEEN 1 AND 200),
    manufacturer text NOT NULL CONSTRAINT item_manufacturer_length CHECK (length(manufacturer) BETWEEN 1 AND 200),
    -- BETWEEN keeps NaN and infinity out too: both sort above every number.
    cost numeric NOT NULL
        CONSTRAINT item_cost_range CHECK (cost BETWEEN 0 AND 9999999999.99)
        CONSTRAINT item_cost_decimals CHECK (cost = round(cost, 2)),
    weight_kg numeric NOT NULL
        CONSTRAINT item_weight_range CHECK (weight_kg BETWEEN 0 AND 9999999.999)
        CONSTRAINT item_weight_decimals CHECK (weight_kg = round(weight_kg, 3)),
    effective_date timestamptz NOT NULL
        CONSTRAINT item_version_begins CHECK (isfinite(effective_date)),
    end_date timestamptz
        CONSTRAINT item_version_ends_after_it_begins CHECK (isfinite(end_date) AND end_date > effective_date),
    current_flag boolean NOT NULL GENERATED ALWAYS AS (end_date IS NULL) STORED,
    CONSTRAINT item_versions_never_overlap
        EXCLUDE USING gist (item_id WITH =, tstzrange(effective_date, end_date, '[)') WITH &&)
);
CREATE UNIQUE INDEX item_versions_begin ON shop.item_versions (item_id, effective_date);
CREATE UNIQUE INDEX item_has_one_current_version ON shop.item_versions (item_id) WHERE end_date IS NULL;
COMMENT ON TABLE shop.item_versions IS 'Every version of every item, for ever; changed through the view shop.items.';
COMMENT ON COLUMN shop.item_versions.end_date IS 'first instant at which the version no longer holds; null: current';

CREATE VIEW shop.items WITH (security_barrier) AS
    SELECT item_id, name, manufacturer, cost, weight_kg FROM shop.item_versions WHERE end_date IS NULL;
COMMENT ON VIEW shop.items IS 'The current items; inserts, updates and deletes become versions.';
"""

FUNCTIONS = """
CREATE FUNCTION shop.instant() RETURNS timestamptz LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'SELECT clock_timestamp()';

CREATE FUNCTION shop.refuse() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'shop.% refuses %', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_ARGV[0];
END $$;

-- The view's trigger calls with depth 2, whoever writes to the table itself with depth 1: that is the owner, loading.
CREATE FUNCTION shop.guard_history() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF pg_trigger_depth() > 1 AND OLD.end_date IS NULL AND NEW.end_date IS NOT NULL
            AND (NEW.version_id, NEW.item_id, NEW.name, NEW.manufacturer, NEW.cost, NEW.weight_kg, NEW.effective_date)
              = (OLD.version_id, OLD.item_id, OLD.name, OLD.manufacturer, OLD.cost, OLD.weight_kg, OLD.effective_date)
        THEN
            RETURN NEW;
        END IF;
        RAISE EXCEPTION 'A version of item % is history and is not rewritten', OLD.item_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'item_history_is_never_rewritten';
    END IF;
    IF pg_trigger_depth() > 1 THEN
        RETURN NEW;
    END IF;
    IF NEW.effective_date > shop.instant() OR NEW.end_date > shop.instant() THEN
        RAISE EXCEPTION 'A version of item % lies in the future', NEW.item_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'item_version_is_not_of_the_future';
    END IF;
    IF EXISTS (
        SELECT FROM shop.item_versions
        WHERE item_id = NEW.item_id AND (end_date IS NULL OR end_date > NEW.effective_date)
    ) THEN
        RAISE EXCEPTION 'Item % has a version at or after %', NEW.item_id, NEW.effective_date
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'item_history_is_only_added_to';
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION shop.lock_history() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pg_trigger_depth() = 1 THEN
        LOCK TABLE shop.item_versions IN SHARE ROW EXCLUSIVE MODE;
    END IF;
    RETURN NULL;
END $$;

-- greatest() of the clock, and of what the item has already lived through: a version of it, or a sale of it.
CREATE FUNCTION shop.next_instant(item text) RETURNS timestamptz LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN greatest(
        shop.instant(),
        (SELECT max(coalesce(end_date, effective_date)) FROM shop.item_versions WHERE item_id = item)
            + interval '1 microsecond',
        (SELECT max(sold_at) FROM shop.sales_details WHERE item_id = item) + interval '1 microsecond'
    );
END $$;

CREATE FUNCTION shop.change_item() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item text;
    present shop.item_versions;
    at timestamptz;
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.item_id IS DISTINCT FROM OLD.item_id THEN
        RAISE EXCEPTION 'Item % cannot become item %', OLD.item_id, NEW.item_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'item_keeps_its_id';
    END IF;
    IF TG_OP = 'INSERT' THEN
        NEW.item_id := coalesce(NEW.item_id, 'item-' || nextval('shop.item_number'));
        item := NEW.item_id;
    ELSE
        item := OLD.item_id;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended(item, 1936224112));
    -- Waits for sales of this version that are not committed yet: they come first.
    SELECT * INTO present FROM shop.item_versions WHERE item_id = item AND end_date IS NULL FOR NO KEY UPDATE;
    IF TG_OP = 'INSERT' THEN
        IF FOUND THEN
            RAISE EXCEPTION 'Item % exists', item
                USING ERRCODE = 'unique_violation', CONSTRAINT = 'item_has_one_current_version';
        END IF;
    ELSIF NOT FOUND OR (present.name, present.manufacturer, present.cost, present.weight_kg)
        IS DISTINCT FROM (OLD.name, OLD.manufacturer, OLD.cost, OLD.weight_kg)
    THEN
        RAISE EXCEPTION 'Item % was changed by another transaction meanwhile', item
            USING ERRCODE = 'serialization_failure';
    END IF;
    IF TG_OP = 'UPDATE' AND (NEW.name, NEW.manufacturer, NEW.cost, NEW.weight_kg)
        IS NOT DISTINCT FROM (OLD.name, OLD.manufacturer, OLD.cost, OLD.weight_kg)
    THEN
        RETURN NEW;
    END IF;
    at := shop.next_instant(item);
    IF TG_OP <> 'INSERT' THEN
        UPDATE shop.item_versions SET end_date = at WHERE version_id = present.version_id;
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    INSERT INTO shop.item_versions (item_id, name, manufacturer, cost, weight_kg, effective_date)
    VALUES (item, NEW.name, NEW.manufacturer, NEW.cost, NEW.weight_kg, at);
    RETURN NEW;
END $$;

CREATE FUNCTION shop.items_as_of(at timestamptz)
RETURNS TABLE (item_id text, name text, manufacturer text, cost numeric, weight_kg numeric,
               effective_date timestamptz, end_date timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT v.item_id, v.name, v.manufacturer, v.cost, v.weight_kg, v.effective_date, v.end_date
    FROM shop.item_versions v
    WHERE v.effective_date <= at AND (v.end_date IS NULL OR at < v.end_date);
END;
"""

TRIGGERS = """
CREATE TRIGGER change_item INSTEAD OF INSERT OR UPDATE OR DELETE ON shop.items
    FOR EACH ROW EXECUTE FUNCTION shop.change_item();
CREATE TRIGGER lock_history BEFORE INSERT ON shop.item_versions
    FOR EACH STATEMENT EXECUTE FUNCTION shop.lock_history();
CREATE TRIGGER guard_history BEFORE INSERT OR UPDATE ON shop.item_versions
    FOR EACH ROW EXECUTE FUNCTION shop.guard_history();
CREATE TRIGGER refuse_delete BEFORE DELETE ON shop.item_versions
    FOR EACH ROW EXECUTE FUNCTION shop.refuse('item_history_is_never_rewritten');
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON shop.item_versions
    FOR EACH STATEMENT EXECUTE FUNCTION shop.refuse('item_history_is_never_rewritten');
ALTER TABLE shop.item_versions ENABLE ALWAYS TRIGGER lock_history;
ALTER TABLE shop.item_versions ENABLE ALWAYS TRIGGER guard_history;
ALTER TABLE shop.item_versions ENABLE ALWAYS TRIGGER refuse_delete;
ALTER TABLE shop.item_versions ENABLE ALWAYS TRIGGER refuse_truncate;
RESET ROLE;
"""


def upgrade() -> None:
    """Make the owner, the table of versions, and the view with its trigger."""
    run(OWNER + TABLE + FUNCTIONS + TRIGGERS)


def downgrade() -> None:
    """There is no way back: it would drop what must never be lost."""
    raise NotImplementedError("shop keeps every version for ever: restore a backup instead of downgrading")
