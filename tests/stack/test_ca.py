"""Certificates: who is whom, for how long, and who may read the keys."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stack.ca import LEAF_DAYS, issue
from stack.paths import Layout

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.tls.mkdir()
    layout.secrets.mkdir()
    return layout


def certificate(layout: Layout, identity: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(layout.certificate(identity).read_bytes())


def test_the_common_name_is_the_identity_and_the_names_are_loopbacks_two(layout: Layout):
    issue(layout, ["uploads"], NOW)
    leaf = certificate(layout, "uploads")
    assert [name.value for name in leaf.subject] == ["uploads"]
    assert leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "uploads.darkroom.internal"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_what_is_good_is_kept_and_what_ends_within_a_month_is_issued_again(layout: Layout):
    assert issue(layout, ["dagster"], NOW) == ["ca", "dagster", "hop"]
    before = certificate(layout, "dagster").serial_number
    assert issue(layout, ["dagster"], NOW + timedelta(days=LEAF_DAYS - 31)) == []
    assert issue(layout, ["dagster"], NOW + timedelta(days=LEAF_DAYS - 29)) == ["dagster", "hop"]
    assert certificate(layout, "dagster").serial_number != before


def test_a_leaf_of_another_root_is_issued_again(layout: Layout):
    issue(layout, ["dagster"], NOW)
    (layout.secrets / "ca.key").unlink()
    assert issue(layout, ["dagster"], NOW) == ["ca", "dagster"]
    root = x509.load_pem_x509_certificate(layout.ca.read_bytes())
    certificate(layout, "dagster").verify_directly_issued_by(root)


def test_a_damaged_certificate_is_issued_again(layout: Layout):
    issue(layout, ["dagster"], NOW)
    layout.certificate("dagster").write_text("-----BEGIN nonsense")
    assert issue(layout, ["dagster"], NOW) == ["dagster"]


def test_only_the_owner_may_read_a_key(layout: Layout):
    issue(layout, ["operator"], NOW)
    for path in (layout.key("operator"), layout.secrets / "ca.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_client_cannot_stand_as_a_server_and_postgres_server_cannot_log_in(layout: Layout):
    issue(layout, ["operator", "postgres"], NOW)
    usages = {
        name: set(certificate(layout, name).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        for name in ("operator", "postgres")
    }
    assert usages == {"operator": {ExtendedKeyUsageOID.CLIENT_AUTH}, "postgres": {ExtendedKeyUsageOID.SERVER_AUTH}}
