"""Who somebody is: one contract for the laptop's own directory and for slapd, and what the former lets nobody do."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.directory import Directory, DirectoryAway, DirectoryRefused, Person
from resources.directory_people import PersonRefused
from resources.failures import is_permanent
from stack import directory
from tests.directories import SLAPD, Running, bound, embedded, house, running

PASSWORD = "a-password-of-ada's"
ADA, PEOPLE, GROUPS = (f"{name},{directory.BASE}" for name in ("uid=ada,ou=people", "ou=people", "ou=groups"))

needs_slapd = pytest.mark.skipif(
    SLAPD is None, reason="slapd is not installed (Debian: apt install slapd); runs where it is"
)


@pytest.fixture(scope="module", params=["embedded", pytest.param("slapd", marks=needs_slapd)])
def any_directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(request.param, tmp_path_factory.mktemp("directory") / "home") as found:
        yield found


@pytest.fixture
def ada(any_directory: Running) -> Running:
    """A directory where ada is, in sales and uploaders, and nobody else in anything."""
    for name in any_directory.people.everyone():
        any_directory.people.remove(name)
    any_directory.people.put("ada", ["sales", "image-uploaders"], PASSWORD)
    return any_directory


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The laptop's own directory."""
    with running("embedded", tmp_path_factory.mktemp("own") / "home") as found:
        found.people.put("ada", ["sales"], PASSWORD)
        found.people.put("eve", [], "a-password-of-eve's")
        yield found


def test_somebody_is_who_knows_their_password_and_has_the_groups_they_are_in(ada: Running) -> None:
    asked = Directory(ada.settings)
    assert asked.sign_in("ada", PASSWORD) == Person("ada", ADA, ("image-uploaders", "sales"))
    assert asked.person("ada") == Person("ada", ADA, ("image-uploaders", "sales"))
    assert asked.sign_in("ADA", PASSWORD) == asked.person("ada"), "LDAP's names have no case: one person, one name"


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ada", "wrong"),
        ("ada", ""),
        ("nobody", PASSWORD),
        ("", PASSWORD),
        ("*", PASSWORD),
        ("a*", PASSWORD),
        ("ada)(uid=*", PASSWORD),
        ("*)(objectClass=*", PASSWORD),
        ("ada\x00", PASSWORD),
        ("ada\\2a", PASSWORD),
        (ADA, PASSWORD),
        ("ada,ou=people", PASSWORD),
        (" ada", PASSWORD),
        ("a" * 5000, PASSWORD),
        ("ada", "x" * 100_000),
        ("ada", PASSWORD + "\x00"),
        ("ada", "\u200b\ud800"),
        ("ada", "\u00ad\u200d"),
    ],
)
def test_nobody_else_is(ada: Running, name: str, password: str) -> None:
    assert Directory(ada.settings).sign_in(name, password) is None


def test_a_membership_that_was_taken_away_is_gone_at_the_next_question(ada: Running) -> None:
    asked = Directory(ada.settings)
    assert not ada.people.put("ada", None, PASSWORD), "another password takes nothing away"
    assert asked.person("ada") == Person("ada", ADA, ("image-uploaders", "sales"))
    ada.people.put("ada", ["sales"], None)
    assert asked.person("ada") == Person("ada", ADA, ("sales",))
    assert ada.people.remove("ada")
    assert (asked.person("ada"), asked.sign_in("ada", PASSWORD)) == (None, None)
    assert not ada.people.remove("ada"), "a second time there is nobody"


def test_everybody_is_told_with_their_groups_page_by_page(ada: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.directory.PAGE", 2)
    names = [f"page-{number}" for number in range(5)]
    for name in names:
        ada.people.put(name, ["sales"], "a-password-of-pages")
    try:
        found = {one.name: one.groups for one in Directory(ada.settings).everyone()}
        assert {name: found[name] for name in names} == dict.fromkeys(names, ("sales",))
        assert found == dict(ada.people.everyone())
    finally:
        for name in names:
            ada.people.remove(name)


def test_groups_of_groups_count_and_a_loop_of_them_ends(ada: Running) -> None:
    from ldap3 import MODIFY_ADD, MODIFY_DELETE

    ldap = bound(ada, directory.ADMIN, ada.layout.directory_admin.read_text().strip())
    sales, analytics = f"cn=sales,{GROUPS}", f"cn=analytics,{GROUPS}"
    ldap.modify(analytics, {"member": [(MODIFY_ADD, [sales])]})
    ldap.modify(sales, {"member": [(MODIFY_ADD, [analytics])]})
    try:
        found = Directory(ada.settings).person("ada")
        assert found is not None
        assert found.groups == ("analytics", "image-uploaders", "sales")
        flat = Directory(ada.settings.model_copy(update={"ldap_nested_groups": False})).person("ada")
        assert flat is not None
        assert flat.groups == ("image-uploaders", "sales")
    finally:
        ldap.modify(analytics, {"member": [(MODIFY_DELETE, [sales])]})
        ldap.modify(sales, {"member": [(MODIFY_DELETE, [analytics])]})


def test_a_group_of_20_000_is_as_good_as_any(ada: Running) -> None:
    ldap = bound(ada, directory.ADMIN, ada.layout.directory_admin.read_text().strip())
    crowd = [f"uid=person-{number},{PEOPLE}" for number in range(20_000)]
    ldap.add(f"cn=everybody,{GROUPS}", ["groupOfNames"], {"cn": "everybody", "member": [*crowd, ADA]})
    try:
        began = time.process_time()
        found = Directory(ada.settings).sign_in("ada", PASSWORD)
        assert time.process_time() - began < 1, "its members are not read"
        assert found is not None
        assert found.groups == ("everybody", "image-uploaders", "sales")
    finally:
        ldap.delete(f"cn=everybody,{GROUPS}")


def test_two_entries_of_one_name_are_nobody(ada: Running) -> None:
    ldap = bound(ada, directory.ADMIN, ada.layout.directory_admin.read_text().strip())
    other = f"cn=another,{PEOPLE}"
    ldap.add(other, ["inetOrgPerson"], {"cn": "another", "sn": "x", "uid": "ada", "userPassword": PASSWORD})
    try:
        assert Directory(ada.settings).sign_in("ada", PASSWORD) is None
    finally:
        ldap.delete(other)


def test_the_first_host_that_answers_is_asked_and_with_none_nobody_is_let_in(ada: Running) -> None:
    gone = "ldaps://127.0.0.1:1"
    both = ada.settings.model_copy(update={"ldap_urls": f"{gone} {ada.settings.ldap_urls}"})
    assert Directory(both).sign_in("ada", PASSWORD) is not None
    with pytest.raises(DirectoryAway, match=r"127\.0\.0\.1:1 did not do it.*Nobody can sign in") as caught:
        Directory(both.model_copy(update={"ldap_urls": gone})).sign_in("ada", PASSWORD)
    assert not is_permanent(caught.value)


def test_a_server_of_another_authority_is_not_believed(ada: Running, tmp_path: Path) -> None:
    stranger, _ = house(tmp_path / "other")
    wrong = ada.settings.model_copy(update={"ldap_ca": stranger.ca})
    with pytest.raises(DirectoryAway, match="ldap_ca"):
        Directory(wrong).sign_in("ada", PASSWORD)


def test_a_server_of_another_name_is_not_believed(ada: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The right authority is not enough: the certificate has to be of the host that was asked."""
    other = ada.settings.model_copy(update={"ldap_urls": ada.settings.ldap_urls.replace("127.0.0.1", "another.test")})
    found = socket.getaddrinfo

    def here(host: str, *arguments: object, **more: object) -> object:
        return found("127.0.0.1" if host == "another.test" else host, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", here)
    with pytest.raises(DirectoryAway, match="ldap_ca"):
        Directory(other).sign_in("ada", PASSWORD)


def test_a_reader_that_is_refused_is_said_and_no_error_holds_a_password(ada: Running, tmp_path: Path) -> None:
    wrong = tmp_path / "password"
    wrong.write_text("not-the-password")
    with pytest.raises(DirectoryRefused, match="ldap_bind_dn") as caught:
        Directory(ada.settings.model_copy(update={"ldap_credentials": wrong})).sign_in("ada", PASSWORD)
    assert is_permanent(caught.value)
    told = f"{caught.value!r} {caught.value.__cause__} {caught.value.facts}"
    assert not [one for one in (PASSWORD, "not-the-password") if one in told]
    with pytest.raises(DirectoryRefused, match="cannot be read"):
        Directory(ada.settings.model_copy(update={"ldap_credentials": tmp_path / "none"})).person("ada")


@pytest.mark.parametrize("url", ["ldap://127.0.0.1:389", "127.0.0.1:636", "https://127.0.0.1", "ldaps://", ""])
def test_an_address_that_is_none_or_without_tls_is_refused(ada: Running, url: str) -> None:
    with pytest.raises(DirectoryRefused, match="ldaps://HOST"):
        Directory(ada.settings.model_copy(update={"ldap_urls": url}))


@pytest.mark.parametrize(
    ("name", "said"),
    [("admin", "reserved"), ("Ada", "is no name"), ("a b", "is no name"), ("x,ou=groups", "is no name")],
)
def test_names_that_may_not_be_are_refused(ada: Running, name: str, said: str) -> None:
    with pytest.raises(PersonRefused, match=said):
        ada.people.put(name, [], PASSWORD)
    with pytest.raises(PersonRefused, match="at least 8"):
        ada.people.put("bob", [], "short")
    with pytest.raises(PersonRefused, match="Valid ones: analytics, image-uploaders, sales"):
        ada.people.put("bob", ["nobodies"], PASSWORD)
    assert set(ada.people.everyone()) == {"ada"}


def refused(work: object) -> str:
    """The name of the refusal that ldap3 raises."""
    from ldap3.core.exceptions import LDAPException

    with pytest.raises(LDAPException) as caught:
        work()  # type: ignore[operator]
    return type(caught.value).__name__


def test_without_a_bind_nothing_is_told(own: Running) -> None:
    nobody = bound(own, None, None)
    assert refused(lambda: nobody.search(directory.BASE, "(objectClass=*)")) != ""
    assert nobody.response is None or not nobody.response
    assert refused(lambda: bound(own, "", "")) != ""
    # A name and no password is an anonymous bind by the standard; here it is none.
    raw = bound(own, None, None)
    raw.user, raw.password, raw.authentication = ADA, "", "SIMPLE"
    assert refused(raw.bind) != ""


@pytest.mark.parametrize("who", ["admin", "reader", "ada"])
def test_no_hash_leaves_it_whoever_asks(own: Running, who: str) -> None:
    passwords = {"admin": own.layout.directory_admin, "reader": own.layout.directory_reader}
    dn = {"admin": directory.ADMIN, "reader": directory.READER, "ada": ADA}[who]
    ldap = bound(own, dn, passwords[who].read_text().strip() if who in passwords else PASSWORD)
    for wanted in (["*"], ["userPassword"], ["userPassword", "*", "+"], ["2.5.4.35"], ["USERPASSWORD;binary"]):
        ldap.search(directory.BASE, "(objectClass=*)", attributes=wanted)
        assert "SSHA" not in str(ldap.response)
        shown = [one["raw_attributes"] for one in ldap.response]
        assert not [one for one in shown for name, values in one.items() if "assword" in name and values]
    for spelled in ("(userPassword={SSHA512}*)", "(!(userPassword=*))", "(|(uid=x)(2.5.4.35=*))", "(userPassword;x=a)"):
        assert refused(lambda text=spelled: ldap.search(directory.BASE, text)) == "LDAPInsufficientAccessRightsResult"
    assert refused(lambda: ldap.compare(ADA, "userPassword", PASSWORD)) == "LDAPInsufficientAccessRightsResult"


def test_only_the_administrator_writes(own: Running) -> None:
    from ldap3 import MODIFY_ADD, MODIFY_REPLACE

    for dn, password in ((ADA, PASSWORD), (directory.READER, own.layout.directory_reader.read_text().strip())):
        ldap = bound(own, dn, password)
        for work in (
            lambda ldap=ldap: ldap.modify(f"cn=analytics,{GROUPS}", {"member": [(MODIFY_ADD, [ADA])]}),
            lambda ldap=ldap: ldap.modify(ADA, {"userPassword": [(MODIFY_REPLACE, ["another-password"])]}),
            lambda ldap=ldap: ldap.add(f"uid=x,{PEOPLE}", ["inetOrgPerson"], {"cn": "x", "sn": "x"}),
            lambda ldap=ldap: ldap.delete(f"uid=eve,{PEOPLE}"),
            lambda ldap=ldap: ldap.modify_dn(f"uid=eve,{PEOPLE}", "uid=ada2"),
        ):
            assert refused(work) == "LDAPInsufficientAccessRightsResult"
        assert refused(lambda ldap=ldap: ldap.extend.standard.modify_password(ADA, PASSWORD, "another")) != ""
    # A bind that failed leaves nothing of the one before it.
    ldap = bound(own, directory.ADMIN, own.layout.directory_admin.read_text().strip())
    ldap.user, ldap.password = directory.ADMIN, "wrong"
    assert refused(ldap.bind) != ""
    assert refused(lambda: ldap.delete(f"uid=eve,{PEOPLE}")) != ""
    assert set(own.people.everyone()) == {"ada", "eve"}


def test_it_speaks_tls_alone_and_on_the_loopback_interface_alone(own: Running) -> None:
    import psutil

    with socket.create_connection(("127.0.0.1", own.port), timeout=5) as plain:
        # A bind request in the clear: version 3, an empty name, an empty password.
        plain.sendall(bytes.fromhex("300c020101600702010304008000"))
        plain.settimeout(5)
        answer = plain.recv(1024)
    assert answer[:1] != b"\x30", "no LDAP answer: a TLS alert, or nothing"
    listening = [
        one.laddr for one in psutil.Process(own.process.pid).net_connections("tcp") if one.status == psutil.CONN_LISTEN
    ]
    assert {(str(one.ip).removeprefix("::ffff:"), one.port) for one in listening} == {("127.0.0.1", own.port)}


def test_what_was_acknowledged_is_there_after_kill_9_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    layout, port = house(tmp_path / "home")
    first = embedded(layout, port)
    try:
        first.people.ensure_groups(["sales"])
        first.people.put("ada", ["sales"], PASSWORD)
    finally:
        first.kill()
    saved = layout.directory / "directory.ldif"
    assert saved.stat().st_mode & 0o077 == 0
    text = saved.read_text()
    assert PASSWORD not in text
    again = embedded(layout, port)
    try:
        assert Directory(again.settings).sign_in("ada", PASSWORD) == Person("ada", ADA, ("sales",))
        again.people.put("ada", [], "another-password")
        assert Directory(again.settings).sign_in("ada", PASSWORD) is None
        assert Directory(again.settings).sign_in("ada", "another-password") == Person("ada", ADA, ())
    finally:
        again.process.terminate()
        again.process.wait(20)


def test_no_password_is_on_its_command_line_or_in_its_environment(own: Running) -> None:
    secrets = [path.read_text().strip() for path in (own.layout.directory_admin, own.layout.directory_reader)]
    process = Path("/proc") / str(own.process.pid)
    if not os.access(process / "environ", os.R_OK):
        pytest.fail("the process of this test's own cannot be read")
    shown = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    log = own.layout.log(directory.DIRECTORY).read_bytes()
    assert not [one for one in secrets if one.encode() in shown + log]
    assert json.dumps(own.settings.model_dump(mode="json")).count(secrets[1]) == 0
