"""Who may do what: tried on the running database for every role, table, verb and column; and drift that is found."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from access.policy import Policy, load_policy
from access.postgres_grants import rights, roles
from resources.postgres_roles import PostgresRoles, RightsRefused
from tests.live_stack import LiveStack
from tests.resources.shop.conftest import database

pytestmark = pytest.mark.stack
POLICY = load_policy()
FOUR = ("items", "members", "sales", "sales_details")
NO_RIGHTS = ("mlflow", "PUBLIC")
ROLES = [*(role.name for role in roles(POLICY)), *NO_RIGHTS]

# Written by hand, beside the policy: a slip in policy.yaml must not be proved by itself.
GROUPS = {
    "logistics": {(table, "SELECT", None) for table in FOUR} | {("sales", "UPDATE", "status")},
    "analytics": {(table, "SELECT", None) for table in FOUR},
    "sales": {(table, "SELECT", None) for table in FOUR}
    | {("items", verb, None) for verb in ("INSERT", "UPDATE", "DELETE")},
}
MUST_EXIST = {*FOUR, "item_versions", "member_contacts", "changes", "alembic_version", "made_later"}


@pytest.fixture(scope="module")
def furnished(admin: str) -> Iterator[str]:
    """A shop as `up` makes it, to which its owner has added a table and a function since."""
    from resources.postgres import upgrade

    with database(admin) as dsn:
        upgrade(dsn)
        PostgresRoles(dsn, POLICY).apply()
        with psycopg.connect(dsn) as connection:
            connection.execute("SET ROLE shop_owner")
            connection.execute("CREATE TABLE shop.made_later (secret text, other integer)")
            connection.execute("CREATE FUNCTION shop.made_later() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        yield dsn


@pytest.fixture
def connection(furnished: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(furnished) as connection:
        yield connection
        connection.rollback()


def become(connection: psycopg.Connection, role: str) -> None:
    """From here on this session is `role`, in every respect that rights know. PUBLIC is a login without any."""
    if role == "PUBLIC":
        connection.execute("CREATE ROLE nobody_in_particular")
        role = "nobody_in_particular"
    connection.execute(f'SET LOCAL SESSION AUTHORIZATION "{role}"')


def may(connection: psycopg.Connection, statement: str) -> bool:
    """Whether the statement is not refused for want of a right; what else it may break does not matter here."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except (
        psycopg.errors.InsufficientPrivilege,
        # TRUNCATE of a view, or an INSERT into one of its computed columns: not to be had by any right.
        psycopg.errors.WrongObjectType,
        psycopg.errors.FeatureNotSupported,
        psycopg.errors.ObjectNotInPrerequisiteState,
    ):
        return False
    except (psycopg.IntegrityError, psycopg.errors.GeneratedAlways):
        return True
    return True


def tried(connection: psycopg.Connection, table: str, columns: list[str]) -> set[tuple[str, str, str | None]]:
    """Everything that was let through: verbs on the whole table, and on single columns."""
    found: set[tuple[str, str, str | None]] = set()
    by_column = {
        "SELECT": "SELECT {column} FROM shop.{table} LIMIT 0",
        "INSERT": "INSERT INTO shop.{table} ({column}) VALUES (DEFAULT)",
        "UPDATE": "UPDATE shop.{table} SET {column} = DEFAULT",
    }
    for verb, statement in by_column.items():
        let = [
            one
            for one in columns
            if may(connection, statement.format(table=table, column=f'"{one}"'))
            # A view's rules refuse some statements, with other errors, before rights are looked at.
            and held(connection, "column", table, one, verb)
        ]
        found |= {(table, verb, None)} if let == columns else {(table, verb, one) for one in let}
    if may(connection, f"DELETE FROM shop.{table}"):
        found.add((table, "DELETE", None))
    if table != "items" and may(connection, f"TRUNCATE shop.{table}"):
        found.add((table, "TRUNCATE", None))
    for verb in ("REFERENCES", "TRIGGER", "MAINTAIN"):
        if held(connection, "table", table, verb):
            found.add((table, verb, None))
    return found


def held(connection: psycopg.Connection, kind: str, table: str, *what: str) -> bool:
    """What the catalogue says of a right."""
    asked = ", ".join(["%s"] * len(what))
    query = f"SELECT has_{kind}_privilege('shop.' || %s, {asked})"
    return connection.execute(query, (table, *what)).fetchone() == (True,)


def tables(connection: psycopg.Connection) -> dict[str, list[str]]:
    query = """
    SELECT c.relname, array_agg(a.attname ORDER BY a.attnum)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    WHERE c.relnamespace = 'shop'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p', 'f') GROUP BY 1
    """
    return dict(connection.execute(query).fetchall())


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_the_policy_says_and_nothing_else(connection: psycopg.Connection, role: str):
    """Every table x verb x column; what is not said is refused, on a table that was made later too."""
    every = tables(connection)
    assert set(every) >= MUST_EXIST
    said = {
        (right.name.removeprefix("shop."), right.verb, right.column or None)
        for right in rights(POLICY)
        if right.role == role and right.kind in ("table", "column") and right.name.startswith("shop.")
    }
    assert role not in GROUPS or said == GROUPS[role]
    become(connection, role)
    may_use = connection.execute("SELECT has_schema_privilege('shop', 'USAGE')").fetchone() == (True,)
    assert may_use == bool(said)
    found = {one for table, columns in every.items() if may_use for one in tried(connection, table, columns)}
    assert found == said


@pytest.mark.parametrize("role", ROLES)
def test_a_role_calls_the_functions_of_the_policy_and_no_others(connection: psycopg.Connection, role: str):
    query = """
    SELECT 'shop.' || proname || '(' || oidvectortypes(proargtypes) || ')', oid FROM pg_proc
    WHERE pronamespace = 'shop'::regnamespace
    """
    every = dict(connection.execute(query).fetchall())
    assert {"shop.made_later()", "shop.next_instant(text)"} <= set(every)
    become(connection, role)
    may_call = "SELECT has_schema_privilege('shop', 'USAGE') AND has_function_privilege(%s::oid, 'EXECUTE')"
    found = {name for name, oid in every.items() if connection.execute(may_call, (oid,)).fetchone() == (True,)}
    assert found == {right.name for right in rights(POLICY) if right.role == role and right.kind == "function"}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE shop.mine ()",
        "CREATE TABLE public.mine ()",
        "CREATE TEMPORARY TABLE mine ()",
        "CREATE SCHEMA mine",
        "SET ROLE shop_owner",
        "ALTER TABLE shop.item_versions DISABLE TRIGGER ALL",
        "SET session_replication_role = replica",
        "DROP VIEW shop.items",
    ],
)
def test_nobody_makes_or_switches_off_anything(connection: psycopg.Connection, role: str, statement: str):
    become(connection, role)
    assert not may(connection, statement)


@pytest.mark.parametrize("group", sorted(POLICY.groups))
def test_nobody_logs_in_as_a_group(stack: LiveStack, group: str):
    dsn = psycopg.conninfo.make_conninfo(stack.settings("operator").postgres_dsn, user=group)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)


def test_without_tls_nobody_gets_in(stack: LiveStack):
    dsn = psycopg.conninfo.make_conninfo(stack.settings("operator").postgres_dsn, sslmode="disable")
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(dsn)


def test_a_second_plan_is_empty(furnished: str):
    assert PostgresRoles(furnished, POLICY).apply() == ()
    assert PostgresRoles(furnished, POLICY).plan() == ()


DRIFT = {
    "a right too many": ("GRANT INSERT ON shop.sales TO analytics", "analytics has INSERT on table shop.sales"),
    "a right on a column": (
        "GRANT UPDATE (total_price) ON shop.sales TO logistics",
        "logistics has UPDATE (total_price) on table shop.sales",
    ),
    "a right on everything where one column is meant": (
        "GRANT UPDATE ON shop.sales TO logistics",
        "logistics has UPDATE on table shop.sales",
    ),
    "a right of everybody": (
        "GRANT SELECT ON shop.member_contacts TO PUBLIC",
        "PUBLIC has SELECT on table shop.member",
    ),
    "a right that may be passed on": (
        "GRANT SELECT ON shop.items TO sales WITH GRANT OPTION",
        "sales may pass on SELECT on table shop.items",
    ),
    "a function": (
        "GRANT EXECUTE ON FUNCTION shop.next_instant(text) TO sales",
        "sales has EXECUTE on function shop.next_instant(text)",
    ),
    "a sequence": ("GRANT USAGE ON SEQUENCE shop.sale_number TO sales", "sales has USAGE on table shop.sale_number"),
    "the schema": ("GRANT CREATE ON SCHEMA shop TO sales", "sales has CREATE on schema shop"),
    "the database": ("GRANT TEMPORARY ON DATABASE {database} TO PUBLIC", "PUBLIC has TEMPORARY on database"),
    "a right too few": ("REVOKE SELECT ON shop.items FROM sales", "sales lacks SELECT on table shop.items"),
    "a column's right too few": (
        "REVOKE UPDATE (status) ON shop.sales FROM logistics",
        "logistics lacks UPDATE (status) on table shop.sales",
    ),
    "a default right": (
        "ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner IN SCHEMA shop GRANT SELECT ON TABLES TO analytics",
        "analytics would have rights on all tables that shop_owner makes in shop",
    ),
    "functions for everybody again": (
        "ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner GRANT EXECUTE ON FUNCTIONS TO PUBLIC",
        "PUBLIC would have rights on all functions that shop_owner makes",
    ),
    "an owner": ("ALTER TABLE shop.made_later OWNER TO sales", "sales owns table shop.made_later"),
    "a trigger switched off": (
        "ALTER TABLE shop.item_versions DISABLE TRIGGER guard_history",
        "trigger guard_history of shop.item_versions is not always on",
    ),
    "a time-out": (
        "ALTER ROLE sales IN DATABASE {database} SET statement_timeout = 0",
        "sales does not begin with statement_timeout = 30s",
    ),
    "a setting of its own": (
        "ALTER ROLE sales IN DATABASE {database} SET work_mem = '1GB'",
        "sales has work_mem = 1GB of its own",
    ),
    "a path": (
        "ALTER ROLE sales IN DATABASE {database} RESET search_path",
        "sales does not begin with search_path = shop, pg_temp",
    ),
}


@pytest.mark.parametrize("drift", DRIFT)
def test_drift_is_found_named_and_put_right(furnished: str, drift: str):
    statement, sentence = DRIFT[drift]
    roles = PostgresRoles(furnished, POLICY)
    with psycopg.connect(furnished, autocommit=True) as connection:
        connection.execute(statement.format(database=connection.info.dbname))
    (found, *others) = [one for one in roles.drift() if one.startswith(sentence)]
    assert others == []
    assert found in {change.sentence for change in roles.apply()}
    assert roles.plan() == ()


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        ("ALTER ROLE sales CREATEDB", "role sales is not one that does not log in"),
        ("ALTER ROLE shop SUPERUSER", "role shop is not one that logs in, inherits and has no powers"),
        ("GRANT shop_owner TO streams", "streams is a member of shop_owner"),
        ("GRANT pg_read_all_data TO analytics", "analytics is a member of pg_read_all_data"),
        ("GRANT sales TO dagster", "dagster is a member of sales"),
        ("GRANT sales TO logistics", "logistics is a member of sales"),
    ],
)
def test_powers_and_memberships_of_the_whole_server_are_found_and_put_right(furnished: str, made: str, sentence: str):
    roles = PostgresRoles(furnished, POLICY)
    with psycopg.connect(furnished, autocommit=True) as connection:
        connection.execute(made)
    try:
        assert [one for one in roles.drift() if one.startswith(sentence)]
    finally:
        roles.apply()
    assert roles.plan() == ()


def test_a_right_that_the_policy_no_longer_says_goes(furnished: str):
    less = POLICY.model_dump(by_alias=True)
    less["groups"]["sales"]["postgres"] = less["groups"]["sales"]["postgres"][1:]
    try:
        done = PostgresRoles(furnished, Policy.model_validate(less)).apply()
        assert {"sales has DELETE on table shop.items, which the policy does not say"} < {one.sentence for one in done}
    finally:
        PostgresRoles(furnished, POLICY).apply()


def test_who_may_not_apply_is_told_and_nothing_is_changed(furnished: str, stack: LiveStack):
    name = psycopg.conninfo.conninfo_to_dict(furnished)["dbname"]
    low = psycopg.conninfo.make_conninfo(stack.settings("shop").postgres_dsn, dbname=name)
    with psycopg.connect(furnished, autocommit=True) as connection:
        connection.execute("GRANT INSERT ON shop.sales TO analytics")
    assert len(PostgresRoles(low, POLICY).plan()) == 1
    with pytest.raises(RightsRefused, match=r"taken back whole: analytics has INSERT.*`darkroom up`"):
        PostgresRoles(low, POLICY).apply()
    assert len(PostgresRoles(furnished, POLICY).apply()) == 1


def test_the_running_stack_has_the_rights_of_the_policy(stack: LiveStack):
    assert PostgresRoles(stack.settings("shop").postgres_dsn, POLICY).drift() == ()
