"""People and their groups in an LDAP directory: who somebody is, by name and password, and what groups they are in.

It rests on ldap3, over TLS with the server's certificate checked, and nothing else. A person is found by a search of a
reader, and proved by a bind with their own password; groups are read by the reader, nested ones too, anew each time, so
that a membership that was taken away is gone at the next question. Any directory is one by settings: OpenLDAP, Active
Directory, the laptop's own.

Where the directory is away nobody is let in (`DirectoryAway`), and whether a name exists is told to nobody: an unknown
name costs a bind as well. Names go into filters escaped (RFC 4515); an empty password, which LDAP takes for an
anonymous bind that succeeds, never reaches it, nor one that is empty once it is prepared.

Limits: certificates, Kerberos and SASL are not spoken; referrals are not followed.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.failures import PermanentFailure, TransientFailure, first_line

if TYPE_CHECKING:
    from ldap3 import Connection

    from resources.settings import Settings

LONGEST_NAME = 256
LONGEST_PASSWORD = 1024
MOST_GROUPS = 1000
"""More groups than these, nested ones among them, and nobody can say what somebody may do: they are refused."""
PAGE = 500
_NOBODY = "uid=nobody-of-this-name"


class DirectoryAway(TransientFailure):
    """No directory answers, or not in time: nobody can be proved, and nobody is let in."""


class DirectoryRefused(PermanentFailure):
    """The directory refuses the reader, or the settings cannot be: a person has to look."""


@dataclass(frozen=True)
class Person:
    """Somebody in the directory: their name as the directory writes it, entry, and groups by name, sorted."""

    name: str
    dn: str
    groups: tuple[str, ...]


class Directory:
    """A directory as its reader sees it.

    Args:
        settings: those whose names begin with `ldap_`.

    Raises:
        DirectoryRefused: they cannot be; says which.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hosts = _hosts(settings)

    def sign_in(self, name: str, password: str) -> Person | None:
        """The person of this name, if that is their password; None for everybody else, whatever the reason.

        Raises:
            DirectoryAway: no directory answers.
            DirectoryRefused: it refuses the reader.
        """
        if not _is_password(password) or not _is_name(name):
            return None
        with self._reader() as reader:
            entry = self._entry(reader, name)
            dn = entry["dn"] if entry is not None else f"{_NOBODY},{self._settings.ldap_base}"
            proved = self._proves(reader.server, dn, password)
            return self._person(reader, entry) if proved and entry is not None else None

    def person(self, name: str) -> Person | None:
        """The person of this name as they are now; None where there is none, or more than one.

        Raises:
            DirectoryAway, DirectoryRefused: as above.
        """
        if not _is_name(name):
            return None
        with self._reader() as reader:
            entry = self._entry(reader, name)
            return self._person(reader, entry) if entry is not None else None

    def everyone(self) -> Iterator[Person]:
        """Everybody whom ldap_user_filter finds, with a search for the groups of each; page by page (RFC 2696).

        Raises:
            DirectoryAway, DirectoryRefused: as above; what was not told by then is unknown, not gone.
        """
        settings = self._settings
        with self._reader() as reader:
            found = reader.extend.standard.paged_search(
                settings.ldap_base,
                settings.ldap_user_filter.replace("{name}", "*"),
                attributes=[settings.ldap_user_name],
                paged_size=PAGE,
                generator=False,
            )
            for entry in found:
                if entry["type"] == "searchResEntry":
                    yield self._person(reader, entry)

    def _entry(self, reader: Connection, name: str) -> dict[str, Any] | None:
        from ldap3.utils.conv import escape_filter_chars

        settings = self._settings
        asked = settings.ldap_user_filter.replace("{name}", escape_filter_chars(name))
        reader.search(settings.ldap_base, asked, attributes=[settings.ldap_user_name], size_limit=2)
        found = entries(reader)
        # Two entries of one name: nobody can say who is meant.
        return found[0] if len(found) == 1 else None

    def _person(self, reader: Connection, entry: dict[str, Any]) -> Person:
        names = entry["attributes"].get(self._settings.ldap_user_name)
        name = names[0] if isinstance(names, list) else names
        return Person(str(name), entry["dn"], tuple(sorted(self._groups(reader, entry["dn"]))))

    def _groups(self, reader: Connection, dn: str) -> set[str]:
        """Names of the groups that hold an entry, and of those that hold these; a loop ends where it began."""
        from ldap3.utils.conv import escape_filter_chars

        settings = self._settings
        names: set[str] = set()
        seen: set[str] = set()
        frontier = [dn]
        while frontier:
            asked = settings.ldap_group_filter.replace("{dn}", escape_filter_chars(frontier.pop()))
            reader.search(settings.ldap_base, asked, attributes=[settings.ldap_group_name])
            for one in entries(reader):
                if one["dn"].casefold() in seen:
                    continue
                seen.add(one["dn"].casefold())
                found = one["attributes"].get(settings.ldap_group_name)
                names.update(map(str, found if isinstance(found, list) else [found]))
                if settings.ldap_nested_groups:
                    frontier.append(one["dn"])
            if len(seen) > MOST_GROUPS:
                raise DirectoryRefused(
                    f"{dn} is in more than {MOST_GROUPS} groups, nested ones among them. Narrow ldap_group_filter, or "
                    "switch ldap_nested_groups off.",
                    {"groups": len(seen)},
                )
        return names

    def _proves(self, server: Any, dn: str, password: str) -> bool:
        from ldap3.core.exceptions import LDAPInvalidCredentialsResult, LDAPOperationResult

        connection = self._connection(server, dn, password)
        with self._named("prove somebody"):
            try:
                return bool(connection.bind())
            except LDAPInvalidCredentialsResult:
                return False
            except LDAPOperationResult as error:
                # Locked, expired, or no such object: no proof, whatever the reason. Busy and unavailable are none.
                if error.result in _AWAY:
                    raise
                return False
            finally:
                with contextlib.suppress(Exception):
                    connection.unbind()

    @contextmanager
    def _reader(self) -> Iterator[Connection]:
        """A connection bound as the reader, to the first host that answers."""
        with self._named("bind as the reader"):
            connection = self._bound(self._settings.ldap_bind_dn, _password(self._settings.ldap_credentials))
        try:
            with self._named("look somebody up"):
                yield connection
        finally:
            with contextlib.suppress(Exception):
                connection.unbind()

    def _bound(self, dn: str, password: str) -> Connection:
        from ldap3 import NONE, Server
        from ldap3.core.exceptions import LDAPCommunicationError

        settings = self._settings
        tls = tls_of(settings.ldap_ca)
        away: LDAPCommunicationError | None = None
        for host, port in self._hosts:
            server = Server(
                host, port, use_ssl=True, tls=tls, get_info=NONE, connect_timeout=settings.ldap_timeout_seconds
            )
            try:
                connection = self._connection(server, dn, password)
                connection.bind()
                return connection
            except LDAPCommunicationError as error:
                away = error
        raise away or LDAPCommunicationError("no host")

    def _connection(self, server: Any, dn: str, password: str) -> Connection:
        from ldap3 import Connection

        return Connection(
            server,
            user=dn,
            password=password,
            raise_exceptions=True,
            auto_referrals=False,
            receive_timeout=self._settings.ldap_timeout_seconds,
        )

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Give ldap3's errors our names inside a block; no message of theirs holds a password."""
        from ldap3.core.exceptions import LDAPException, LDAPOperationResult

        hosts = ", ".join(f"{host}:{port}" for host, port in self._hosts)
        try:
            yield
        except LDAPOperationResult as error:
            if error.result in _AWAY:
                raise DirectoryAway(
                    f"The directory at {hosts} is busy: tried to {what}, got {error.description}."
                ) from None
            raise DirectoryRefused(
                f"The directory at {hosts} refuses: tried to {what}, got {error.description}. Look at ldap_bind_dn, "
                "ldap_credentials and ldap_base, and at what the reader may search.",
            ) from None
        except (LDAPException, OSError) as error:
            raise DirectoryAway(
                f"The directory at {hosts} did not do it: tried to {what}, got {first_line(error)}. Is it up, and is "
                "its certificate of the authority in ldap_ca? Nobody can sign in until then.",
            ) from None


def tls_of(ca: Path | None) -> Any:
    """ldap3's TLS, where Python itself checks the server's certificate and name.

    ldap3 compares names by itself, and from Python 3.12 on by a copy that takes no address for one.

    Args:
        ca: PEM file of the authority; None for those that this machine trusts.
    """
    from ldap3 import Tls

    class Checked(Tls):
        def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
            context = ssl.create_default_context(cafile=str(ca) if ca is not None else None)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            connection.socket = context.wrap_socket(
                connection.socket, do_handshake_on_connect=do_handshake, server_hostname=connection.server.host
            )

    return Checked(validate=ssl.CERT_REQUIRED)


def entries(connection: Connection) -> list[dict[str, Any]]:
    """What the last search found: `dn` and `attributes` of each entry."""
    return [one for one in connection.response or [] if one["type"] == "searchResEntry"]


# Result codes of RFC 4511 that pass by themselves: busy, unavailable.
_AWAY = (51, 52)


def _hosts(settings: Settings) -> list[tuple[str, int]]:
    from urllib.parse import urlsplit

    found = []
    for url in settings.ldap_urls.split():
        parts = urlsplit(url)
        if parts.scheme != "ldaps" or not parts.hostname:
            raise DirectoryRefused(
                f"{url!r} is no address of a directory: ldaps://HOST or ldaps://HOST:PORT is. Without TLS passwords "
                "would travel in the clear (setting ldap_urls)."
            )
        found.append((parts.hostname, parts.port or 636))
    if not found:
        raise DirectoryRefused(
            "No directory is named: set ldap_urls to ldaps://HOST[:PORT], several with a blank between."
        )
    return found


def _password(path: Path | None) -> str:
    if path is None:
        raise DirectoryRefused(
            "The reader of the directory has no password: set ldap_credentials to a file that holds it."
        )
    try:
        return path.read_text().strip()
    except OSError as error:
        raise DirectoryRefused(f"The reader's password in {path} cannot be read: {error.strerror}.") from error


def _is_password(text: str) -> bool:
    """Whether anything of it is left when LDAP's preparation (RFC 4013) is done: soft hyphens alone are nothing."""
    from ldap3.core.exceptions import LDAPSASLPrepError
    from ldap3.protocol.sasl.sasl import validate_simple_password

    if not 0 < len(text) <= LONGEST_PASSWORD:
        return False
    try:
        return bool(validate_simple_password(text).strip())
    except LDAPSASLPrepError:
        return False


def _is_name(text: str) -> bool:
    return 0 < len(text) <= LONGEST_NAME and text.isprintable() and text == text.strip()
