"""`darkroom backup` of the running stack, and `darkroom restore` into a home where nothing is but its key store."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import psycopg
import pytest
from deltalake import DeltaTable
from psycopg import sql

from cli.settle import wait_until_settled
from resources.backup import Backups
from resources.keys import open_key_store
from resources.lake import open_lake
from resources.opening import Opened, Opener
from resources.raw_search import search
from resources.records import records_of
from stack.state import stack_settings
from tests.live_stack import LiveStack, run_darkroom, tear_down
from tests.system.history import png
from transforms.tables import RAW_IMAGES

pytestmark = [pytest.mark.stack, pytest.mark.slow]

SHOP = ("change_record", "changes", "item_versions", "member_contacts", "members", "sales", "sales_details")


@dataclass
class Moved:
    """The backup, and what it was restored into."""

    folder: Path
    home: Path
    said: str


@pytest.fixture(scope="module")
def moved(stack: LiveStack) -> Iterator[Moved]:
    # Not pytest's tmp_path: that is too long for sockets and closed to PostgreSQL's account.
    area = Path(tempfile.mkdtemp(prefix="darkroom-backup-"))
    area.chmod(0o711)
    folder, home = area / "backup", area / "home"
    try:
        # By itself, too, there is an image to bring back.
        (area / "one.png").write_bytes(png(20_261_128))
        stack.run("send", str(area / "one.png"))
        wait_until_settled(stack.settings("operator"), stack.dagster(), 180)
        stack.run("backup", str(folder))
        home.mkdir(mode=0o700)
        shutil.copytree(stack.home / "keys", home / "keys")
        assert run_darkroom(home, "up", "--only", "postgres").returncode == 0
        done = run_darkroom(home, "restore", str(folder))
        assert done.returncode == 0, done.stdout + done.stderr
        yield Moved(folder, home, done.stdout)
    finally:
        tear_down(home)
        shutil.rmtree(area, ignore_errors=True)


def shop_rows(home: Path, table: str) -> list[tuple[object, ...]]:
    with psycopg.connect(stack_settings(home, "admin").postgres_dsn) as connection:
        query = sql.SQL("SELECT t::text FROM {} t ORDER BY 1").format(sql.Identifier("shop", table))
        return connection.execute(query).fetchall()


def triggers(home: Path) -> list[tuple[str, str, str]]:
    """Table, name and firmness of every trigger of the shop's."""
    with psycopg.connect(stack_settings(home, "admin").postgres_dsn) as connection:
        return connection.execute(
            "SELECT tgrelid::regclass::text, tgname, tgenabled::text FROM pg_trigger JOIN pg_class ON tgrelid = "
            "pg_class.oid WHERE NOT tgisinternal AND relnamespace = 'shop'::regnamespace ORDER BY 1, 2"
        ).fetchall()


def test_the_lake_is_what_it_was_at_the_versions_of_the_backup_and_its_images_open(
    stack: LiveStack, moved: Moved
) -> None:
    here, there = open_lake(stack.settings()), open_lake(stack_settings(moved.home, "operator"))
    keys = open_key_store(stack_settings(moved.home, "operator"))
    made = Backups(there, keys, None).look(moved.folder)
    assert RAW_IMAGES.name in made.tables
    for name, said in made.tables.items():
        before = pl.scan_delta(DeltaTable(here.uri(name), version=said["version"]))
        after = pl.scan_delta(there.open(name))
        assert after.select(pl.len()).collect().item() == said["rows"], name
        columns = before.collect_schema().names()
        hashed = [frame.select(pl.struct(columns).hash()).collect().to_series().sort() for frame in (before, after)]
        assert hashed[0].equals(hashed[1]), name
    opener = Opener(stack_settings(moved.home, "operator"), keys)
    rows = pl.scan_delta(there.open(RAW_IMAGES.name)).head(200).collect().to_arrow().cast(RAW_IMAGES.schema)
    found = [opener.open(record) for batch in rows.to_batches() for record in records_of(batch)]
    assert sum(isinstance(one, Opened) for one in found) > len(found) / 2 > 0


def test_the_shop_is_what_it_was_and_guards_its_history_as_before(stack: LiveStack, moved: Moved) -> None:
    for table in SHOP:
        assert shop_rows(moved.home, table) == shop_rows(stack.home, table), table
    assert shop_rows(moved.home, "change_record"), "and not the one that a new shop begins with"
    assert triggers(moved.home) == triggers(stack.home)
    assert "A" in {enabled for _, _, enabled in triggers(moved.home)}, "some fire for everybody"
    filled = [name for name in ("change_record", "changes") if shop_rows(moved.home, name)]
    with psycopg.connect(stack_settings(moved.home, "admin").postgres_dsn) as connection:
        for statement in (f"DELETE FROM shop.{name}" for name in filled):  # a row's trigger needs a row
            with pytest.raises(psycopg.errors.RestrictViolation), connection.transaction():
                connection.execute("SET session_replication_role = replica")
                connection.execute(statement)  # type: ignore[arg-type]


def test_the_models_are_there(stack: LiveStack, moved: Moved) -> None:
    def files(home: Path) -> set[str]:
        return {path.relative_to(home).as_posix() for path in (home / "mlflow").rglob("*") if path.is_file()}

    assert files(moved.home) == files(stack.home)


def test_nothing_of_it_is_readable_and_it_holds_no_key(stack: LiveStack, moved: Moved) -> None:
    secret = open_key_store(stack.settings("admin")).platform_secret()
    needles = {"secret": secret, "wrapped": b"wrapped_by", "shop": b"item_versions", "log": b"commitInfo"}
    assert search(moved.home / "lake", needles)["log"], "the search sees"
    assert {name: files for name, files in search(moved.folder, needles).items() if files} == {}
    assert "Restored into" in moved.said and "accept-loss" in moved.said


def test_common_mistakes_are_said_in_a_sentence(stack: LiveStack, moved: Moved, tmp_path: Path) -> None:
    again = stack.run("backup", str(moved.folder), check=False)
    assert again.returncode == 1 and "never written over another" in again.stderr
    refused = stack.run("restore", str(moved.folder), check=False)
    assert refused.returncode == 1 and "overwrites nothing" in refused.stderr
    nothing = stack.run("restore", str(tmp_path), "--look", check=False)
    assert nothing.returncode == 1 and "it is no backup" in nothing.stderr
    shown = stack.run("restore", str(moved.folder), "--look").stdout
    assert RAW_IMAGES.name in shown
