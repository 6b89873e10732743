"""The S3 server of a stack whose lake lies on object storage: s3proxy, one process over a folder of the home.

For a laptop, so that the same code runs as on AWS: signed requests over TLS, conditional puts with one winner, objects
that outlive a kill. Limits: one access key for everybody, no encryption by a KMS key, no bucket policy, no versions;
its speed says nothing of S3's.
"""

from __future__ import annotations

import secrets
import ssl
from pathlib import Path

from resources.object_storage import Storage, read_credentials
from resources.settings import Settings
from stack.kafka import as_properties, java
from stack.paths import Layout, write_private
from stack.pkcs12 import as_pkcs12

S3 = "s3"
BUCKET = "darkroom"
REGION = "us-east-1"
"""What the server takes any request to be signed for."""
HEAP = "256m"
LAKE_ON_S3 = f"s3://{BUCKET}/lake"


def jar(settings: Settings) -> Path:
    """The server's jar: beside Kafka's, in the folder that `make jars-s3` fills."""
    folder = settings.jvm_root / S3
    return next(iter(sorted(folder.glob("s3proxy-*.jar"))), folder / "s3proxy.jar")


def command(layout: Layout, settings: Settings) -> list[str]:
    """The command line that starts the server; nothing secret is on it."""
    options = [f"-Xmx{HEAP}", "-Xms32m", "-XX:+ExitOnOutOfMemoryError", "-XX:TieredStopAtLevel=1"]
    return [str(java()), *options, "-jar", str(jar(settings)), "--properties", str(_properties(layout))]


def prepare(layout: Layout, port: int) -> None:
    """Write the server's configuration and key store, and make its bucket; the access key is made once and kept."""
    key_id, secret = _access_key(layout)
    password = secrets.token_urlsafe(24)
    write_private(_key_store(layout), as_pkcs12(layout, S3, password))
    values = {
        "s3proxy.secure-endpoint": f"https://127.0.0.1:{port}",
        "s3proxy.keystore-path": str(_key_store(layout)),
        "s3proxy.keystore-password": password,
        "s3proxy.authorization": "aws-v4",
        "s3proxy.identity": key_id,
        "s3proxy.credential": secret,
        "s3proxy.ignore-unknown-headers": "true",
        "s3proxy.v4-max-non-chunked-request-size": str(256 * 1024 * 1024),
        "jclouds.provider": "filesystem-nio2",
        "jclouds.filesystem.basedir": str(layout.s3 / "data"),
    }
    write_private(_properties(layout), as_properties(values))
    (layout.s3 / "data" / BUCKET).mkdir(mode=0o700, parents=True, exist_ok=True)


def answers(layout: Layout, port: int) -> str | None:
    """None where the bucket answers a signed question, else what was wrong."""
    from botocore.exceptions import BotoCoreError, ClientError

    storage = Storage(LAKE_ON_S3, endpoint(port), REGION, layout.ca, read_credentials(layout.s3_credentials))
    try:
        storage.client().head_bucket(Bucket=BUCKET)
    except (BotoCoreError, ClientError, OSError, ssl.SSLError) as error:
        return f"{endpoint(port)}: {error}"
    return None


def endpoint(port: int) -> str:
    """Where the server answers."""
    return f"https://127.0.0.1:{port}"


def overrides(layout: Layout, port: int) -> dict[str, str]:
    """The settings of a process whose lake lies there."""
    return {
        "lake": LAKE_ON_S3,
        "aws_region": REGION,
        "s3_endpoint": endpoint(port),
        "s3_ca": str(layout.ca),
        "s3_credentials": str(layout.s3_credentials),
    }


def _properties(layout: Layout) -> Path:
    return layout.s3 / "s3proxy.properties"


def _key_store(layout: Layout) -> Path:
    return layout.s3 / "server.p12"


def _access_key(layout: Layout) -> tuple[str, str]:
    path = layout.s3_credentials
    if not path.is_file():
        key_id, secret = f"DARKROOM{secrets.token_hex(6).upper()}", secrets.token_hex(20)
        write_private(path, f"[default]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret}\n")
    found = read_credentials(path)
    return found.key_id, found.secret
