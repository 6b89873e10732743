"""PostgreSQL 17 of the stack: made, configured, its roles and databases.

TCP on loopback only, TLS 1.3 only. Services log in by certificate, and pg_ident.conf says which common name may log in
as which role; the superuser `postgres` is the identity `admin`. People, the members of a group of the policy, log in by
SCRAM: a password is taken back with one statement, and a certificate of the stack's authority is not
(docs/security.md). There is no Unix socket: nothing needs one, and its folder would have to be open to two accounts.
"""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

import psycopg
from psycopg import sql

from access.policy import Policy
from resources.postgres import upgrade
from resources.postgres_roles import PostgresRoles
from stack.errors import StackError
from stack.paths import Layout
from stack.postgres_place import run_as
from stack.processes import postgres_in
from stack.state import DAGSTER_DATABASE, MLFLOW_DATABASE, PLATFORM_DATABASE, ROLES, PostgresPlace, postgres_dsn

LOGINS = ("admin", "uploads", "streams", "dagster", "mlflow", "operator", "shop", "signin", "upkeep")

CONFIGURATION = """\
# Written by `darkroom up`, anew each time.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 200
shared_buffers = 64MB
ssl = on
ssl_ca_file = 'tls/ca.crt'
ssl_cert_file = 'tls/server.crt'
ssl_key_file = 'tls/server.key'
ssl_min_protocol_version = 'TLSv1.3'
hba_file = '{data}/pg_hba.conf'
ident_file = '{data}/pg_ident.conf'
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%u@%d '
# Connections are many and say nothing.
log_checkpoints = off
# No value of a statement may reach a log.
log_parameter_max_length_on_error = 0
log_min_error_statement = panic
# Nor of a row: DETAIL of a broken rule would show it whole.
log_error_verbosity = terse
"""
HBA = """\
# Written by `darkroom up`, anew each time. TYPE DATABASE USER ADDRESS METHOD
{people}hostssl all all 127.0.0.1/32 cert map=identities
"""


def prepare(layout: Layout, place: PostgresPlace, port: int, policy: Policy) -> None:
    """Make the data directory if there is none, and write its configuration. Called while no server runs.

    Raises:
        StackError: initdb failed; with what it said.
    """
    data = place.data
    if not (data / "PG_VERSION").is_file():
        _initialise(place, data)
    if not postgres_in(data):
        # It survives a crash. Its pid may be another program's by now, beside which PostgreSQL refuses to start.
        (data / "postmaster.pid").unlink(missing_ok=True)
    identities = "".join(f"identities {name} {ROLES.get(name, name)}\n" for name in LOGINS)
    quoted = str(data).replace("'", "''")
    _write(place, data / "postgresql.conf", CONFIGURATION.format(port=port, data=quoted))
    # Not in quotes: in quotes, + would be a letter of a name.
    people = "".join(f"hostssl all +{group} 127.0.0.1/32 scram-sha-256\n" for group in policy.database_groups)
    _write(place, data / "pg_hba.conf", HBA.format(people=people))
    _write(place, data / "pg_ident.conf", identities)
    (data / "tls").mkdir(mode=0o700, exist_ok=True)
    _own(place, data / "tls")
    _write(place, data / "tls" / "ca.crt", layout.ca.read_text())
    _write(place, data / "tls" / "server.crt", layout.certificate("postgres").read_text())
    _write(place, data / "tls" / "server.key", layout.key("postgres").read_text())


def _initialise(place: PostgresPlace, data: Path) -> None:
    """initdb beside, then rename: a data directory is either whole or not there."""
    scratch = data.with_name("data.new")
    shutil.rmtree(scratch, ignore_errors=True)
    command = [place.programs / "bin" / "initdb", "-D", scratch, "-U", "postgres", "--encoding=UTF8", "--locale=C"]
    done = run_as(place.account, [*command, "--data-checksums", "--auth=reject", "--no-instructions"])
    if done.returncode != 0:
        raise StackError(f"initdb in {scratch} failed:\n{done.stdout[-500:]}{done.stderr[-1500:]}")
    scratch.rename(data)


def _write(place: PostgresPlace, path: Path, content: str) -> None:
    path.write_text(content)
    path.chmod(0o600)
    _own(place, path)


def _own(place: PostgresPlace, path: Path) -> None:
    if place.account is not None:
        entry = pwd.getpwnam(place.account)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def answers(layout: Layout, port: int, identity: str = "admin") -> bool:
    """Whether a client with `identity`'s certificate gets an answer to a query, over TLS with the server checked."""
    dsn = postgres_dsn(layout, port, identity, "postgres" if identity == "admin" else PLATFORM_DATABASE)
    try:
        with psycopg.connect(dsn, connect_timeout=3) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def furnish(layout: Layout, port: int, policy: Policy) -> None:
    """Make roles and databases where missing, run the migrations, and put rights to what the policy says."""
    with psycopg.connect(postgres_dsn(layout, port, "admin", "postgres"), autocommit=True) as connection:
        roles = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
        for name in LOGINS:
            if name not in ROLES and name not in roles:
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        databases = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        owners = {DAGSTER_DATABASE: "dagster", MLFLOW_DATABASE: "mlflow", PLATFORM_DATABASE: "postgres"}
        for name, owner in owners.items():
            if name not in databases:
                create = sql.SQL("CREATE DATABASE {} OWNER {}")
                connection.execute(create.format(sql.Identifier(name), sql.Identifier(owner)))
            revoke = sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC")
            connection.execute(revoke.format(sql.Identifier(name)))
    platform = postgres_dsn(layout, port, "admin")
    upgrade(platform)
    PostgresRoles(platform, policy).apply()
