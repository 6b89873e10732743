"""Members, their contacts, sales and what was sold.

The personal columns of a member lie apart, in member_contacts. A detail has the time of its sale (a foreign key holds
the two together), and names an item that existed then. The totals of a sale are the database's: computed from its
details and the item versions of its time, in the same transaction, and refused from anyone else. A sale that is made
while its item is changed goes first (a share lock on the version), so that no version ends before a sale made with it.
"""

from __future__ import annotations

from resources.migrations.plain_sql import run

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = """
SET LOCAL ROLE shop_owner;
CREATE TABLE shop.members (
    membership_id text PRIMARY KEY
        CONSTRAINT membership_id_form CHECK (membership_id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    status text NOT NULL DEFAULT 'active' CONSTRAINT member_status CHECK (status IN ('active', 'paused', 'left')),
    since date NOT NULL CONSTRAINT member_since CHECK (isfinite(since))
);
CREATE TABLE shop.member_contacts (
    membership_id text PRIMARY KEY CONSTRAINT contact_of_a_member REFERENCES shop.members,
    name text NOT NULL CONSTRAINT contact_name_length CHECK (length(name) BETWEEN 1 AND 200),
    email text NOT NULL CONSTRAINT contact_email_form
        CHECK (email ~ '^[^@[:space:]]+@[^@[:space:]]+$' AND length(email) <= 254)
);
CREATE SEQUENCE shop.sale_number;
CREATE TABLE shop.sales (
    sale_id text PRIMARY KEY CONSTRAINT sale_id_form CHECK (sale_id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    membership_id text NOT NULL CONSTRAINT sale_to_a_member REFERENCES shop.members,
    sold_at timestamptz NOT NULL CONSTRAINT sale_time CHECK (isfinite(sold_at)),
    total_price numeric NOT NULL DEFAULT 0,
    total_weight_kg numeric NOT NULL DEFAULT 0,
    status text NOT NULL DEFAULT 'open'
        CONSTRAINT sale_status CHECK (status IN ('open', 'packed', 'shipped', 'completed', 'cancelled')),
    CONSTRAINT sales_by_id_and_time UNIQUE (sale_id, sold_at)
);
CREATE INDEX sales_of_a_member ON shop.sales (membership_id, sold_at);
CREATE TABLE shop.sales_details (
    sale_id text NOT NULL CONSTRAINT detail_of_a_sale REFERENCES shop.sales,
    item_id text NOT NULL,
    quantity integer NOT NULL CONSTRAINT detail_quantity CHECK (quantity BETWEEN 1 AND 1000000),
    price numeric NOT NULL
        CONSTRAINT detail_price_range CHECK (price BETWEEN 0 AND 9999999999.99)
        CONSTRAINT detail_price_decimals CHECK (price = round(price, 2)),
    sold_at timestamptz NOT NULL,
    PRIMARY KEY (sale_id, item_id),
    CONSTRAINT detail_has_the_time_of_its_sale FOREIGN KEY (sale_id, sold_at) REFERENCES shop.sales (sale_id, sold_at)
);
CREATE INDEX sales_details_of_an_item ON shop.sales_details (item_id, sold_at);
COMMENT ON TABLE shop.sales IS 'One sale; total_price and total_weight_kg are kept by the database.';
COMMENT ON COLUMN shop.sales_details.price IS 'of one piece; the item''s cost at the time unless given';
COMMENT ON TABLE shop.member_contacts IS 'Personal: who a member is. No group of the shop reads it.';
"""

FUNCTIONS = """
CREATE FUNCTION shop.guard_sale() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.sale_id := coalesce(NEW.sale_id, 'sale-' || nextval('shop.sale_number'));
        NEW.sold_at := coalesce(NEW.sold_at, shop.instant());
        NEW.total_price := 0;
        NEW.total_weight_kg := 0;
        IF NEW.sold_at > shop.instant() AND isfinite(NEW.sold_at) THEN
            RAISE EXCEPTION 'Sale % lies in the future', NEW.sale_id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'sale_is_not_of_the_future';
        END IF;
        RETURN NEW;
    END IF;
    IF (NEW.sale_id, NEW.membership_id, NEW.sold_at) IS DISTINCT FROM (OLD.sale_id, OLD.membership_id, OLD.sold_at) THEN
        RAISE EXCEPTION 'Sale % keeps its id, member and time', OLD.sale_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'sale_keeps_what_it_was';
    END IF;
    -- Depth 1 is a statement of a client; the totals are written by total_sales at depth 2.
    IF pg_trigger_depth() < 2
        AND (NEW.total_price, NEW.total_weight_kg) IS DISTINCT FROM (OLD.total_price, OLD.total_weight_kg)
    THEN
        RAISE EXCEPTION 'The totals of sale % are computed', OLD.sale_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'sale_totals_are_computed';
    END IF;
    IF NEW.status <> OLD.status AND NEW.status IN ('open', 'packed', 'shipped', 'completed', 'cancelled')
        AND (OLD.status, NEW.status) NOT IN (
            ('open', 'packed'), ('packed', 'shipped'), ('shipped', 'completed'),
            ('open', 'cancelled'), ('packed', 'cancelled')
        )
    THEN
        RAISE EXCEPTION 'Sale % cannot go from % to %', OLD.sale_id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'sale_status_order';
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION shop.complete_detail() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.sold_at IS NULL THEN
        SELECT sold_at INTO NEW.sold_at FROM shop.sales WHERE sale_id = NEW.sale_id;
        IF NOT FOUND AND NEW.sale_id IS NOT NULL THEN
            RAISE EXCEPTION 'There is no sale %', NEW.sale_id
                USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'detail_of_a_sale';
        END IF;
    END IF;
    IF NEW.price IS NULL THEN
        SELECT cost INTO NEW.price FROM shop.item_versions
        WHERE item_id = NEW.item_id AND effective_date <= NEW.sold_at AND (end_date IS NULL OR NEW.sold_at < end_date);
        IF NOT FOUND THEN
            RAISE EXCEPTION 'Item % of sale % did not exist at %', NEW.item_id, NEW.sale_id, NEW.sold_at
                USING ERRCODE = 'check_violation', CONSTRAINT = 'sold_item_existed_at_its_time';
        END IF;
    END IF;
    RETURN NEW;
END $$;

-- `given` and `taken` are the rows after and before the statement; which of them there is depends on the statement.
CREATE FUNCTION shop.total_sales() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    touched text[];
    wrong record;
BEGIN
    IF TG_OP <> 'DELETE' THEN
        -- Whoever changes one of these items meanwhile waits for this sale, and takes its instant after.
        PERFORM 1 FROM shop.item_versions
        WHERE end_date IS NULL AND item_id IN (SELECT item_id FROM given) ORDER BY version_id FOR SHARE;
        SELECT g.sale_id, g.item_id, g.sold_at INTO wrong FROM given g
        WHERE NOT EXISTS (
            SELECT FROM shop.item_versions v
            WHERE v.item_id = g.item_id AND v.effective_date <= g.sold_at
              AND (v.end_date IS NULL OR g.sold_at < v.end_date)
        ) ORDER BY 1, 2 LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'Item % of sale % did not exist at %', wrong.item_id, wrong.sale_id, wrong.sold_at
                USING ERRCODE = 'check_violation', CONSTRAINT = 'sold_item_existed_at_its_time';
        END IF;
    END IF;
    IF TG_OP = 'INSERT' THEN
        touched := ARRAY(SELECT DISTINCT sale_id FROM given);
    ELSIF TG_OP = 'DELETE' THEN
        touched := ARRAY(SELECT DISTINCT sale_id FROM taken);
    ELSE
        touched := ARRAY(SELECT sale_id FROM given UNION SELECT sale_id FROM taken);
    END IF;
    -- Locked in one order and before the sums are read, so that details added at once are all counted. Not FOR UPDATE:
    -- that would wait for the foreign keys of the others' details, and they for ours.
    PERFORM 1 FROM shop.sales WHERE sale_id = ANY(touched) ORDER BY sale_id FOR NO KEY UPDATE;
    UPDATE shop.sales s SET total_price = t.price, total_weight_kg = t.weight_kg
    FROM (
        SELECT a.sale_id, coalesce(sum(d.quantity * d.price), 0) AS price,
               coalesce(sum(d.quantity * v.weight_kg), 0) AS weight_kg
        FROM unnest(touched) AS a (sale_id)
        LEFT JOIN shop.sales_details d ON d.sale_id = a.sale_id
        LEFT JOIN shop.item_versions v ON v.item_id = d.item_id AND v.effective_date <= d.sold_at
            AND (v.end_date IS NULL OR d.sold_at < v.end_date)
        GROUP BY a.sale_id
    ) t
    WHERE s.sale_id = t.sale_id AND (s.total_price, s.total_weight_kg) IS DISTINCT FROM (t.price, t.weight_kg);
    RETURN NULL;
END $$;
"""

TRIGGERS = """
CREATE TRIGGER guard_sale BEFORE INSERT OR UPDATE ON shop.sales FOR EACH ROW EXECUTE FUNCTION shop.guard_sale();
CREATE TRIGGER complete_detail BEFORE INSERT ON shop.sales_details
    FOR EACH ROW EXECUTE FUNCTION shop.complete_detail();
CREATE TRIGGER total_after_insert AFTER INSERT ON shop.sales_details REFERENCING NEW TABLE AS given
    FOR EACH STATEMENT EXECUTE FUNCTION shop.total_sales();
CREATE TRIGGER total_after_update AFTER UPDATE ON shop.sales_details REFERENCING OLD TABLE AS taken NEW TABLE AS given
    FOR EACH STATEMENT EXECUTE FUNCTION shop.total_sales();
CREATE TRIGGER total_after_delete AFTER DELETE ON shop.sales_details REFERENCING OLD TABLE AS taken
    FOR EACH STATEMENT EXECUTE FUNCTION shop.total_sales();
ALTER TABLE shop.sales ENABLE ALWAYS TRIGGER guard_sale;
ALTER TABLE shop.sales_details ENABLE ALWAYS TRIGGER complete_detail;
ALTER TABLE shop.sales_details ENABLE ALWAYS TRIGGER total_after_insert;
ALTER TABLE shop.sales_details ENABLE ALWAYS TRIGGER total_after_update;
ALTER TABLE shop.sales_details ENABLE ALWAYS TRIGGER total_after_delete;
DO $$
DECLARE
    place text;
BEGIN
    FOREACH place IN ARRAY ARRAY['members', 'member_contacts', 'sales', 'sales_details'] LOOP
        EXECUTE format('CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON shop.%I FOR EACH STATEMENT '
                       'EXECUTE FUNCTION shop.refuse(''rows_are_removed_one_by_one'')', place);
        EXECUTE format('ALTER TABLE shop.%I ENABLE ALWAYS TRIGGER refuse_truncate', place);
    END LOOP;
END $$;
RESET ROLE;
"""


def upgrade() -> None:
    """Make the four tables and what keeps their totals."""
    run(TABLES + FUNCTIONS + TRIGGERS)


def downgrade() -> None:
    """There is no way back: it would drop sales."""
    raise NotImplementedError("shop keeps every sale: restore a backup instead of downgrading")
