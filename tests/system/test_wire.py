"""What listens, and what crosses the wire: every port of the stack, found by itself, and every byte of the loopback."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from stack.state import load_state
from tests.live_stack import LiveStack
from tests.system.wire import another_authority, datagram_ports, handshake, open_ports, said_by_any

pytestmark = pytest.mark.stack

BY_WORD = ("gateway", "directory", "kafka-people")
"""Where people come, without a certificate: with a token or a password."""


@pytest.fixture(scope="module")
def found(stack: LiveStack) -> dict[int, str]:
    """The open ports by number: what the stack calls them, or the service that opened one it does not know of."""
    names = {port: name for name, port in load_state(stack.home).ports.items()}
    return {port: names.get(port, service) for port, (service, _) in open_ports(stack.home).items()}


@pytest.fixture
def stranger(tmp_path: Path) -> tuple[Path, Path]:
    return another_authority(tmp_path)


def test_every_service_with_a_port_was_found_and_listens_on_this_machine_alone(
    stack: LiveStack, found: dict[int, str]
) -> None:
    state = load_state(stack.home)
    running = {name for name, one in stack.status()["services"].items() if one["state"] == "running"}
    expected = {name for name in state.ports if name in running} | {"kafka-people", "kafka-controller"}
    assert set(found.values()) == expected
    assert {address for _, address in open_ports(stack.home).values()} == {"127.0.0.1"}
    assert datagram_ports(stack.home) == set()


def test_no_port_says_a_word_in_the_clear(stack: LiveStack) -> None:
    assert said_by_any(stack.home) == {}


def test_no_port_is_taken_for_its_own_by_a_client_of_another_authority(
    found: dict[int, str], stranger: tuple[Path, Path]
) -> None:
    context = ssl.create_default_context(cafile=str(stranger[0]))
    for port, name in found.items():
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(port, context, name)


def test_no_port_lets_a_certificate_of_another_authority_in(
    stack: LiveStack, found: dict[int, str], stranger: tuple[Path, Path]
) -> None:
    context = ssl.create_default_context(cafile=stack.ca)
    context.load_cert_chain(stranger[1])
    without = ssl.create_default_context(cafile=stack.ca)
    refused = set()
    for port, name in found.items():
        if name in BY_WORD:
            continue
        for shown in (context, without):
            if name == "postgres" and shown is without:
                continue  # who shows none is asked for a password, or refused by name: below
            with contextlib.suppress(ssl.SSLError, OSError):
                assert handshake(port, shown, name) == b"", name
        refused.add(name)
    assert refused >= {"kafka", "kafka-controller", "mlflow", "uploads-1", "streams-2", "signin-1", "postgres"}


def test_postgresql_speaks_to_nobody_in_the_clear_or_without_a_certificate(stack: LiveStack) -> None:
    dsn = stack.settings("admin").postgres_dsn
    for wrong in ({"sslmode": "disable"}, {"sslcert": "", "sslkey": "", "sslcertmode": "disable"}):
        with pytest.raises(psycopg.OperationalError, match=r"no encryption|certificate|pg_hba"):
            psycopg.connect(make_conninfo(dsn, **wrong))
