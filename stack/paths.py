"""Where everything of one stack lies: the folders of DARKROOM_HOME, and nothing outside but what `state` records."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

# A Unix socket's path ends at 107 bytes; the longest name of ours, with what supervisor adds for a moment, is under 30.
SOCKET_FOLDER_BYTES = 77
_PLAIN = re.compile(r"[A-Za-z0-9/._+-]+")


@dataclass(frozen=True)
class Layout:
    """The paths of one stack. `home` is absolute."""

    home: Path

    @property
    def state(self) -> Path:
        """Folder of what the stack remembers."""
        return self.home / "state"

    @property
    def tls(self) -> Path:
        """Certificates and keys of each identity, the authority's certificate, and the JWKS."""
        return self.home / "tls"

    @property
    def secrets(self) -> Path:
        """The authority's key and the development signer's: nobody's but the stack's."""
        return self.home / "secrets"

    @property
    def keys(self) -> Path:
        """The key store."""
        return self.home / "keys"

    @property
    def lake(self) -> Path:
        """The Delta tables, unless settings.lake names another place."""
        return self.home / "lake"

    @property
    def kafka(self) -> Path:
        """The broker's configuration and log folders."""
        return self.home / "kafka"

    @property
    def s3(self) -> Path:
        """The S3 server's configuration and objects, where the lake lies on one."""
        return self.home / "s3"

    @property
    def directory(self) -> Path:
        """The LDAP directory's configuration and entries."""
        return self.home / "directory"

    @property
    def directory_admin(self) -> Path:
        """The password of the directory's administrator."""
        return self.secrets / "directory-admin"

    @property
    def directory_reader(self) -> Path:
        """The password of whoever looks people up in the directory."""
        return self.secrets / "directory-reader"

    @property
    def spark(self) -> Path:
        """What Spark writes: logs of a cluster's executors, spilled data."""
        return self.home / "spark"

    @property
    def spilled(self) -> Path:
        """What a Spark session writes when it shuffles, or its memory is full."""
        return self.spark / "spilled"

    @property
    def spark_properties(self) -> Path:
        """The properties of a Spark cluster and of its drivers, its secret among them."""
        return self.secrets / "spark.properties"

    @property
    def s3_credentials(self) -> Path:
        """The access key of the S3 server, in the form of AWS's shared credentials."""
        return self.secrets / "s3-credentials"

    @property
    def postgres(self) -> Path:
        """PostgreSQL's data, where its account can enter."""
        return self.home / "postgres"

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME: dagster.yaml, workspace.yaml, compute logs."""
        return self.home / "dagster"

    @property
    def mlflow(self) -> Path:
        """Artifacts of MLflow's runs: model files, pictures, model cards."""
        return self.home / "mlflow"

    @property
    def logs(self) -> Path:
        """One log per service."""
        return self.home / "logs"

    @property
    def run(self) -> Path:
        """Sockets, where their paths are short enough."""
        return self.home / "run"

    @property
    def ca(self) -> Path:
        """The authority's certificate."""
        return self.tls / "ca.crt"

    @property
    def hop_ca(self) -> Path:
        """The certificate of the authority by which services know the gateway."""
        return self.tls / "hop-ca.crt"

    @property
    def hop_certificate(self) -> Path:
        """What the gateway shows the services."""
        return self.tls / "hop.crt"

    @property
    def hop_key(self) -> Path:
        """The key of what the gateway shows the services."""
        return self.tls / "hop.key"

    @property
    def gateway(self) -> Path:
        """The gateway's compiled configuration."""
        return self.home / "gateway"

    def certificate(self, identity: str) -> Path:
        """The certificate of an identity."""
        return self.tls / f"{identity}.crt"

    def key(self, identity: str) -> Path:
        """The private key of an identity."""
        return self.tls / f"{identity}.key"

    def certificate_and_key(self, identity: str) -> Path:
        """Both of an identity in one file, for clients that take no two."""
        return self.tls / f"{identity}.pem"

    def log(self, service: str) -> Path:
        """The log of a service."""
        return self.logs / f"{service}.log"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder the stack makes in its home; `wipe` removes these and nothing else."""
        return (
            self.state,
            self.tls,
            self.secrets,
            self.keys,
            self.lake,
            self.kafka,
            self.s3,
            self.directory,
            self.spark,
            self.postgres,
            self.dagster,
            self.gateway,
            self.mlflow,
            self.logs,
            self.run,
        )


def fits_sockets(folder: Path) -> bool:
    """Whether sockets may lie here: short enough for the kernel, plain enough for gRPC's address syntax."""
    return len(os.fsencode(folder)) <= SOCKET_FOLDER_BYTES and _PLAIN.fullmatch(str(folder)) is not None


def write_private(path: Path, content: str | bytes) -> None:
    """Write a file that only its owner reads (0600), whole or not at all; not where it has that content already."""
    data = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, path)
