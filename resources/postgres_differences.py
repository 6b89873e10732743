"""What differs between the policy and what stands in PostgreSQL: each difference a sentence and a statement.

Pure: two descriptions in, changes out, in the order in which they can be put right. Names go into statements as
identifiers; the few words that are put in as they are come from this module, the policy's model, or the catalogs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from psycopg import sql

from access.policy import Policy
from access.postgres_grants import Right, Role, rights, roles, session_settings
from resources.postgres_standing import OWNER, PUBLIC, Membership, RoleFacts, Setting, Standing

_DEFAULT_TYPES = {"r": "TABLES", "S": "SEQUENCES", "f": "FUNCTIONS", "T": "TYPES", "n": "SCHEMAS"}


@dataclass(frozen=True)
class Change:
    """One difference: a sentence for people, and the statement that takes it away."""

    sentence: str
    statement: sql.Composed


def differences(policy: Policy, standing: Standing) -> Iterator[Change]:
    """What differs between the policy and what stands, in the order in which it can be put right."""
    wanted = roles(policy)
    people = standing.people(list(policy.database_groups), list(policy.identities))
    settings = {role.name: role.settings for role in wanted} | _of_people(policy, people)
    yield from _roles([*wanted, *(Role(person, True) for person in people), Role(OWNER, False)], standing)
    yield from _memberships(policy, people, standing)
    yield from _owners(standing)
    yield from _rights(rights(policy), standing)
    yield from _defaults(standing)
    yield from _settings(settings, standing)
    for table, trigger in sorted(standing.unguarded):
        yield Change(
            f"trigger {trigger} of {table} is not always on",
            sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}").format(_table(table), sql.Identifier(trigger)),
        )


def person_sessions(policy: Policy, standing: Standing, person: str) -> Iterator[Change]:
    """What one person's sessions should begin with and do not."""
    people = standing.people(list(policy.database_groups), list(policy.identities))
    yield from _settings({person: _of_people(policy, people).get(person, ())}, standing)


def _of_people(policy: Policy, people: dict[str, list[str]]) -> dict[str, tuple[tuple[str, str], ...]]:
    return {
        person: session_settings(policy.groups[group].session for group in groups) for person, groups in people.items()
    }


def _roles(wanted: Sequence[Role], standing: Standing) -> Iterator[Change]:
    for role in wanted:
        kind = sql.SQL("LOGIN" if role.login else "NOLOGIN")
        facts = standing.roles.get(role.name)
        if facts is None:
            yield Change(
                f"role {role.name} is missing", sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(role.name), kind)
            )
        elif facts != RoleFacts(login=role.login, inherit=True, powers=False):
            said = "logs in" if role.login else "does not log in"
            yield Change(
                f"role {role.name} is not one that {said}, inherits and has no powers",
                sql.SQL(
                    "ALTER ROLE {} {} INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
                ).format(sql.Identifier(role.name), kind),
            )


def _memberships(policy: Policy, people: dict[str, list[str]], standing: Standing) -> Iterator[Change]:
    ours = {*policy.database_groups, *policy.identities, *people, OWNER}
    for one in sorted(standing.memberships):
        concerns = one.role.startswith("pg_") or one.role in ours or one.member in ours
        if concerns and not (one.role in policy.database_groups and one.member in people):
            yield Change(f"{one.member} is a member of {one.role}", _revoke_membership(one, ""))
        elif concerns and one.admin:
            yield Change(f"{one.member} may put others into {one.role}", _revoke_membership(one, "ADMIN OPTION FOR "))


def _revoke_membership(one: Membership, what: str) -> sql.Composed:
    names = (sql.Identifier(name) for name in (one.role, one.member, one.grantor))
    return sql.SQL("REVOKE {}{} FROM {} GRANTED BY {} CASCADE").format(_word(what), *names)


def _owners(standing: Standing) -> Iterator[Change]:
    for right in sorted(standing.rights):
        if right.verb == "OWNER" and right.kind != "column":
            yield Change(
                f"{right.role} owns {right.kind} {right.name}",
                sql.SQL("ALTER {} OWNER TO {}").format(_object(right, standing), sql.Identifier(OWNER)),
            )


def _rights(wanted: frozenset[Right], standing: Standing) -> Iterator[Change]:
    held = {right for right in standing.rights if right.verb != "OWNER"}
    # What is revoked first may be granted after: revoking a table's right takes its columns' along.
    for right in sorted(held - wanted, key=lambda one: (one.kind == "column", one)):
        option = sql.SQL("GRANT OPTION FOR ") if right.grantable else sql.SQL("")
        said = "may pass on" if right.grantable else "has"
        yield Change(
            f"{right.role} {said} {_said(right)}, which the policy does not say",
            sql.SQL("REVOKE {}{} ON {} FROM {} CASCADE").format(
                option, _verb(right), _object(right, standing), _grantee(right.role)
            ),
        )
    taken = {(right.role, right.name, right.verb) for right in held - wanted if right.kind == "table"}
    for right in sorted(wanted):
        again = right.kind == "column" and (right.role, right.name, right.verb) in taken
        if right not in held or again:
            yield Change(
                f"{right.role} lacks {_said(right)}",
                sql.SQL("GRANT {} ON {} TO {}").format(_verb(right), _object(right, standing), _grantee(right.role)),
            )


def _defaults(standing: Standing) -> Iterator[Change]:
    for one in sorted(standing.defaults):
        types = _DEFAULT_TYPES[one.types]
        where = sql.SQL("IN SCHEMA {} ").format(sql.Identifier(one.schema)) if one.schema else sql.SQL("")
        yield Change(
            f"{one.role} would have rights on all {types.lower()} that {one.maker} makes"
            + (f" in {one.schema}" if one.schema else ""),
            sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} {}REVOKE ALL ON {} FROM {}").format(
                sql.Identifier(one.maker), where, _word(types), _grantee(one.role)
            ),
        )


def _settings(wanted: dict[str, tuple[tuple[str, str], ...]], standing: Standing) -> Iterator[Change]:
    held = {one for one in standing.settings if one.role in wanted}
    right = {Setting(role, True, name, value) for role, given in wanted.items() for name, value in given}
    named = {(one.role, one.name) for one in right}
    for one in sorted(held - right):
        # A setting of the right name in this database is put right below, by the value that replaces it.
        if not one.here or (one.role, one.name) not in named:
            yield Change(
                f"{one.role} has {one.name} = {one.value} of its own",
                sql.SQL("ALTER ROLE {} {}RESET {}").format(
                    sql.Identifier(one.role), _in_database(standing, one.here), sql.Identifier(one.name)
                ),
            )
    for one in sorted(right - held):
        values = one.value.split(", ") if one.name == "search_path" else [one.value]
        yield Change(
            f"{one.role} does not begin with {one.name} = {one.value}",
            sql.SQL("ALTER ROLE {} {}SET {} TO {}").format(
                sql.Identifier(one.role),
                _in_database(standing, True),
                sql.Identifier(one.name),
                sql.SQL(", ").join(sql.Literal(value) for value in values),
            ),
        )


def _in_database(standing: Standing, here: bool) -> sql.Composable:
    return sql.SQL("IN DATABASE {} ").format(sql.Identifier(standing.database)) if here else sql.SQL("")


def _said(right: Right) -> str:
    column = f" ({right.column})" if right.column else ""
    return f"{right.verb}{column} on {right.kind if right.kind != 'column' else 'table'} {right.name}".rstrip()


def _verb(right: Right) -> sql.Composable:
    if right.kind != "column":
        return _word(right.verb)
    return sql.SQL("{} ({})").format(_word(right.verb), sql.Identifier(right.column))


def _word(text: str) -> sql.Composable:
    """A word of the language itself: of this module, of the policy's model, or of PostgreSQL's own catalogs."""
    if not all(part.isalpha() for part in text.split()):
        raise ValueError(f"{text!r} is no word of SQL")
    return sql.SQL(text)  # pyrefly: ignore[bad-argument-type]


def _table(name: str) -> sql.Identifier:
    schema, _, table = name.partition(".")
    return sql.Identifier(schema, table)


def _object(right: Right, standing: Standing) -> sql.Composed:
    if right.kind == "database":
        return sql.SQL("DATABASE {}").format(sql.Identifier(standing.database))
    if right.kind == "schema":
        return sql.SQL("SCHEMA {}").format(sql.Identifier(right.name))
    if right.kind == "function":
        schema, _, rest = right.name.partition(".")
        function, _, arguments = rest.partition("(")
        types = [part for part in arguments.removesuffix(")").split(", ") if part]
        return sql.SQL("FUNCTION {}({})").format(
            sql.Identifier(schema, function), sql.SQL(", ").join(_type(part) for part in types)
        )
    return sql.SQL("TABLE {}").format(_table(right.name))


def _type(name: str) -> sql.Composable:
    """A type as PostgreSQL itself spells it; quoted names of types pass as they are."""
    return sql.SQL(name)  # pyrefly: ignore[bad-argument-type]


def _grantee(role: str) -> sql.Composable:
    return sql.SQL("PUBLIC") if role == PUBLIC else sql.Identifier(role)
