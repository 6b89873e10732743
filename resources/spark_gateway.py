"""The line between this process and the Java process of its Spark session: py4j by TLS, on the loopback interface.

PySpark's own speaks in the clear behind a secret, and puts every property on Java's command line, where all accounts of
the machine read it. Here Java runs `io.darkroom.spark.Gateway` (jvm/spark) in the place of PySpark's server, both ends
show one certificate that is made for this session alone, and properties travel in a file of this account.

Rests on three names that PySpark does not promise, each looked at by tests/resources/test_spark_gateway.py:
`pyspark.java_gateway.launch_gateway`, its `GatewayParameters`, and `SparkContext._ensure_initialized`.
"""

from __future__ import annotations

import functools
import os
import secrets
import shlex
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from resources.settings import Settings

ENCRYPTED = {
    "authenticate": "true",
    "network.crypto.enabled": "true",
    # The cipher before Spark 4 had no integrity (CVE-2025-55039); spelled out, so that no other default comes back.
    "network.crypto.cipher": "AES/GCM/NoPadding",
    "network.crypto.authEngineVersion": "2",
    "network.crypto.saslFallback": "false",
    # Between an executor and its Python processes, and for results: else the loopback interface, in the clear.
    "python.unix.domain.socket.enabled": "true",
    # What executors spill to disk.
    "io.encryption.enabled": "true",
}
"""Properties of Spark, without their `spark.`, by which nothing of it is readable outside its processes. Who shares a
session beyond one process needs `authenticate.secret`, too."""
QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Options of a Java that lives for one run: compiling for peak speed costs more than it gives (`benchmarks/compute.py`
has a start with and without), and a heap of a gigabyte needs no collector with threads of its own."""
_QUIET = "-Xlog:cds=off -Xlog:cds+dynamic=off -Xlog:class+path=off"
_MAIN = "io.darkroom.spark.Gateway"
_ALIAS = "gateway"
_LIFE = timedelta(days=365)
"""No session is as long; the key is in no file once both ends have it."""


def class_archive(settings: Settings) -> Path:
    """Where the classes of a session lie, loaded and verified (Java's application class data sharing).

    `make jars-spark` writes it; without it, or with one of another Java or of other jars, a session starts as it would,
    and takes some seconds longer.
    """
    return settings.jvm_root / "spark.jsa"


def quick_java(settings: Settings) -> str:
    """Java's options of a session in one process, which lives for one run."""
    archive = class_archive(settings)
    return f"{QUICK_JAVA} -XX:SharedArchiveFile={archive} {_QUIET}" if archive.is_file() else QUICK_JAVA


def ensure_gateway(properties: Mapping[str, str]) -> None:
    """Start the process's Java with these properties of Spark, and connect to it, unless it has one.

    Args:
        properties: by their full names; `spark.driver.extraClassPath` must lead to Darkroom's jar for Spark.

    Raises:
        pyspark.errors.PySparkRuntimeError: Java did not start; what it said is on standard error.
        OSError: the connection was refused.
    """
    from pyspark import SparkContext, java_gateway

    if SparkContext._gateway is not None:
        return
    with tempfile.TemporaryDirectory(prefix="darkroom-spark-") as folder:  # of this account alone
        file, identity, password = Path(folder) / "spark.properties", Path(folder) / "identity.p12", secrets.token_hex()
        file.write_text("".join(f"{name}={_escaped(value)}\n" for name, value in properties.items()))
        context = _identity(Path(folder), identity, password)
        arguments = ["--properties-file", str(file), "--load-spark-defaults", "--class", _MAIN, "spark-internal"]
        variables = {
            "PYSPARK_SUBMIT_ARGS": shlex.join(arguments),
            "DARKROOM_GATEWAY_IDENTITY": str(identity),
            "DARKROOM_GATEWAY_PASSWORD": password,
            # With a thread of Java for each of Python, py4j's server knows no TLS.
            "PYSPARK_PIN_THREAD": "false",
        }
        plain = java_gateway.GatewayParameters
        with _environment(variables):
            java_gateway.GatewayParameters = functools.partial(plain, ssl_context=context)  # type: ignore[bad-assignment]
            try:
                gateway = java_gateway.launch_gateway()
            finally:
                java_gateway.GatewayParameters = plain
        SparkContext._ensure_initialized(gateway=gateway)


def _escaped(value: str) -> str:
    """A value as java.util.Properties reads it."""
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def _identity(folder: Path, target: Path, password: str) -> ssl.SSLContext:
    """Make a key and its certificate, for Java in the target's PKCS #12. Returns Python's end, which trusts it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import pkcs12
    from cryptography.x509.oid import NameOID

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A Spark session of Darkroom")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    sealed = serialization.BestAvailableEncryption(password.encode())
    target.write_bytes(pkcs12.serialize_key_and_certificates(_ALIAS.encode(), key, certificate, None, sealed))
    pem = folder / "identity.pem"
    shown = certificate.public_bytes(serialization.Encoding.PEM)
    pem.write_bytes(shown + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealed))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=shown.decode())
    context.load_cert_chain(pem, password=password)
    return context


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process while the block runs: PySpark hands its environment on to Java."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
