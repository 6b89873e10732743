"""The stack's own certificate authority: one root, one certificate per identity, all EC P-256.

Everything that crosses a TCP port is TLS with both sides known by certificate; the common name is the identity, for
Kafka's ACLs and PostgreSQL's login alike. Built on `cryptography`. A certificate that ends within 30 days, or was
signed by another root, is issued again; running servers take the new one at their next start.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stack.paths import Layout, write_private

ROOT_DAYS = 3650
LEAF_DAYS = 1825
RENEW_DAYS = 30
# Only these may stand as a server; `postgres` is only that, and logs in nowhere.
SERVERS = frozenset({"broker", "postgres", "s3", "directory", "uploads", "streams", "recogniser", "signin"})
SERVERS_ONLY = frozenset({"postgres", "s3", "directory"})
NAMES = (x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))


def issue(layout: Layout, identities: Sequence[str], now: datetime) -> list[str]:
    """Make the root and every identity's certificate where they are missing or ending.

    Args:
        now: the present, with a zone.

    Returns:
        The identities (and `ca`) that were issued now; empty when all was good.
    """
    issued = []
    root_key_path = layout.secrets / "ca.key"
    root = _good(layout.ca, now)
    if root is None or not root_key_path.is_file():
        root_key = ec.generate_private_key(ec.SECP256R1())
        root = _root(root_key, now)
        write_private(root_key_path, _key_bytes(root_key))
        write_private(layout.ca, _certificate_bytes(root))
        issued.append("ca")
    root_key = serialization.load_pem_private_key(root_key_path.read_bytes(), password=None)
    if not isinstance(root_key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{root_key_path} is no EC key")
    for identity in identities:
        leaf = _good(layout.certificate(identity), now)
        if leaf is not None and layout.key(identity).is_file() and _signed_by(leaf, root):
            continue
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = _leaf(identity, key, root, root_key, now)
        write_private(layout.key(identity), _key_bytes(key))
        write_private(layout.certificate(identity), _certificate_bytes(leaf))
        issued.append(identity)
    return issued


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


def _root(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Darkroom stack authority")])
    usage = _usage(sign_certificates=True)
    return (
        _builder(name, name, key.public_key(), now, ROOT_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _leaf(
    identity: str,
    key: ec.EllipticCurvePrivateKey,
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity)])
    usages = [ExtendedKeyUsageOID.SERVER_AUTH] if identity in SERVERS else []
    if identity not in SERVERS_ONLY:
        usages.append(ExtendedKeyUsageOID.CLIENT_AUTH)
    return (
        _builder(name, root.subject, key.public_key(), now, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(NAMES), critical=False)
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
