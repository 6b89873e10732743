"""Certificates of the stack as Java's key stores: PKCS #12 files under a password."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12
from cryptography.x509 import load_pem_x509_certificate

from stack.paths import Layout


def as_pkcs12(layout: Layout, identity: str, password: str) -> bytes:
    """An identity's certificate and key, with the authority that signed it."""
    key = load_pem_private_key(layout.key(identity).read_bytes(), None)
    return pkcs12.serialize_key_and_certificates(
        identity.encode(),
        key,  # type: ignore[arg-type]
        load_pem_x509_certificate(layout.certificate(identity).read_bytes()),
        [load_pem_x509_certificate(layout.ca.read_bytes())],
        BestAvailableEncryption(password.encode()),
    )


def authority_as_pkcs12(layout: Layout, password: str) -> bytes:
    """The authority of the stack, as one to trust."""
    authority = pkcs12.PKCS12Certificate(load_pem_x509_certificate(layout.ca.read_bytes()), b"ca")
    return pkcs12.serialize_java_truststore([authority], BestAvailableEncryption(password.encode()))
