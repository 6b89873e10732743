"""Ports of a running stack as its processes have them open, and what a stranger gets at each."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from stack.processes import living
from stack.state import load_state

SECONDS = 5.0
SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""What PostgreSQL wants before a handshake, and answers with an S (its protocol, SSLRequest)."""
TLS_ALERT = 0x15
_IPV4 = 0x0800
_RCVBUFFORCE, _SOL_PACKET, _PACKET_STATISTICS = 33, 263, 6
"""Of Linux (socket(7), packet(7)), which Python has no names for."""


def open_ports(home: Path) -> dict[int, tuple[str, str]]:
    """Every TCP port that a process of the stack listens on: its service and address, by port."""
    found: dict[int, tuple[str, str]] = {}
    for service, processes in living(load_state(home)).items():
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                for one in process.net_connections("tcp"):
                    if one.status == psutil.CONN_LISTEN:
                        # Java listens on both families, and has the one's addresses in the other's writing.
                        found[one.laddr.port] = (service, one.laddr.ip.removeprefix("::ffff:"))
    return found


def datagram_ports(home: Path) -> set[int]:
    """Every UDP port of the stack that takes what strangers send."""
    return {
        one.laddr.port
        for processes in living(load_state(home)).values()
        for process in processes
        for one in process.net_connections("udp")
        if not one.raddr
    }


def said_in_the_clear(port: int) -> bytes:
    """What a port says to somebody who speaks no TLS, an alert of TLS's left out."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as sent:
        with contextlib.suppress(OSError):  # it may have hung up by then
            sent.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            sent.shutdown(socket.SHUT_WR)
        said = _all(sent)
    return b"" if said[:1] == bytes([TLS_ALERT]) else said


def said_by_any(home: Path) -> dict[int, bytes]:
    """What the ports of a stack say in the clear, those left out that say nothing.

    A port that nobody listens on any more when it is asked is none: Spark's come and go with its jobs.
    """
    said = {}
    for port in open_ports(home):
        try:
            said[port] = said_in_the_clear(port)
        except ConnectionRefusedError:
            assert port not in open_ports(home)
    return {port: words for port, words in said.items() if words}


def handshake(port: int, context: ssl.SSLContext, service: str) -> bytes:
    """Shake hands and ask for something. Returns what was said; raises ssl.SSLError or OSError where nothing was."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as raw:
        if service == "postgres":
            raw.sendall(SSL_REQUEST)
            assert raw.recv(1) == b"S"
        with context.wrap_socket(raw, server_hostname="127.0.0.1") as sent:
            sent.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return _all(sent)


class Capture:
    """Every TCP segment that crosses the loopback while the block runs, by flow.

    By a packet socket (packet(7)), which needs CAP_NET_RAW; entering raises PermissionError without it.
    """

    def __init__(self) -> None:
        self._segments: dict[tuple[int, int], dict[int, bytes]] = {}
        self._done = threading.Event()
        self.dropped = 0
        """Packets that the kernel could not hand over: a capture with any is none."""

    def __enter__(self) -> Capture:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_IPV4))
        self._socket.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 64 << 20)
        self._socket.bind(("lo", _IPV4))
        self._socket.settimeout(0.2)
        self._thread = threading.Thread(target=self._take)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(1)  # for what still waits in the queue
        self._done.set()
        self._thread.join()
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self.dropped = struct.unpack("II", statistics)[1]
        self._socket.close()

    def flows(self) -> dict[tuple[int, int], bytes]:
        """What was sent, in order, by ports of sender and receiver."""
        return {flow: b"".join(said for _, said in sorted(of.items())) for flow, of in self._segments.items()}

    def _take(self) -> None:
        # A stack is never silent: the end is looked for at each packet.
        while not self._done.is_set():
            try:
                frame = self._socket.recv(1 << 17)
            except TimeoutError:
                continue
            # A socket of one protocol is handed what comes in, and so each packet of the loopback once.
            if frame[23] != socket.IPPROTO_TCP:
                continue
            packet = frame[14:]
            segment = packet[(packet[0] & 15) * 4 : struct.unpack_from("!H", packet, 2)[0]]
            source, target, number = struct.unpack_from("!HHI", segment)
            if said := segment[(segment[12] >> 4) * 4 :]:
                self._segments.setdefault((source, target), {})[number] = said


def another_authority(folder: Path) -> tuple[Path, Path]:
    """An authority that nobody here knows, and a client's certificate and key by it, under a good name."""
    now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Another authority")])

    def certificate(name: x509.Name, public: ec.EllipticCurvePublicKey, authority: bool) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )

    own = ec.generate_private_key(ec.SECP256R1())
    leaf = certificate(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin")]), own.public_key(), False)
    authority, client = folder / "another-ca.pem", folder / "another-client.pem"
    authority.write_bytes(certificate(issuer, key.public_key(), True).public_bytes(serialization.Encoding.PEM))
    private = own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    client.write_bytes(leaf.public_bytes(serialization.Encoding.PEM) + private)
    return authority, client


def _all(sent: socket.socket) -> bytes:
    said = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while len(said) < 1 << 16 and (more := sent.recv(1 << 14)):
            said += more
    return said
