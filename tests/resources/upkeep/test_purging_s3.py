"""The purge of a lake that is a bucket: rows go, and the objects with them."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from benchmarks._s3 import S3Server
from resources import kafka
from resources.backup import Backups
from resources.keys import open_key_store
from resources.lake import open_lake
from resources.settings import Settings
from tests.resources.upkeep.test_purging import NEXT, OLD, Broker, Stage
from transforms.tables import PROCESSED_IMAGES, RAW_IMAGES, TableSpec


class Remote(Stage):
    """A stage whose tables, two of them, lie in a bucket; the keys in a folder, as `darkroom up --lake s3` has them."""

    tables = (RAW_IMAGES, PROCESSED_IMAGES)

    def __init__(self, home: Path, server: S3Server) -> None:
        self._server = server
        home.mkdir(exist_ok=True)
        super().__init__(home)

    def settings_of(self, home: Path) -> Settings:
        return self._server.settings(home=home, key_cache_seconds=0)

    def files(self, spec: TableSpec, day: object) -> list[Path]:
        folder = self._server.data / self.settings.lake_root.split("/", 3)[3] / spec.name / f"day={day}"
        return sorted(path for path in folder.glob("*") if path.is_file())


def test_a_day_that_is_over_is_gone_from_the_bucket_and_the_next_is_whole(
    tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Broker, "deleted", {})
    monkeypatch.setattr(kafka, "Admin", Broker)
    stage = Remote(tmp_path, s3_server)
    assert all(stage.files(spec, OLD) and stage.files(spec, NEXT) for spec in stage.tables), "the search finds them"
    before = {spec.name: stage.files(spec, NEXT) for spec in stage.tables}
    done = stage.purge().run()
    assert done.files == len(stage.tables)
    stage.expect_gone()
    assert {spec.name: stage.files(spec, NEXT) for spec in stage.tables} == before


def test_a_backup_of_the_bucket_is_restored_into_another_and_a_purged_day_stays_dark(
    tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Broker, "deleted", {})
    monkeypatch.setattr(kafka, "Admin", Broker)
    stage = Remote(tmp_path / "one", s3_server)
    Backups(stage.lake, stage.keys, None).make(tmp_path / "backup")
    stage.purge().run()
    another = s3_server.settings(home=tmp_path / "another", key_cache_seconds=0)
    assert another.lake_root != stage.settings.lake_root
    shutil.copytree(tmp_path / "one" / "keys", tmp_path / "another" / "keys")
    there = open_lake(another)
    done = Backups(there, open_key_store(another), None).restore(tmp_path / "backup")
    assert done.dark == {spec.name: 1 for spec in stage.tables}
    for spec in stage.tables:
        rows = pl.scan_delta(there.open(spec.name)).collect()
        assert set(rows["day"]) == {NEXT} and rows.height == stage.counts(spec)[NEXT]
