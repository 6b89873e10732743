"""PostgreSQL's connections, for whoever asks it in passing: they come back after a restart, and a hang is bounded."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg_pool import ConnectionPool


class WatchedPool:
    """Connections made at first use, each statement by itself a transaction. Safe for threads.

    Args:
        dsn: libpq connection string.
        timeout_seconds: longest wait for a connection, and for one statement; a server that hangs costs twice that.
        connections: most connections at a time.
        name: what PostgreSQL calls them.
    """

    def __init__(self, dsn: str, timeout_seconds: float, connections: int, name: str) -> None:
        self._timeout = timeout_seconds
        self._pool = ConnectionPool(
            dsn,
            min_size=0,
            max_size=connections,
            open=False,
            timeout=timeout_seconds,
            max_idle=60,
            # A connection that a restart of the server broke is replaced before it is handed out.
            check=self._check,
            kwargs={
                "autocommit": True,
                "connect_timeout": max(2, int(timeout_seconds)),
                "options": f"-c statement_timeout={int(timeout_seconds * 1000)} -c TimeZone=UTC",
                "application_name": name,
            },
        )

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection]:
        """A connection. Raises psycopg.Error and psycopg_pool.PoolTimeout as they come."""
        self._pool.open()
        with self._pool.connection() as connection, self._watched(connection):
            yield connection

    def close(self) -> None:
        """Close every connection; the pool cannot be used afterwards."""
        self._pool.close()

    def _check(self, connection: psycopg.Connection) -> None:
        with self._watched(connection):
            ConnectionPool.check_connection(connection)

    @contextmanager
    def _watched(self, connection: psycopg.Connection) -> Iterator[None]:
        """Break a connection on which nothing comes back: a server that hangs does not time statements out itself."""
        watch = threading.Timer(self._timeout + 1, _break, (connection,))
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            watch.cancel()


def _break(connection: psycopg.Connection) -> None:
    """Shut a connection's socket, so that whoever waits on it gets an error; close() would wait with them."""
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)
    except (psycopg.Error, OSError):
        return  # it ended by itself meanwhile
