"""LDAP directories for tests: the laptop's own, and Debian's slapd where it is installed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from resources.directory import tls_of
from resources.directory_people import People
from resources.settings import Settings
from stack import ca, directory
from stack.paths import Layout
from stack.ports import choose

SLAPD = shutil.which("slapd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/lib/openldap")


@dataclass
class Running:
    """A directory that runs: its administrator, the settings of who looks people up, and its process."""

    people: People
    settings: Settings
    layout: Layout
    port: int
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


def house(folder: Path) -> tuple[Layout, int]:
    """A layout with a certificate for the directory, and a free port."""
    layout = Layout(folder)
    for one in (layout.tls, layout.secrets, layout.directory, layout.logs):
        one.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca.issue(layout, (directory.DIRECTORY,), datetime.now(UTC))
    ports, _ = choose((directory.DIRECTORY,), {}, set())
    return layout, ports[directory.DIRECTORY]


def embedded(layout: Layout, port: int) -> Running:
    """Start the laptop's own directory."""
    directory.prepare(layout, port)
    process = _started(directory.command(layout, Settings()), layout)
    people = directory.people(layout, port)
    return _ready(Running(people, _settings(layout, port), layout, port, process))


def openldap(layout: Layout, port: int) -> Running:
    """Start slapd with the same tree, and the rights that a company's would give."""
    directory.prepare(layout, port)  # for its passwords
    data = layout.directory / "data"
    data.mkdir(exist_ok=True)
    admin, reader = (path.read_text().strip() for path in (layout.directory_admin, layout.directory_reader))
    conf = layout.directory / "slapd.conf"
    schemas = "\n".join(f"include /etc/ldap/schema/{name}.schema" for name in ("core", "cosine", "inetorgperson"))
    conf.write_text(
        f"""{schemas}
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCACertificateFile {layout.ca}
TLSCertificateFile {layout.certificate(directory.DIRECTORY)}
TLSCertificateKeyFile {layout.key(directory.DIRECTORY)}
disallow bind_anon
require authc
sizelimit unlimited
database mdb
maxsize 268435456
suffix "{directory.BASE}"
rootdn "{directory.ADMIN}"
rootpw {admin}
directory {data}
index uid,cn,member eq
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{directory.READER}" read by * none
"""
    )
    conf.chmod(0o600)
    tree = f"""dn: {directory.BASE}
objectClass: top
objectClass: domain
dc: darkroom

dn: ou=people,{directory.BASE}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{directory.BASE}
objectClass: organizationalUnit
ou: groups

dn: {directory.READER}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: {reader}
"""
    assert SLAPD is not None
    add = Path(SLAPD).with_name("slapadd")
    subprocess.run([str(add), "-f", str(conf)], input=tree.encode(), check=True, capture_output=True, timeout=60)
    process = _started((SLAPD, "-f", str(conf), "-h", f"ldaps://127.0.0.1:{port}", "-d", "0"), layout)
    return _ready(Running(directory.people(layout, port), _settings(layout, port), layout, port, process))


@contextmanager
def running(kind: str, folder: Path) -> Iterator[Running]:
    """A directory with the stack's groups in it, which ends with the block."""
    layout, port = house(folder)
    found = (embedded if kind == "embedded" else openldap)(layout, port)
    try:
        found.people.ensure_groups(["sales", "analytics", "image-uploaders"])
        yield found
    finally:
        found.process.terminate()
        found.process.wait(20)


def bound(found: Running, dn: str | None, password: str | None, **options: Any) -> Any:
    """A connection of ldap3's own, bound as somebody, or as nobody; errors are ldap3's."""
    from ldap3 import NONE, Connection, Server

    tls = tls_of(found.layout.ca)
    server = Server("127.0.0.1", found.port, use_ssl=True, tls=tls, get_info=NONE, connect_timeout=5)
    connection = Connection(server, dn, password, raise_exceptions=True, receive_timeout=10, **options)
    connection.open()
    if dn is not None:
        connection.bind()
    return connection


def _settings(layout: Layout, port: int) -> Settings:
    return Settings(home=layout.home, **directory.overrides(layout, port))  # type: ignore[arg-type]


def _started(command: tuple[str, ...], layout: Layout) -> subprocess.Popen[bytes]:
    with layout.log(directory.DIRECTORY).open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def _ready(found: Running) -> Running:
    deadline = time.monotonic() + 60
    while (wrong := directory.answers(found.layout, found.port)) is not None:
        said = found.layout.log(directory.DIRECTORY).read_text()[-2000:]
        assert found.process.poll() is None and time.monotonic() < deadline, f"{wrong}\n{said}"
        time.sleep(0.1)
    return found
