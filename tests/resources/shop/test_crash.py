"""PostgreSQL killed with -9 amid fifty writers: what was acknowledged is there, and nothing is half-written.

On a server of its own, made as `up` makes one, so that nothing else notices.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import psycopg
import pytest

from access.policy import load_policy
from resources.event_log import EventLog
from resources.lake import Lake
from resources.shop import ShopUnavailable
from resources.shop_capture import capture
from stack import ca, postgres
from stack.paths import Layout
from stack.ports import choose
from stack.postgres_place import settle
from stack.state import IDENTITIES, PostgresPlace, postgres_dsn
from transforms.shop_tables import ITEM_EVENTS

WRITERS = 50


class Server:
    """One PostgreSQL; killed whole, as by a loss of power, but for what the kernel still writes."""

    def __init__(self, layout: Layout, place: PostgresPlace, port: int) -> None:
        self.layout, self.place, self.port = layout, place, port
        self.dsn = postgres_dsn(layout, port, "admin")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        postgres.prepare(self.layout, self.place, self.port, load_policy())
        account = {}
        if self.place.account is not None:
            entry = pwd.getpwnam(self.place.account)
            account = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        with self.layout.log("postgres").open("ab") as log:
            self._process = subprocess.Popen(
                [self.place.programs / "bin" / "postgres", "-D", self.place.data],
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
                **account,
            )
        deadline = time.monotonic() + 60
        while not postgres.answers(self.layout, self.port) and time.monotonic() < deadline:
            time.sleep(0.1)

    def kill(self) -> None:
        if self._process is None:
            return
        # Stopped first, so that none of them notices that another is gone.
        family = [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(recursive=True)]
        for how in (signal.SIGSTOP, signal.SIGKILL):
            for process in family:
                with_signal(process, how)
        self._process.wait(30)
        psutil.wait_procs(family, timeout=30)
        self._process = None


def with_signal(process: psutil.Process, how: signal.Signals) -> None:
    try:
        process.send_signal(how)
    except psutil.NoSuchProcess:
        return


@pytest.fixture
def server() -> Iterator[Server]:
    area = Path(tempfile.mkdtemp(prefix="darkroom-crash-"))
    area.chmod(0o711)
    layout = Layout(area / "home")
    layout.home.mkdir(mode=0o711)
    for folder in (layout.tls, layout.secrets, layout.logs):
        folder.mkdir(mode=0o700)
    ca.issue(layout, (*IDENTITIES, "postgres"), datetime.now(UTC))
    place = settle(layout, None, lambda sentence: None)
    ports, _ = choose(("postgres",), {}, set())
    server = Server(layout, place, ports["postgres"])
    try:
        server.start()
        postgres.furnish(layout, server.port, load_policy())
        yield server
    finally:
        server.kill()
        shutil.rmtree(area, ignore_errors=True)
        if place.temporary:
            shutil.rmtree(place.folder.parent, ignore_errors=True)


@pytest.mark.slow
def test_what_was_acknowledged_survives_and_nothing_is_half_written(server: Server, tmp_path: Path):
    """And every committed change is an event exactly once, though it is captured while the writers write."""
    lake = Lake(str(tmp_path / "lake"))
    with psycopg.connect(server.dsn) as connection:
        connection.execute("INSERT INTO shop.members VALUES ('ada', 'active', '2024-01-01')")
    acknowledged: dict[int, int] = {}
    begun: dict[int, int] = {}

    def write(number: int) -> None:
        """Each transaction: a version of an item of its own, and a sale of it with one detail."""
        try:
            with psycopg.connect(server.dsn) as own:
                for turn in range(100_000):
                    begun[number] = turn
                    with own.transaction():
                        values = (f"item-{number}", turn)
                        if turn == 0:
                            own.execute("INSERT INTO shop.items VALUES (%s, 'n', 'm', %s, 1)", values)
                        else:
                            own.execute("UPDATE shop.items SET cost = %s WHERE item_id = %s", values[::-1])
                        sale = f"sale-{number}-{turn}"
                        own.execute("INSERT INTO shop.sales (sale_id, membership_id) VALUES (%s, 'ada')", (sale,))
                        own.execute(
                            "INSERT INTO shop.sales_details (sale_id, item_id, quantity) VALUES (%s, %s, 2)",
                            (sale, values[0]),
                        )
                    acknowledged[number] = turn
        except psycopg.OperationalError:
            return

    writers = [threading.Thread(target=write, args=(number,), daemon=True) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 60
    while len(acknowledged) < WRITERS or sum(acknowledged.values()) < 4 * WRITERS:
        assert time.monotonic() < deadline, f"only {len(acknowledged)} writers came to a commit"
        capture(server.dsn, lake)
    server.kill()
    with pytest.raises(ShopUnavailable):
        capture(server.dsn, lake)
    for writer in writers:
        writer.join(60)
    assert not any(writer.is_alive() for writer in writers)
    server.start()

    with psycopg.connect(server.dsn) as connection:
        found = connection.execute(
            "SELECT item_id, array_agg(cost::integer ORDER BY effective_date), count(*) FILTER (WHERE current_flag)"
            " FROM shop.item_versions GROUP BY 1"
        ).fetchall()
        assert len(found) == WRITERS
        for item, costs, current in found:
            number = int(item.removeprefix("item-"))
            # The last one may have been committed without the answer having arrived; never one more, never a gap.
            assert costs == list(range(costs[-1] + 1))
            assert acknowledged[number] <= costs[-1] <= begun[number]
            assert current == 1
        kept = connection.execute(
            "SELECT (SELECT count(*) FROM shop.item_versions), (SELECT count(*) FROM shop.sales),"
            " (SELECT count(*) FROM shop.sales_details), (SELECT count(*) FROM shop.sales s"
            " JOIN shop.sales_details d USING (sale_id) WHERE s.total_price = 2 * d.price AND s.total_weight_kg = 2),"
            " (SELECT count(*) FROM shop.changes WHERE operation = 'INSERT' AND table_name <> 'members') / 3"
        ).fetchone()
        assert kept is not None
        assert len(set(kept)) == 1
    capture(server.dsn, lake)
    captured = EventLog(lake, ITEM_EVENTS).read()
    assert captured["op"].unique().to_list() == ["upsert"]
    assert captured["arrival"].to_list() == list(range(captured.height))
    committed = {(item, cost) for item, costs, _ in found for cost in costs}
    assert captured.height == len(committed)
    assert {(item, int(cost)) for item, cost in captured.select("item_id", "cost").rows()} == committed
