"""The purge takes what is over out of every table, and nothing else, wherever it is stopped and whoever runs beside."""

from __future__ import annotations

import os
import threading
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from resources import data_files, kafka
from resources.audit import AuditUnavailable
from resources.kafka_errors import TopicMissing
from resources.key_life import KeyLife
from resources.key_objects import DayDestroyed, KeyDestroyed, KeyObjects
from resources.keys import KeyStore, open_key_store
from resources.lake import Lake, open_lake
from resources.lake_failures import LakeUnavailable
from resources.purging import ClocksDisagree, Purge, Purged
from resources.settings import Settings
from resources.upkeep import maintain
from tests.resources.dying import killed_at
from transforms.landing_protocol import TopicState
from transforms.retention import BRONZE, KEPT, PURGED
from transforms.tables import PROCESSED_IMAGES, RAW_IMAGES, TABLES, TableSpec

WHO = "b" * 16
OLD, NEXT = date(2026, 3, 5), date(2026, 3, 6)
TOPIC_ID = "AAAAAAAAAAAAAAAAAAAAAA"
SEVEN_LATER = datetime(2026, 3, 12, tzinfo=UTC)
"""The first moment at which what was appended on OLD is over, and nothing of NEXT."""


def noon(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)


def rows(spec: TableSpec, day: date, appended: date, offsets: range) -> pa.Table:
    """Rows of any table, with something in each column."""

    def value(field: pa.Field, offset: int) -> Any:
        given = {"topic_id": TOPIC_ID, "partition": 0, "offset": offset, "split": "train", "id": f"{day}-{offset}"}
        if field.name in given:
            return given[field.name]
        if pa.types.is_timestamp(field.type):
            return noon(appended)
        if pa.types.is_date(field.type):
            return day
        if pa.types.is_list(field.type):
            return []
        for of, something in (
            (pa.types.is_boolean, True),
            (pa.types.is_integer, 1),
            (pa.types.is_floating, 0.5),
            (pa.types.is_binary, os.urandom(40)),
        ):
            if of(field.type):
                return something
        return "x"

    made = [{field.name: value(field, offset) for field in spec.schema} for offset in offsets]
    return pa.Table.from_pylist(made, schema=spec.schema)


class Projection:
    """In the place of PostgreSQL: takes what is asked of it."""

    def __init__(self) -> None:
        self.forgotten: list[tuple[date, list[date]]] = []
        self.people: list[list[tuple[date, str]]] = []

    def forget(self, last: date, kept: list[date], people: list[tuple[date, str]]) -> int:
        self.forgotten.append((last, list(kept)))
        self.people.append(people)
        return 3

    def clock(self) -> datetime:
        raise AssertionError("the witness is given")


class Home:
    """An empty home: settings, key store and lake."""

    def __init__(self, home: Path) -> None:
        self.settings = self.settings_of(home)
        (home / "logs").mkdir()
        self.keys.initialise()

    def settings_of(self, home: Path) -> Settings:
        return Settings(home=home, key_cache_seconds=0)

    @property
    def keys(self) -> KeyStore:
        return open_key_store(self.settings)

    @property
    def lake(self) -> Lake:
        return open_lake(self.settings)


class Stage(Home):
    """A lake with two days in every table, their keys, and a purge by a clock of ours."""

    tables = PURGED

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.names = {day: self.keys.current_key(day, WHO).name for day in (OLD, NEXT)}
        for spec in self.tables:
            self.add(spec, OLD, OLD, range(4))
            self.add(spec, NEXT, NEXT, range(4, 7))
        for spec in KEPT[:2]:
            self.add(spec, OLD, OLD, range(2))
        self.now = SEVEN_LATER
        self.projection = Projection()

    def add(self, spec: TableSpec, day: date, appended: date, offsets: range) -> None:
        lake = self.lake
        lake.append(lake.ensure(spec), spec, rows(spec, day, appended, offsets), {f"of-{spec.name}": offsets.stop})

    def purge(self, **given: Any) -> Purge:
        given = {"now": lambda: self.now, "witness": lambda: self.now, **given}
        return Purge(self.settings, self.lake, self.projection, **given)  # type: ignore[arg-type]

    def counts(self, spec: TableSpec) -> dict[date, int]:
        counted = pl.scan_delta(self.lake.open(spec.name)).group_by("day").len().collect()
        return dict(counted.iter_rows())

    def files(self, spec: TableSpec, day: object) -> list[Path]:
        return sorted((self.settings.home / "lake" / spec.name / f"day={day}").glob("*"))

    def expect_gone(self) -> None:
        """The end of every purge here: OLD is nowhere, NEXT is whole."""
        for spec in self.tables:
            assert self.counts(spec) == {NEXT: 3}, spec.name
            assert self.files(spec, OLD) == [], spec.name
            handle = self.lake.open(spec.name)
            assert self.lake.identifier(handle, f"of-{spec.name}") == 7, "identifiers stay"
        for spec in KEPT[:2]:
            assert self.counts(spec) == {OLD: 2}, "counts speak of nobody"
        with pytest.raises(KeyDestroyed):
            self.keys.open_key(self.names[OLD])
        with pytest.raises(DayDestroyed):
            self.keys.current_key(OLD, WHO)
        assert self.keys.open_key(self.names[NEXT]).name == self.names[NEXT]
        left = {path.parent.name for path in (self.settings.home / "keys" / "data").rglob("*.json")}
        assert left == {str(NEXT)}, "nothing lies under a destroyed key"
        assert self.projection.forgotten[-1] == (OLD, [])


class Broker:
    """In the place of `resources.kafka.Admin`: three topics that hold offsets 0 to 6."""

    deleted: dict[str, dict[int, int]] = {}  # noqa: RUF012 - emptied by the fixture

    def __init__(self, settings: Settings) -> None:
        pass

    def state(self, topic: str) -> TopicState:
        return TopicState(topic, TOPIC_ID, {0: (self.deleted.get(topic, {}).get(0, 0), 7)})

    def delete_records(self, topic: str, before: dict[int, int]) -> dict[int, int]:
        Broker.deleted[topic] = before
        return before


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(Broker, "deleted", {})
    monkeypatch.setattr(kafka, "Admin", Broker)
    return Stage(tmp_path)


def test_every_table_is_purged_or_kept_and_none_is_forgotten() -> None:
    assert sorted(spec.name for spec in (*PURGED, *KEPT)) == sorted(spec.name for spec in TABLES)
    assert not {spec.name for spec in PURGED} & {spec.name for spec in KEPT}
    for spec in KEPT:
        assert not {"pseudonym", "id", "key", "payload"} & set(spec.schema.names), spec.name
    assert PURGED[-len(BRONZE) :] == BRONZE


def test_a_day_that_is_over_is_gone_from_every_table_and_disk_and_the_next_is_whole(stage: Stage) -> None:
    before = {spec.name: stage.files(spec, NEXT) for spec in PURGED}
    done = stage.purge().run()
    stage.expect_gone()
    assert {spec.name: stage.files(spec, NEXT) for spec in PURGED} == before
    assert done.rows == {spec.name: 4 for spec in PURGED}
    assert (done.keys, done.files, done.states, done.key_files) == (1, len(PURGED), 3, 2)
    assert [(one.day, one.due) for one in done.days] == [(OLD, True)]
    settings = stage.settings
    topics = (settings.topic, settings.labels_topic, settings.recognised_topic)
    assert Broker.deleted == {topic: {0: 4} for topic in topics}, "up to the first that lives"
    log = (settings.home / "logs" / "audit.log").read_text()
    assert f'"event": "keys destroy", "day": "{OLD}", "who": "retention"' in log
    again = stage.purge().run()
    assert (again.days, again.rows, again.keys, again.files, again.kafka) == ([], {}, 0, 0, {})


def test_nothing_is_taken_a_moment_too_soon(stage: Stage) -> None:
    stage.now = SEVEN_LATER - timedelta(microseconds=1)
    done = stage.purge().run()
    assert (done.days, done.rows, Broker.deleted) == ([], {}, {})
    assert stage.counts(RAW_IMAGES) == {OLD: 4, NEXT: 3}
    assert stage.projection.forgotten == [(OLD - timedelta(days=1), [])]


@pytest.mark.parametrize("spec", [RAW_IMAGES, PROCESSED_IMAGES])
def test_a_day_lives_as_long_as_the_youngest_of_its_records(stage: Stage, spec: TableSpec) -> None:
    """Its name is the door's word; when the broker took it is the record's own."""
    stage.add(spec, OLD, NEXT, range(7, 8))
    done = stage.purge().run()
    assert [one.sentence for one in done.days] == [f"kept: its youngest record is of {NEXT}"]
    assert done.rows == {}
    assert stage.projection.forgotten == [(OLD, [OLD])]
    stage.now += timedelta(days=1)
    assert [one.due for one in stage.purge().run().days] == [True, True]
    assert stage.counts(spec) == {}


def test_a_held_day_is_kept_until_it_is_released(stage: Stage) -> None:
    owner = KeyLife(stage.settings, "olga", "case 12", now=lambda: noon(NEXT))
    assert owner.hold(OLD)
    assert not KeyLife(stage.settings, "otto", "another").hold(OLD), "the first stands"
    before = {spec.name: stage.files(spec, OLD) for spec in PURGED}
    done = stage.purge().run()
    assert [one.sentence for one in done.days] == [f"kept: held since {NEXT} by olga: case 12"]
    assert {spec.name: stage.files(spec, OLD) for spec in PURGED} == before
    assert stage.keys.open_key(stage.names[OLD])
    assert stage.projection.forgotten == [(OLD, [OLD])]
    owner.release(OLD)
    stage.purge().run()
    stage.expect_gone()


@pytest.mark.parametrize("apart", [timedelta(days=1), timedelta(days=-1), timedelta(hours=2)])
def test_two_clocks_that_disagree_purge_nothing(stage: Stage, apart: timedelta) -> None:
    purge = stage.purge(witness=lambda: stage.now - apart)
    with pytest.raises(ClocksDisagree, match=r"Nothing was purged: this process has 2026-03-12T00:00:00\+00:00"):
        purge.run()
    assert stage.counts(RAW_IMAGES) == {OLD: 4, NEXT: 3}
    assert stage.projection.forgotten == []
    assert stage.keys.open_key(stage.names[OLD])


def test_without_an_audit_log_nothing_is_purged(stage: Stage) -> None:
    (stage.settings.home / "logs" / "audit.log").mkdir()
    with pytest.raises(AuditUnavailable):
        stage.purge().run()
    assert stage.counts(RAW_IMAGES) == {OLD: 4, NEXT: 3}
    assert stage.keys.open_key(stage.names[OLD])


STEPS: dict[str, tuple[type, str, int]] = {
    "before the key": (KeyLife, "destroy_day", 0),
    "before Kafka": (Broker, "delete_records", 0),
    "in Kafka": (Broker, "delete_records", 1),
    **{f"before table {n}": (Lake, "replace_files", n) for n in (0, 1, 5, len(PURGED) - 1)},
    **{f"before the files of table {n}": (Purge, "_sweep", n) for n in (0, 5, len(PURGED) - 1)},
    "before the states": (Projection, "forget", 0),
    "before the key files": (KeyLife, "clear_days", 0),
    "in the key files": (KeyObjects, "delete", 1),
}


def purge(stage: Stage) -> None:
    """In a process of its own, which has no fixture."""
    kafka.Admin = Broker  # type: ignore[misc,assignment]
    stage.purge().run()


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_it_is_finished_by_the_next(
    stage: Stage, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_at(purge, stage, *STEPS[step])
    # What a killed purge left on the disk is days old, here an instant.
    monkeypatch.setattr(data_files, "IN_FLIGHT", timedelta(days=-10_000))
    stage.purge().run()
    stage.expect_gone()


def test_two_purges_at_once_do_it_together(stage: Stage) -> None:
    done: list[Purged | Exception] = []

    def run() -> None:
        try:
            done.append(stage.purge().run())
        except Exception as error:
            done.append(error)

    both = [threading.Thread(target=run) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [one for one in done if isinstance(one, Exception)] == []
    stage.expect_gone()
    removed = [one.rows.get(RAW_IMAGES.name, 0) for one in done if isinstance(one, Purged)]
    assert sum(removed) == 4


def test_beside_landing_and_compaction_nothing_of_another_day_is_lost(stage: Stage) -> None:
    """A handle from before goes on writing, and upkeep rewrites what is about to go."""
    lake, spec = stage.lake, RAW_IMAGES
    handle, ended = lake.ensure(spec), threading.Event()
    stage.add(spec, OLD, OLD, range(7, 9))

    def keep_up() -> None:
        while not ended.is_set():
            maintain(stage.lake, spec, keep_hours=24)

    upkeep = threading.Thread(target=keep_up)
    upkeep.start()
    try:
        stage.purge().run()
    finally:
        ended.set()
        upkeep.join()
    lake.append(handle, spec, rows(spec, NEXT, NEXT, range(9, 11)), {"another": 1})
    assert stage.counts(spec) == {NEXT: 5}
    assert pl.scan_delta(stage.lake.open(spec.name)).collect().height == 5, "every file is there"


def test_a_file_that_its_writer_may_still_commit_is_left_and_an_old_orphan_goes(stage: Stage) -> None:
    stage.now = datetime.now(UTC)
    folder = stage.settings.home / "lake" / RAW_IMAGES.name / f"day={OLD}"
    young, old = folder / "part-young.parquet", folder / "part-old.parquet"
    for orphan in (young, old):
        orphan.write_bytes(b"PAR1")
    two_hours_ago = stage.now.timestamp() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))
    stage.purge().run()
    assert stage.files(RAW_IMAGES, OLD) == [young]


def test_a_file_that_another_process_removed_first_is_no_error_and_any_other_is(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upkeep and two purges at once sweep the same folders."""
    real, folder = data_files.unnamed_files, f"day={OLD}"

    def beside(lake: Lake, spec: TableSpec, *given: Any) -> list[tuple[date, str]]:
        left = real(lake, spec, *given)
        for _, path in left:
            (stage.settings.home / "lake" / spec.name / path).unlink()
        return left

    monkeypatch.setattr(data_files, "unnamed_files", beside)
    assert stage.purge().run().files == 0
    stage.expect_gone()
    monkeypatch.setattr(data_files, "unnamed_files", lambda *given: [(OLD, folder)])
    with pytest.raises(LakeUnavailable, match=folder):
        stage.purge().run()


def test_a_topic_that_a_site_does_not_have_stops_no_purge(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Broker.state

    def state(self: Broker, topic: str) -> TopicState:
        if topic == stage.settings.labels_topic:
            raise TopicMissing(f"there is no topic {topic!r}")
        return real(self, topic)

    monkeypatch.setattr(Broker, "state", state)
    stage.purge().run()
    stage.expect_gone()
    assert sorted(Broker.deleted) == sorted([stage.settings.topic, stage.settings.recognised_topic])


def test_kafka_keeps_what_bronze_does_not_hold(stage: Stage) -> None:
    """A table that lost rows is landed again from the topic: what it lacks is not deleted there."""
    lake = stage.lake
    handle = lake.open(RAW_IMAGES.name)
    lake.replace_days(handle, RAW_IMAGES, None, [NEXT])
    lake.replace_days(handle, RAW_IMAGES, rows(RAW_IMAGES, OLD, OLD, range(2)), [OLD])
    stage.purge().run()
    assert Broker.deleted[stage.settings.topic] == {0: 2}
