"""What stands in PostgreSQL: roles, memberships, rights, session settings, and the guards of the shop.

Read from the catalogs, which every role may read: no right on a table is needed to see who has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg

from access.postgres_grants import Right

PUBLIC = "PUBLIC"
OWNER = "shop_owner"
"""Owns what is in schema `shop`; made by the migrations, and nobody logs in as it."""

# Rights that an owner has on what is its own are left out: who owns what is a fact of its own (verb OWNER).
_RIGHTS = """
WITH placed AS (
    SELECT oid, nspname FROM pg_namespace WHERE nspname = ANY(%(schemas)s)
), found AS (
    SELECT 'database' AS kind, '' AS name, '' AS col, d.datdba AS owner, a.*
    FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
    WHERE d.datname = current_database()
    UNION ALL
    SELECT 'schema', n.nspname, '', n.nspowner, a.*
    FROM pg_namespace n JOIN placed USING (oid), aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
    UNION ALL
    SELECT 'table', p.nspname || '.' || c.relname, '', c.relowner, a.*
    FROM pg_class c JOIN placed p ON p.oid = c.relnamespace,
         aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) a
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT 'column', p.nspname || '.' || c.relname, t.attname, c.relowner, a.*
    FROM pg_class c JOIN placed p ON p.oid = c.relnamespace JOIN pg_attribute t ON t.attrelid = c.oid,
         aclexplode(t.attacl) a
    WHERE NOT t.attisdropped
    UNION ALL
    SELECT 'function', p.nspname || '.' || f.proname || '(' || oidvectortypes(f.proargtypes) || ')', '', f.proowner, a.*
    FROM pg_proc f JOIN placed p ON p.oid = f.pronamespace,
         aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a
)
SELECT coalesce(r.rolname, 'PUBLIC'), kind, name, privilege_type, col, is_grantable
FROM found LEFT JOIN pg_roles r ON r.oid = grantee WHERE grantee <> owner
UNION
SELECT r.rolname, kind, name, 'OWNER', col, false
FROM found JOIN pg_roles r ON r.oid = owner
WHERE kind <> 'database' AND NOT r.rolsuper AND r.rolname <> %(owner)s
"""
_DEFAULTS = """
SELECT o.rolname, coalesce(n.nspname, ''), coalesce(g.rolname, 'PUBLIC'), d.defaclobjtype::text
FROM pg_default_acl d JOIN pg_roles o ON o.oid = d.defaclrole LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace,
     aclexplode(d.defaclacl) a LEFT JOIN pg_roles g ON g.oid = a.grantee
WHERE a.grantee <> d.defaclrole AND (n.nspname IS NULL OR n.nspname = ANY(%(schemas)s))
UNION
SELECT r.rolname, '', 'PUBLIC', 'f' FROM pg_roles r
WHERE r.rolname = %(owner)s AND NOT EXISTS (
    SELECT FROM pg_default_acl d WHERE d.defaclrole = r.oid AND d.defaclnamespace = 0 AND d.defaclobjtype = 'f'
)
"""
_ROLES = """
SELECT rolname, rolcanlogin, rolinherit, rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%%'
"""
_MEMBERS = """
SELECT r.rolname, m.rolname, g.rolname, bool_or(a.admin_option)
FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
JOIN pg_roles g ON g.oid = a.grantor WHERE m.rolname NOT LIKE 'pg\\_%%' GROUP BY 1, 2, 3
"""
_SETTINGS = """
SELECT r.rolname, s.setdatabase <> 0, split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)
FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) AS c
WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
_UNGUARDED = """
SELECT n.nspname || '.' || c.relname, t.tgname
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'shop' AND c.relkind = 'r' AND NOT t.tgisinternal AND t.tgenabled <> 'A'
"""


@dataclass(frozen=True, order=True)
class DefaultRight:
    """What a role grants by itself on everything it makes: `types` is PostgreSQL's letter (r, S, f, T, n)."""

    maker: str
    schema: str
    role: str
    types: str


@dataclass(frozen=True, order=True)
class Membership:
    """`member` has the rights of `role`; `grantor` said so; with `admin` it may pass them on."""

    role: str
    member: str
    grantor: str
    admin: bool


@dataclass(frozen=True, order=True)
class RoleFacts:
    """A role as it stands; `powers`: superuser, may make roles or databases, replicates, or passes row rules."""

    login: bool
    inherit: bool
    powers: bool


@dataclass(frozen=True, order=True)
class Setting:
    """A session setting of a role, in this database alone or in every one."""

    role: str
    here: bool
    name: str
    value: str


@dataclass(frozen=True)
class Standing:
    """Everything that is compared with the policy."""

    database: str
    rights: frozenset[Right]
    defaults: frozenset[DefaultRight]
    roles: Mapping[str, RoleFacts]
    memberships: frozenset[Membership]
    settings: frozenset[Setting]
    unguarded: frozenset[tuple[str, str]]

    def people(self, groups: Sequence[str], services: Sequence[str]) -> dict[str, list[str]]:
        """The groups of every person, by name: a login of no service that is a member of a group."""
        found: dict[str, list[str]] = {}
        for one in sorted(self.memberships):
            facts = self.roles.get(one.member)
            if one.role in groups and one.member not in services and facts is not None and facts.login:
                found.setdefault(one.member, []).append(one.role)
        return {name: sorted(set(of)) for name, of in found.items()}


def read_standing(connection: psycopg.Connection, schemas: Sequence[str]) -> Standing:
    """Read what stands in this connection's database.

    Args:
        schemas: whose objects to look at.
    """
    given = {"schemas": list(schemas), "owner": OWNER}
    rights = set()
    for role, kind, name, verb, column, grantable in connection.execute(_RIGHTS, given):
        rights.add(Right(role, kind, name, verb, column))
        if grantable:
            rights.add(Right(role, kind, name, verb, column, grantable=True))
    database = connection.execute("SELECT current_database()").fetchone()
    return Standing(
        database=database[0] if database else "",
        rights=frozenset(rights),
        defaults=frozenset(DefaultRight(*row) for row in connection.execute(_DEFAULTS, given)),
        roles={name: RoleFacts(*facts) for name, *facts in connection.execute(_ROLES, {})},
        memberships=frozenset(Membership(*row) for row in connection.execute(_MEMBERS, {})),
        settings=frozenset(Setting(*row) for row in connection.execute(_SETTINGS)),
        unguarded=frozenset((name, trigger) for name, trigger in connection.execute(_UNGUARDED)),
    )
