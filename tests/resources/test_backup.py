"""A backup comes back as it was, is dark without the key store, and outlives no day."""

from __future__ import annotations

import errno
import os
import shutil
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from resources import backup as module
from resources.backup import MANIFEST, Backups
from resources.backup_databases import BackupFailed, BackupRefused, Databases
from resources.key_objects import KeyUnavailable
from resources.raw_search import search
from resources.sealed_file import SealBroken
from tests.resources.upkeep.test_purging import NEXT, OLD, Home, Stage, rows, stage
from transforms.retention import KEPT, PURGED
from transforms.tables import PROCESSED_IMAGES, RAW_IMAGES, TableSpec

__all__ = ["stage"]

SPECS = (*PURGED, *KEPT[:2])


def of(home: Home) -> Backups:
    return Backups(home.lake, home.keys, None)


class Another(Home):
    """An empty home; with a copy of a key store, or with one of its own."""

    def __init__(self, home: Path, keys: Path | None) -> None:
        home.mkdir()
        if keys is None:
            super().__init__(home)
        else:
            shutil.copytree(keys, home / "keys")
            self.settings = self.settings_of(home)


@pytest.fixture
def another(stage: Stage, tmp_path: Path) -> Another:
    return Another(tmp_path / "another", stage.settings.home / "keys")


def held(home: Home, spec: TableSpec) -> pl.DataFrame:
    frame = pl.read_delta(home.lake.uri(spec.name))
    return frame.sort([name for name in ("topic_id", "partition", "offset", "day") if name in frame.columns])


def days(home: Home, spec: TableSpec) -> set[Any]:
    return set(held(home, spec)["day"])


def test_every_table_comes_back_as_it_was_with_its_version_and_identifiers(
    stage: Stage, another: Another, tmp_path: Path
) -> None:
    made = of(stage).make(tmp_path / "backup")
    assert set(made.tables) == {spec.name for spec in SPECS}
    done = of(another).restore(tmp_path / "backup")
    assert (set(done.tables), done.dark) == (set(made.tables), {})
    for spec in SPECS:
        assert held(another, spec).equals(held(stage, spec)), spec.name
        there, here = another.lake.open(spec.name), stage.lake.open(spec.name)
        assert there.version() == here.version() == made.tables[spec.name]["version"]
        assert another.lake.identifier(there, f"of-{spec.name}") == stage.lake.identifier(here, f"of-{spec.name}")
    assert another.keys.open_key(stage.names[OLD]).material == stage.keys.open_key(stage.names[OLD]).material


def test_nothing_in_it_is_readable_and_the_key_store_is_no_part_of_it(stage: Stage, tmp_path: Path) -> None:
    of(stage).make(tmp_path / "backup")
    secret = stage.keys.platform_secret()
    needles = {"secret": secret, "column": b"payload_sha256", "commit": b"commitInfo", "key": b"wrapped_by"}
    for spec in PURGED:
        for name in spec.sealed:
            needles |= {f"{spec.name}.{name} {n}": value for n, value in enumerate(held(stage, spec)[name])}
    before = search(stage.settings.home / "lake", needles)
    assert {name for name, files in before.items() if not files} == {"secret", "key"}
    assert {name: files for name, files in search(tmp_path / "backup", needles).items() if files} == {}
    names = {path.name for path in (tmp_path / "backup").rglob("*") if path.is_file()}
    assert {Path(name).suffix for name in names} == {".sealed"}
    assert not [name for name in names if "cmk" in name]


def test_a_day_that_is_purged_is_dark_in_every_backup_also_what_came_unsealed(
    stage: Stage, another: Another, tmp_path: Path
) -> None:
    """The stage's bronze has payloads without an envelope: the day's own key sealed them once more."""
    of(stage).make(tmp_path / "backup")
    stage.purge().run()
    shutil.rmtree(another.settings.home / "keys")
    shutil.copytree(stage.settings.home / "keys", another.settings.home / "keys")
    done = of(another).restore(tmp_path / "backup")
    assert done.dark == {spec.name: 1 for spec in PURGED}
    for spec in PURGED:
        assert days(another, spec) == {NEXT}, spec.name
        assert held(another, spec).filter(pl.col("day") == NEXT).equals(held(stage, spec)), spec.name
    for spec in KEPT[:2]:
        assert held(another, spec).equals(held(stage, spec))


def test_a_day_of_tombstones_alone_has_no_key_before_its_first_backup_and_ends_with_its_purge_like_others(
    stage: Stage, tmp_path: Path
) -> None:
    """Its files were refused for want of a key, and with them every backup for as long as the day lived."""
    last = date(2026, 3, 7)
    bad = [
        {**row, "payload": None, "payload_sha256": None} for row in rows(RAW_IMAGES, last, last, range(2)).to_pylist()
    ]
    stage.lake.append(stage.lake.open(RAW_IMAGES.name), RAW_IMAGES, pa.Table.from_pylist(bad, schema=RAW_IMAGES.schema))
    of(stage).make(tmp_path / "backup")
    another = Another(tmp_path / "another", stage.settings.home / "keys")
    of(another).restore(tmp_path / "backup")
    assert held(another, RAW_IMAGES).equals(held(stage, RAW_IMAGES))
    stage.now = datetime(2026, 3, 14, tzinfo=UTC)
    stage.purge().run()
    later = Another(tmp_path / "later", stage.settings.home / "keys")
    assert of(later).restore(tmp_path / "backup").dark == {spec.name: 2 + (spec is RAW_IMAGES) for spec in PURGED}
    assert days(later, RAW_IMAGES) == set()


def test_without_the_key_store_it_is_dark(stage: Stage, tmp_path: Path) -> None:
    of(stage).make(tmp_path / "backup")
    with pytest.raises(SealBroken, match="its key is another"):
        of(Another(tmp_path / "thief", None)).restore(tmp_path / "backup")
    shutil.rmtree(tmp_path / "thief" / "keys")
    with pytest.raises(KeyUnavailable):
        of(Another(tmp_path / "second", tmp_path / "backup")).restore(tmp_path / "backup")


def test_nothing_is_written_over(stage: Stage, another: Another, tmp_path: Path) -> None:
    of(stage).make(tmp_path / "backup")
    with pytest.raises(BackupRefused, match="is there already"):
        of(stage).make(tmp_path / "backup")
    before = held(stage, RAW_IMAGES)
    with pytest.raises(BackupRefused, match=r"has images/daily_uploads, .* already"):
        of(stage).restore(tmp_path / "backup")
    assert held(stage, RAW_IMAGES).equals(before)
    of(another).restore(tmp_path / "backup")


def test_one_that_is_not_whole_is_refused_before_anything_is_restored(
    stage: Stage, another: Another, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    of(stage).make(folder)
    taken = next(folder.rglob("*.parquet.sealed"))
    kept = taken.read_bytes()
    taken.unlink()
    with pytest.raises(BackupRefused, match="lacks 1 of its"):
        of(another).restore(folder)
    taken.write_bytes(kept)
    (folder / MANIFEST).rename(tmp_path / MANIFEST)
    with pytest.raises(BackupRefused, match="stopped before its end"):
        of(another).restore(folder)
    assert not (another.settings.home / "lake").exists()


def test_a_changed_file_is_found_and_never_in_the_lake(stage: Stage, another: Another, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    of(stage).make(folder)
    (data,) = (folder / "lake" / RAW_IMAGES.name / f"day={NEXT}").glob("*.sealed")
    changed = bytearray(data.read_bytes())
    changed[-30] ^= 1
    data.write_bytes(changed)
    with pytest.raises(SealBroken, match="it was changed"):
        of(another).restore(folder)
    assert not list((another.settings.home / "lake" / RAW_IMAGES.name).rglob(f"day={NEXT}/*"))


def test_a_purge_in_the_middle_of_a_backup_is_no_failure(
    stage: Stage, another: Another, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, done = module.seal_file, []

    def disturbed(*given: Any) -> int:
        if not done and given[2].startswith(f"lake/{PROCESSED_IMAGES.name}/"):
            done.append(stage.purge().run())
        return real(*given)

    monkeypatch.setattr(module, "seal_file", disturbed)
    of(stage).make(tmp_path / "backup")
    assert done
    shutil.rmtree(another.settings.home / "keys")
    shutil.copytree(stage.settings.home / "keys", another.settings.home / "keys")
    of(another).restore(tmp_path / "backup")
    for spec in PURGED:
        assert days(another, spec) == {NEXT}, spec.name


def test_a_place_that_cannot_be_written_and_a_database_that_is_away_are_said(
    stage: Stage, another: Another, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BackupRefused, match="is there already"):
        of(stage).make(tmp_path / "file")
    with pytest.raises(BackupFailed, match=r"was stopped; .*remove it and begin again: .*Not a directory"):
        of(stage).make(tmp_path / "file" / "below")
    away = Databases(tmp_path, "host=127.0.0.1 port=1 dbname=platform user=nobody")
    with pytest.raises(BackupFailed, match=r"No such file.*pg_dump"):
        Backups(stage.lake, stage.keys, away).make(tmp_path / "half")
    of(stage).make(tmp_path / "backup")
    with pytest.raises(BackupFailed, match=r"PostgreSQL does not answer .*up --only postgres"):
        Backups(another.lake, another.keys, away).restore(tmp_path / "backup")
    assert not (another.settings.home / "lake").exists()


def test_a_disk_that_fills_up_is_said_and_leaves_no_backup(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(given[1]))

    monkeypatch.setattr(module, "seal_file", full)
    with pytest.raises(BackupFailed, match="No space left on device"):
        of(stage).make(tmp_path / "backup")
    monkeypatch.undo()
    with pytest.raises(BackupRefused, match="stopped before its end"):
        of(stage).look(tmp_path / "backup")
