"""People who log into the stack's PostgreSQL: their passwords lie in HOME/secrets, readable by the owner alone.

A person's connection string names that file (libpq's passfile) and holds no secret itself; it demands TLS with the
server's certificate checked, and channel binding, so that nobody in between can take the password's place.

Why a password and no certificate: the issuer is on this machine either way, and a password is taken back by one
statement, while a certificate of the stack's authority is good until it ends.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from access.policy import load_policy
from resources.directory import Directory, Person
from resources.shop_logins import LoginPlan, apply_logins, plan_logins
from resources.shop_people import person_name, put_person, remove_person
from stack.errors import StackError
from stack.lock import exclusively
from stack.paths import Layout, write_private
from stack.state import PLATFORM_DATABASE, load_state, stack_settings

PASSWORD_BYTES = 24


def make_person(home: Path, name: str, groups: Sequence[str]) -> str:
    """Make a login that inherits these groups, or put an existing one into them. Returns its connection string.

    A password is made where there is none on this machine.

    Raises:
        StackError: no stack there.
        LoginRefused, ShopRefused, ShopUnavailable: see put_person.
    """
    path = _passfile(home, name)
    password = None if path.is_file() else secrets.token_urlsafe(PASSWORD_BYTES)
    put_person(stack_settings(home, "admin").postgres_dsn, load_policy(), name, groups, password)
    if password is not None:
        _keep(home, name, password)
    return person_dsn(home, name)


def plan_people(home: Path) -> LoginPlan:
    """What differs between the database's logins and the directory.

    Raises:
        StackError: no stack there, or no directory.
        DirectoryAway, DirectoryRefused, ShopUnavailable: either cannot be asked.
    """
    settings = stack_settings(home, "operator")
    return plan_logins(settings.postgres_dsn, load_policy(), Directory(settings).everyone())


def sync_people(home: Path) -> LoginPlan:
    """Make the database's logins what the directory says; a new one gets a password on this machine.

    Raises:
        As above, and ShopRefused.
    """
    return settle_people(home, list(Directory(stack_settings(home, "admin")).everyone()))


def settle_people(home: Path, people: Sequence[Person]) -> LoginPlan:
    """As `sync_people`, for people who were asked for already."""
    dsn, policy = stack_settings(home, "admin").postgres_dsn, load_policy()
    # Two at once would each keep a password, and the database the other one.
    with exclusively(Layout(home.absolute()), lambda _: None, "people.lock"):
        plan = plan_logins(dsn, policy, people)
        made = {one.name: secrets.token_urlsafe(PASSWORD_BYTES) for one in plan.changes if one.new}
        for name, password in made.items():
            _keep(home, name, password)
        done = apply_logins(dsn, policy, people, made)
        for one in done.changes:
            if not one.groups:
                _passfile(home, one.name).unlink(missing_ok=True)
    return done


def end_person(home: Path, name: str) -> bool:
    """Remove a login and its password. Returns whether there was one.

    Raises:
        StackError, LoginRefused, ShopRefused, ShopUnavailable: as above.
    """
    path = _passfile(home, name)
    removed = remove_person(stack_settings(home, "admin").postgres_dsn, load_policy(), name)
    path.unlink(missing_ok=True)
    return removed


def person_dsn(home: Path, name: str) -> str:
    """A libpq connection string of a person that works as it stands.

    Raises:
        StackError: no stack there, or this home holds no password of that person.
    """
    from psycopg.conninfo import make_conninfo

    path = _passfile(home, name)
    if not path.is_file():
        raise StackError(
            f"There is no password of {name} in {path.parent}. Make the login with "
            f"`darkroom shop person {name} --group GROUP`."
        )
    layout = Layout(home.absolute())
    return make_conninfo(
        host="127.0.0.1",
        port=load_state(layout.home).ports["postgres"],
        dbname=PLATFORM_DATABASE,
        user=name,
        passfile=str(path),
        sslmode="verify-full",
        sslrootcert=str(layout.ca),
        channel_binding="require",
    )


def _keep(home: Path, name: str, password: str) -> None:
    # Any port and database: the port may be another one after a later `up`. No part needs escaping.
    write_private(_passfile(home, name), f"127.0.0.1:*:*:{name}:{password}\n")


def _passfile(home: Path, name: str) -> Path:
    return Layout(home.absolute()).secrets / f"person-{person_name(name, load_policy())}.pgpass"
