"""What a stack remembers between two commands: HOME/state/stack.json. No secrets.

Ports are chosen once and kept; processes are remembered by pid and start time, so that a pid that the system has given
away again is never mistaken for ours. Written whole or not at all.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from resources.settings import Settings, load_settings
from resources.settings_identities import Acting
from stack import directory, s3, spark_cluster
from stack.errors import StackError, StackMissing
from stack.paths import Layout, write_private

VERSION = 1
IDENTITIES = (
    *("broker", "admin", "uploads", "streams", "recogniser", "dagster", "mlflow", "operator", "shop", "signin"),
    *get_args(Acting),
)
# Identities that log into PostgreSQL under another role's name.
ROLES = {"admin": "postgres"}
PLATFORM_DATABASE = "platform"
DAGSTER_DATABASE = "dagster"
MLFLOW_DATABASE = "mlflow"


class PostgresPlace(BaseModel):
    """Where PostgreSQL lies and as whom it runs: in the home, or under the system's temporary area."""

    model_config = ConfigDict(extra="forbid")

    folder: Path
    programs: Path
    account: str | None = None
    temporary: bool = False

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory."""
        return self.folder / "data"


class Remembered(BaseModel):
    """One process: `started` is its creation time in seconds since the epoch, which makes the pid unique."""

    model_config = ConfigDict(extra="forbid")

    name: str
    pid: int
    started: float


class StackState(BaseModel):
    """The content of stack.json."""

    model_config = ConfigDict(extra="forbid")

    version: int = VERSION
    id: str = Field(default_factory=lambda: secrets.token_hex(8))
    home: Path
    run: Path
    ports: dict[str, int] = Field(default_factory=dict)
    postgres: PostgresPlace | None = None
    keys: str | None = None
    lake: Literal["folder", "s3"] | None = None
    spark_cluster: bool = False
    processes: list[Remembered] = Field(default_factory=list)


def state_file(home: Path) -> Path:
    """Where a stack's memory lies."""
    return Layout(home).state / "stack.json"


def load_state(home: Path) -> StackState:
    """Read a stack's memory.

    Raises:
        StackMissing: there is none in this home.
        StackError: it is there and cannot be read; says why.
    """
    path = state_file(home)
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        raise StackMissing(
            f"There is no stack in {home} ({path} does not exist). Start one with `darkroom --home {home} up`, "
            "or name another home with --home or DARKROOM_HOME."
        ) from None
    except PermissionError:
        raise StackError(f"{path} may not be read by this account: use the account that started this stack.") from None
    try:
        state = StackState.model_validate_json(text)
    except ValidationError as error:
        raise StackError(
            f"{path} is not what `darkroom up` writes: {error.errors()[0]['msg']}. Was it edited, or written by "
            f"another version? Put the right one back; or remove {home} to start over, and its data go too."
        ) from None
    if state.version != VERSION:
        raise StackError(
            f"{path} has version {state.version}; this Darkroom reads version {VERSION}. Use the one that wrote it."
        )
    return state


def save_state(home: Path, state: StackState) -> None:
    """Write a stack's memory, whole or not at all."""
    write_private(state_file(home), state.model_dump_json(indent=2) + "\n")


def postgres_dsn(layout: Layout, port: int, identity: str, database: str = PLATFORM_DATABASE) -> str:
    """A libpq connection string that works as it stands: TLS, both sides known by certificate."""
    from psycopg.conninfo import make_conninfo

    return make_conninfo(
        host="127.0.0.1",
        port=port,
        dbname=database,
        user=ROLES.get(identity, identity),
        sslmode="verify-full",
        sslrootcert=str(layout.ca),
        sslcert=str(layout.certificate(identity)),
        sslkey=str(layout.key(identity)),
    )


def mlflow_store(layout: Layout, port: int) -> str:
    """SQLAlchemy URI of MLflow's database, by its own identity's certificate; holds no secret.

    The driver is spelled out: SQLAlchemy 2.1 reads a bare `postgresql://` as another one.
    """
    options = {
        "sslmode": "verify-full",
        "sslrootcert": layout.ca,
        "sslcert": layout.certificate("mlflow"),
        "sslkey": layout.key("mlflow"),
    }
    said = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in options.items())
    return f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/{MLFLOW_DATABASE}?{said}"


def identity_overrides(layout: Layout, state: StackState, identity: str) -> dict[str, str]:
    """The settings that differ by stack and identity, by name."""
    if identity not in IDENTITIES:
        raise StackError(f"{identity!r} is no identity of the stack. Valid ones: {', '.join(IDENTITIES)}.")
    return {
        "home": str(layout.home),
        # The shop's assets run in Dagster's processes, and log in as themselves.
        "shop_dsn": postgres_dsn(layout, state.ports["postgres"], "shop" if identity == "dagster" else identity),
        "kafka_bootstrap": f"127.0.0.1:{state.ports['kafka']}",
        "kafka_ca": str(layout.ca),
        "kafka_certificate": str(layout.certificate(identity)),
        "kafka_key": str(layout.key(identity)),
        "postgres_dsn": postgres_dsn(layout, state.ports["postgres"], identity),
        # A stack that an earlier release started has none until its next `up`.
        **(_mlflow(layout, port, identity) if (port := state.ports.get("mlflow")) else {}),
        **(directory.overrides(layout, state.ports[directory.DIRECTORY]) if _looks_up(state, identity) else {}),
        "policy_holders": json.dumps(_holders(state)),
        **(s3.overrides(layout, state.ports[s3.S3]) if state.lake == s3.S3 else {}),
        **(_cluster(layout, state.ports) if state.spark_cluster else {}),
        # Who purges looks at everything that the stack keeps on this machine.
        **({"searched": json.dumps(_disks(layout, state))} if identity == "dagster" else {}),
        **({"identities": json.dumps(_acting(layout, state.ports["postgres"]))} if identity == "dagster" else {}),
    }


def _acting(layout: Layout, port: int) -> dict[str, dict[str, str]]:
    """What differs where Dagster's runs act as another identity."""
    found = {
        name: {"kafka_certificate": str(layout.certificate(name)), "kafka_key": str(layout.key(name))}
        for name in get_args(Acting)
    }
    found["upkeep"]["postgres_dsn"] = postgres_dsn(layout, port, "upkeep")
    return found


def _disks(layout: Layout, state: StackState) -> dict[str, str]:
    """Where the stack's services write, by name; a bucket is on no disk of this machine."""
    settings = load_settings({"home": str(layout.home)})
    places = {
        "lake": str(layout.s3) if state.lake == s3.S3 else settings.lake_root,
        "keys": settings.keys_root,
        "kafka": str(layout.kafka),
        "mlflow": str(layout.mlflow),
        "dagster": str(layout.dagster),
        "directory": str(layout.directory),
        "spark": str(layout.spark),
        "logs": str(layout.logs),
    }
    if state.postgres is not None:
        places["postgres"] = str(state.postgres.folder)
    folders = {name: place.removeprefix("file://") for name, place in places.items()}
    return {name: folder for name, folder in folders.items() if "://" not in folder}


def _mlflow(layout: Layout, port: int, identity: str) -> dict[str, str]:
    client = str(layout.certificate_and_key(identity))
    return {"mlflow_url": f"https://127.0.0.1:{port}", "mlflow_ca": str(layout.ca), "mlflow_client": client}


def _holders(state: StackState) -> dict[str, str]:
    """The sockets of what holds the policy."""
    if "gateway" not in state.ports:
        return {}
    return {name: str(state.run / f"{name}.sock") for name in ("gateway", "webserver", "webserver-read-only")}


def _looks_up(state: StackState, identity: str) -> bool:
    """Whether this identity asks the directory who somebody is."""
    return identity in ("admin", "operator", "signin", "dagster") and directory.DIRECTORY in state.ports


def _cluster(layout: Layout, ports: dict[str, int]) -> dict[str, str]:
    master = spark_cluster.address(ports[spark_cluster.MASTER])
    return {"compute": "spark", "spark_master": master, "spark_properties": str(layout.spark_properties)}


def stack_settings(home: Path, identity: str) -> Settings:
    """Settings of a client of the stack in `home`, with the certificates of `identity`.

    Raises:
        StackError: no stack there, or no such identity.
    """
    layout = Layout(home.absolute())
    return load_settings(identity_overrides(layout, load_state(layout.home), identity))
