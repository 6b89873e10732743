"""The laptop's own directory, as its administrator writes it: people with a password, and the groups they are in.

Entries are plain LDAP: `inetOrgPerson` under ou=people, `groupOfNames` under ou=groups. A company's directory is kept
by the company, and nothing here reaches it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from access.principal import PERSON_NAME, PERSON_NAME_SAID, check_names
from resources.directory import DirectoryAway, entries, tls_of
from resources.failures import PermanentFailure, first_line

if TYPE_CHECKING:
    from ldap3 import Connection

SHORTEST_PASSWORD = 8


class PersonRefused(PermanentFailure):
    """A name, group or password that may not be, or somebody who is not there."""


class People:
    """The directory of one base, written as its administrator.

    Every method raises DirectoryAway where it does not answer.
    """

    def __init__(self, host: str, port: int, base: str, admin_dn: str, password: str, ca: Path) -> None:
        self._address = (host, port)
        self._base = base
        self._admin = (admin_dn, password)
        self._ca = ca

    def ensure_groups(self, groups: Sequence[str]) -> list[str]:
        """Make the groups that are not there yet; returns their names."""
        with self._bound() as ldap:
            there = set(self._groups(ldap))
            made = [name for name in groups if name not in there]
            for name in made:
                # A groupOfNames has at least one member: the group's own entry stands for nobody.
                ldap.add(self._group(name), ["groupOfNames"], {"cn": name, "member": self._group(name)})
            return made

    def put(self, name: str, groups: Sequence[str] | None, password: str | None) -> bool:
        """Make somebody, or put them into exactly these groups, with another password if one is given.

        Args:
            groups: None leaves them as they are, which is none for somebody new.

        Returns:
            Whether they are new.

        Raises:
            PersonRefused: the name may not be, a group is none, or somebody new has no password.
        """
        from ldap3 import MODIFY_REPLACE

        _check(name, password)
        with self._bound() as ldap:
            self._insist_on(ldap, groups or ())
            new = name not in self._people(ldap)
            if new and password is None:
                raise PersonRefused(f"{name} is new and needs a password.")
            if new:
                given = {"uid": name, "cn": name, "sn": name, "userPassword": password}
                ldap.add(self._person(name), ["inetOrgPerson"], given)
            elif password is not None:
                ldap.modify(self._person(name), {"userPassword": [(MODIFY_REPLACE, [password])]})
            if groups is not None:
                self._settle(ldap, name, groups)
            return new

    def remove(self, name: str) -> bool:
        """Take somebody out of every group and out of the directory; whether they were there."""
        with self._bound() as ldap:
            if name not in self._people(ldap):
                return False
            self._settle(ldap, name, ())
            ldap.delete(self._person(name))
            return True

    def everyone(self) -> dict[str, tuple[str, ...]]:
        """Everybody by name, with the groups they are directly in."""
        with self._bound() as ldap:
            groups = self._groups(ldap)
            return {
                name: tuple(sorted(group for group, members in groups.items() if self._person(name) in members))
                for name in sorted(self._people(ldap))
            }

    def groups(self) -> dict[str, int]:
        """The groups by name, and how many people each has."""
        with self._bound() as ldap:
            return {name: len(members - {self._group(name)}) for name, members in sorted(self._groups(ldap).items())}

    def _settle(self, ldap: Connection, name: str, groups: Sequence[str]) -> None:
        from ldap3 import MODIFY_ADD, MODIFY_DELETE

        who = self._person(name)
        for group, members in self._groups(ldap).items():
            if (who in members) != (group in groups):
                how = MODIFY_DELETE if who in members else MODIFY_ADD
                ldap.modify(self._group(group), {"member": [(how, [who])]})

    def _insist_on(self, ldap: Connection, groups: Sequence[str]) -> None:
        there = self._groups(ldap)
        if unknown := [group for group in groups if group not in there]:
            raise PersonRefused(f"No group is named {unknown[0]!r}. Valid ones: {', '.join(sorted(there))}.")

    def _people(self, ldap: Connection) -> set[str]:
        ldap.search(f"ou=people,{self._base}", "(objectClass=inetOrgPerson)", attributes=["uid"])
        return {one["attributes"]["uid"][0] for one in entries(ldap)}

    def _groups(self, ldap: Connection) -> dict[str, set[str]]:
        ldap.search(f"ou=groups,{self._base}", "(objectClass=groupOfNames)", attributes=["cn", "member"])
        return {one["attributes"]["cn"][0]: set(one["attributes"]["member"]) for one in entries(ldap)}

    def _person(self, name: str) -> str:
        return f"uid={name},ou=people,{self._base}"

    def _group(self, name: str) -> str:
        return f"cn={name},ou=groups,{self._base}"

    @contextmanager
    def _bound(self) -> Iterator[Connection]:
        from ldap3 import NONE, Connection, Server
        from ldap3.core.exceptions import LDAPException

        host, port = self._address
        server = Server(host, port, use_ssl=True, tls=tls_of(self._ca), get_info=NONE, connect_timeout=5)
        connection = Connection(server, *self._admin, raise_exceptions=True, receive_timeout=30)
        try:
            connection.bind()
            yield connection
        except (LDAPException, OSError) as error:
            raise DirectoryAway(
                f"The directory at ldaps://{host}:{port} did not do it: {first_line(error)}. `darkroom status` shows "
                "whether it runs, `darkroom logs directory` why not."
            ) from None
        finally:
            with contextlib.suppress(Exception):
                connection.unbind()


def _check(name: str, password: str | None) -> None:
    if PERSON_NAME.fullmatch(name) is None:
        raise PersonRefused(f"{name!r} is no name: {PERSON_NAME_SAID}.")
    try:
        check_names(name, [])
    except ValueError as error:
        raise PersonRefused(str(error)) from None
    if password is not None and len(password) < SHORTEST_PASSWORD:
        raise PersonRefused(f"A password has at least {SHORTEST_PASSWORD} characters; this one has {len(password)}.")
