"""The stack's own certificate authority: one root, one certificate per identity, all EC P-256.

Everything that crosses a TCP port is TLS with both sides known by certificate; the common name is the identity, for
Kafka's ACLs and PostgreSQL's login alike. Built on `cryptography`. A certificate that ends within 30 days, or was
signed by another root, is issued again; running servers take the new one at their next start.

The services behind the gateway believe an authority of its own, which signs one certificate: the gateway's. So no other
identity's certificate opens them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from access.gateway_clusters import internal_name
from stack.paths import Layout, write_private

ROOT_DAYS = 3650
LEAF_DAYS = 1825
RENEW_DAYS = 30
BEHIND = frozenset({"uploads", "streams", "signin"})
"""Services that the gateway stands before; their certificates have a name by which it knows them."""
# Only these may stand as a server.
SERVERS = frozenset({"broker", "postgres", "s3", "directory", "gateway", "recogniser", "mlflow", "spark", *BEHIND})
# These are nothing else, and log in nowhere.
SERVERS_ONLY = frozenset({"postgres", "s3", "directory", "gateway"})
NAMES = (x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
GATEWAY = "gateway"


def issue(layout: Layout, identities: Sequence[str], now: datetime) -> list[str]:
    """Make the root and every identity's certificate where they are missing or ending.

    Args:
        now: the present, with a zone.

    Returns:
        The identities (`ca` and the gateway's `hop` to the services too) that were issued now; empty when all was good.
    """
    issued = []
    root, root_key, new = _authority(layout.ca, layout.secrets / "ca.key", "Darkroom stack authority", now)
    issued += ["ca"] if new else []
    for identity in identities:
        names = [*NAMES, *([x509.DNSName(internal_name(identity))] if identity in BEHIND else [])]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH] if identity in SERVERS else []
        if identity not in SERVERS_ONLY:
            usages.append(ExtendedKeyUsageOID.CLIENT_AUTH)
        wanted = _Leaf(identity, names, usages)
        if _settle(layout.certificate(identity), layout.key(identity), wanted, root, root_key, now):
            issued.append(identity)
        if identity not in SERVERS_ONLY:
            both = layout.certificate(identity).read_bytes() + layout.key(identity).read_bytes()
            write_private(layout.certificate_and_key(identity), both)
    hop, hop_key, _ = _authority(layout.hop_ca, layout.secrets / "hop-ca.key", "Darkroom gateway authority", now)
    wanted = _Leaf(GATEWAY, [x509.DNSName(internal_name(GATEWAY))], [ExtendedKeyUsageOID.CLIENT_AUTH])
    if _settle(layout.hop_certificate, layout.hop_key, wanted, hop, hop_key, now):
        issued.append("hop")
    return issued


@dataclass(frozen=True)
class _Leaf:
    """What a certificate says."""

    identity: str
    names: Sequence[x509.GeneralName]
    usages: Sequence[x509.ObjectIdentifier]


def _authority(
    path: Path, key_path: Path, name: str, now: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey, bool]:
    """The root in these files, and whether it was made now."""
    root = _good(path, now)
    new = root is None or not key_path.is_file()
    if root is None or not key_path.is_file():
        key = ec.generate_private_key(ec.SECP256R1())
        root = _root(name, key, now)
        write_private(key_path, _key_bytes(key))
        write_private(path, _certificate_bytes(root))
    found = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{key_path} is no EC key")
    return root, found, new


def _settle(
    path: Path,
    key_path: Path,
    wanted: _Leaf,
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> bool:
    """Have this certificate in these files; whether it was issued now."""
    there = _good(path, now)
    if there is not None and key_path.is_file() and _signed_by(there, root) and _says(there, wanted):
        return False
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = _leaf(wanted, key, root, root_key, now)
    write_private(key_path, _key_bytes(key))
    write_private(path, _certificate_bytes(leaf))
    return True


def _says(certificate: x509.Certificate, wanted: _Leaf) -> bool:
    """Whether it says what a certificate of this release does."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return list(names) == list(wanted.names) and list(usages) == list(wanted.usages)


def _good(path: Path, now: datetime) -> x509.Certificate | None:
    if not path.is_file():
        return None
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError:
        return None
    return certificate if certificate.not_valid_after_utc - now > timedelta(days=RENEW_DAYS) else None


def _signed_by(leaf: x509.Certificate, root: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        leaf.verify_directly_issued_by(root)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _root(common_name: str, key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    usage = _usage(sign_certificates=True)
    return (
        _builder(name, name, key.public_key(), now, ROOT_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _leaf(
    wanted: _Leaf,
    key: ec.EllipticCurvePrivateKey,
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted.identity)])
    return (
        _builder(name, root.subject, key.public_key(), now, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(wanted.usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(wanted.names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        # A clock that is set back a little must not make a new stack's certificates invalid.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _certificate_bytes(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
