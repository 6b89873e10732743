"""The LDAP directory of a stack: people and their groups, in one small Java process that saves every change.

For a laptop, so that rights come from a directory there as they do in a company: LDAPS only, nobody asks without
having bound, no hash leaves it, and only its administrator writes (jvm/directory). Two passwords are made at the first
`up` and kept in files for the owner alone: the administrator's, and that of the reader who looks people up.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from access.policy import Policy
from resources.directory_people import People
from resources.settings import Settings
from stack.errors import StackError
from stack.kafka import as_properties, java
from stack.paths import Layout, write_private

DIRECTORY = "directory"
BASE = "dc=darkroom,dc=local"
ADMIN = f"cn=admin,{BASE}"
READER = f"cn=reader,{BASE}"
HEAP = "64m"
PASSWORD_BYTES = 24


def jars(settings: Settings) -> Path:
    """The folder with the directory's jars, which `make jars` fills."""
    return settings.jvm_root / DIRECTORY


def has_jars(settings: Settings) -> bool:
    """Whether the jars are there."""
    return any(jars(settings).glob("darkroom-directory-*.jar"))


def command(layout: Layout, settings: Settings) -> tuple[str, ...]:
    """The command line that starts the directory; its passwords are in a file that it names."""
    options = (f"-Xmx{HEAP}", "-Xms16m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-XX:TieredStopAtLevel=1")
    place = ("-cp", f"{jars(settings)}/*", "io.darkroom.directory.Directory")
    return (str(java()), *options, *place, str(_properties(layout)))


def prepare(layout: Layout, port: int) -> None:
    """Write the directory's configuration; its passwords are made once and kept."""
    layout.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    values = {
        "port": str(port),
        "base": BASE,
        "ldif": str(layout.directory / "directory.ldif"),
        "certificate": str(layout.certificate(DIRECTORY)),
        "key": str(layout.key(DIRECTORY)),
        "admin.dn": ADMIN,
        "admin.password": _password(layout.directory_admin),
        "reader.dn": READER,
        "reader.password": _password(layout.directory_reader),
    }
    write_private(_properties(layout), as_properties(values))


def furnish(layout: Layout, port: int, policy: Policy) -> None:
    """Make the groups that the policy names, where they are not there."""
    people(layout, port).ensure_groups(list(policy.groups))


def people(layout: Layout, port: int) -> People:
    """The directory as its administrator.

    Raises:
        StackError: the stack has no directory yet.
    """
    if not layout.directory_admin.is_file():
        raise StackError("This stack has no directory yet: `darkroom up` makes it.")
    return People("127.0.0.1", port, BASE, ADMIN, layout.directory_admin.read_text().strip(), layout.ca)


def answers(layout: Layout, port: int) -> str | None:
    """None where the administrator may ask, else what was wrong."""
    from resources.failures import PlatformFailure

    try:
        people(layout, port).groups()
    except (PlatformFailure, StackError) as error:
        return str(error)
    return None


def overrides(layout: Layout, port: int) -> dict[str, str]:
    """The settings of a process that looks people up there."""
    return {
        "ldap_urls": f"ldaps://127.0.0.1:{port}",
        "ldap_base": BASE,
        "ldap_bind_dn": READER,
        "ldap_credentials": str(layout.directory_reader),
        "ldap_ca": str(layout.ca),
    }


def _properties(layout: Layout) -> Path:
    return layout.directory / "directory.properties"


def _password(path: Path) -> str:
    if not path.is_file():
        write_private(path, secrets.token_urlsafe(PASSWORD_BYTES) + "\n")
    return path.read_text().strip()
