"""Who may do what, arranged for people: the matrix of all roles, and one login's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg

from resources.postgres_standing import Standing
from resources.shop import shop_errors

_GROUPS = (
    "SELECT g FROM unnest(%s::text[]) AS g JOIN pg_roles ON rolname = g WHERE pg_has_role(current_user, g, 'USAGE')"
)
_OWN = """
SELECT c.relname, v, string_agg(a.attname, ', ' ORDER BY a.attnum) FILTER (WHERE NOT has_table_privilege(c.oid, v))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS v
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    AND v <> 'DELETE' AND has_column_privilege(c.oid, a.attnum, v)
WHERE n.nspname = 'shop' AND c.relkind IN ('r', 'v') AND has_schema_privilege(n.oid, 'USAGE')
GROUP BY c.oid, c.relname, v HAVING has_table_privilege(c.oid, v) OR count(a.attname) > 0
ORDER BY c.relname, array_position(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE'], v)
"""


@dataclass(frozen=True)
class Who:
    """One login: its groups, and its verbs by table, inherited ones too; a verb on columns names them."""

    login: str
    groups: tuple[str, ...]
    rights: Mapping[str, tuple[str, ...]]


def matrix(standing: Standing, schema: str) -> dict[str, dict[str, list[str]]]:
    """Verbs by role and object of one schema, as granted to the role itself; a verb on a column names it."""
    found: dict[str, dict[str, list[str]]] = {}
    for right in sorted(standing.rights):
        if right.name.startswith(f"{schema}."):
            verb = f"{right.verb}({right.column})" if right.column else right.verb
            found.setdefault(right.role, {}).setdefault(right.name, []).append(verb + "*" * right.grantable)
    return found


def who_am_i(dsn: str, groups: Sequence[str]) -> Who:
    """Ask the database who this login is, and what it may do in the shop.

    Raises:
        ShopUnavailable: PostgreSQL is away, or does not let this login in.
    """
    with shop_errors("Asking who this login is"), psycopg.connect(dsn) as connection:
        (login,) = connection.execute("SELECT session_user").fetchone() or ("",)
        own = [row[0] for row in connection.execute(_GROUPS, (list(groups),))]
        rights: dict[str, tuple[str, ...]] = {}
        for table, verb, columns in connection.execute(_OWN):
            rights[table] = (*rights.get(table, ()), f"{verb}({columns})" if columns else verb)
    return Who(login, tuple(own), rights)
