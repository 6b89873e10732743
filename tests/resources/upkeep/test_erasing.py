"""Erasing an uploader or an image takes what is theirs out of every table, and nothing of anybody else."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from resources import data_files, erasing
from resources.erasing import DayHeld, Eraser, NothingToErase
from resources.key_life import KeyLife
from resources.key_objects import KeyDestroyed
from resources.keys import KeyStore
from resources.lake import Lake
from resources.postgres import StatusRow
from resources.raw_search import search
from tests.resources.dying import killed_at
from tests.resources.upkeep.test_purging import Home, rows
from transforms.names import pseudonym
from transforms.retention import BRONZE, ERASED_HEADER, PURGED, erased_rows
from transforms.tables import LABEL_TRUST, PROCESSED_IMAGES, RAW_IMAGES, TableSpec

DAYS = [date(2026, 3, 5), date(2026, 3, 6)]
NAMES = ("ada", "bob")
IMAGES = 2
"""Of each uploader and day."""


@dataclass
class States:
    """In the place of PostgreSQL."""

    erased: list[tuple[list[str], list[tuple[date, str]]]] = field(default_factory=list)

    known: list[StatusRow] = field(default_factory=list)

    def get(self, id: str) -> StatusRow | None:
        return next((row for row in self.known if row.id == id), None)

    def erase(self, ids: list[str], people: list[tuple[date, str]]) -> int:
        self.erased.append((ids, people))
        return 1


def image_id(name: str, day: date, number: int) -> str:
    return f"{name}{day.day}{'abc'[number]}".ljust(26, "a").replace("0", "a").replace("1", "a")[:26]


class Stage(Home):
    """Two uploaders on two days, in every table, in one file a day."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.states = States()
        secret = self.keys.platform_secret()
        self.names = {
            (name, day): self.keys.current_key(day, pseudonym(secret, name, day)).name for name in NAMES for day in DAYS
        }
        self.words = {
            (name, day, number): f"sealed-by-{name}-{day}-{number}".encode()
            for name in NAMES
            for day in DAYS
            for number in range(IMAGES)
        }
        for spec in PURGED:
            for day in DAYS:
                made = [
                    self.row(spec, name, day, number, offset)
                    for offset, (name, number) in enumerate(
                        (name, number) for name in NAMES for number in range(IMAGES)
                    )
                ]
                self.lake.append(
                    self.lake.ensure(spec), spec, pa.Table.from_pylist(made, schema=spec.schema), {"w": day.day}
                )

    def row(self, spec: TableSpec, name: str, day: date, number: int, offset: int) -> dict[str, Any]:
        (made,) = rows(spec, day, day, range(offset, offset + 1)).to_pylist()
        key, id = self.names[name, day], image_id(name, day, number)
        word = self.words[name, day, number]
        given = {
            "id": id,
            "key": key,
            "pseudonym": pseudonym(self.keys.platform_secret(), name, day),
            "thumbnail": word,
        }
        if spec in BRONZE:
            headers = [
                {"key": "v", "value": b"1"},
                {"key": "id", "value": id.encode()},
                {"key": "key", "value": key.encode()},
            ]
            given = {"key": id.encode(), "headers": headers, "payload": word}
        return {**made, **{column: value for column, value in given.items() if column in made}}

    def eraser(self) -> Eraser:
        life = KeyLife(self.settings, "olga", "asked", now=lambda: datetime(2026, 3, 7, tzinfo=UTC))
        return Eraser(self.lake, self.keys, life, self.states)  # type: ignore[arg-type]

    def table(self, spec: TableSpec) -> pl.DataFrame:
        order = [name for name in ("day", "offset", "pseudonym", "id") if name in spec.schema.names]
        return pl.scan_delta(self.lake.open(spec.name)).collect().sort(order)

    def lie_on_disk(self) -> set[tuple[str, date, int]]:
        """Whose words are in a file of the lake."""
        named = {"/".join(map(str, whose)): word for whose, word in self.words.items()}
        found = search(self.settings.home / "lake", named)
        return {whose for whose in self.words if found["/".join(map(str, whose))]}


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_an_uploader_is_gone_from_every_table_and_the_others_are_whole(stage: Stage) -> None:
    before = {spec.name: stage.table(spec) for spec in PURGED}
    assert stage.lie_on_disk() == set(stage.words)
    expected = {spec.name: len(DAYS) * IMAGES for spec in PURGED}
    seen = stage.eraser().find_uploader("ada")
    assert (seen.days, seen.keys, seen.rows) == (DAYS, len(DAYS), expected)
    assert {spec.name: stage.table(spec) for spec in PURGED}.keys() == before.keys()
    assert all(stage.table(spec).equals(before[spec.name]) for spec in PURGED), "looking changes nothing"
    done = stage.eraser().erase_uploader("ada")
    assert (done.days, done.keys, done.rows, done.states) == (DAYS, len(DAYS), expected, 1)
    for day in DAYS:
        with pytest.raises(KeyDestroyed):
            stage.keys.open_key(stage.names["ada", day])
        assert stage.keys.open_key(stage.names["bob", day])
    assert stage.lie_on_disk() == {whose for whose in stage.words if whose[0] == "bob"}
    for spec in PURGED:
        left = stage.table(spec)
        if spec in BRONZE:
            assert left.height == before[spec.name].height, "each offset keeps its row"
            gone = left.filter(pl.col("payload").is_null())
            assert left.filter(erased_rows()).equals(gone)
            assert gone.height == len(DAYS) * IMAGES
            for row in gone.iter_rows(named=True):
                assert row["headers"] == [{"key": ERASED_HEADER, "value": b""}]
                assert (row["key"], row["payload_sha256"]) == (None, None)
        of_bob = before[spec.name].filter(_of(stage, spec, "bob"))
        assert left.filter(_of(stage, spec, "bob")).equals(of_bob) and of_bob.height == len(DAYS) * IMAGES
        assert left.filter(_of(stage, spec, "ada")).height == 0
        assert stage.lake.identifier(stage.lake.open(spec.name), "w") == DAYS[-1].day
    assert sorted(stage.states.erased[0][1]) == sorted(
        (day, pseudonym(stage.keys.platform_secret(), "ada", day)) for day in DAYS
    )
    log = (stage.settings.home / "logs" / "audit.log").read_text()
    assert '"event": "erase uploader"' in log and "ada" not in log


def test_a_new_image_of_the_uploader_opens_under_a_new_key(stage: Stage) -> None:
    stage.eraser().erase_uploader("ada")
    whose = pseudonym(stage.keys.platform_secret(), "ada", DAYS[0])
    assert stage.keys.current_key(DAYS[0], whose).name != stage.names["ada", DAYS[0]]


def test_an_image_is_gone_and_the_others_of_its_uploader_stand(stage: Stage) -> None:
    id = image_id("ada", DAYS[0], 1)
    with_id = [spec for spec in PURGED if spec in BRONZE or "id" in spec.schema.names]
    assert stage.eraser().find_image(id).rows == {spec.name: 1 for spec in with_id}
    done = stage.eraser().erase_image(id)
    assert (done.days, done.keys, done.rows) == ([DAYS[0]], 0, {spec.name: 1 for spec in with_id})
    assert stage.lie_on_disk() == set(stage.words) - {("ada", DAYS[0], 1)}
    assert stage.keys.erased_ids(DAYS[0]) == {id}
    assert stage.keys.open_key(stage.names["ada", DAYS[0]]), "the others of that day need it"
    assert stage.table(PROCESSED_IMAGES).height == 2 * len(DAYS) * IMAGES - 1
    assert stage.table(RAW_IMAGES)["payload"].null_count() == 1
    assert stage.table(LABEL_TRUST).height == 2 * len(DAYS) * IMAGES, "a verdict on the uploader is none on the image"
    assert stage.states.erased == [([id], [])]


def test_an_image_that_has_not_landed_yet_is_put_on_the_list(stage: Stage) -> None:
    id = "c" * 26
    stage.states.known.append(StatusRow(id, DAYS[1], "b" * 16, "accepted"))
    done = stage.eraser().erase_image(id)
    assert (done.days, done.rows) == ([DAYS[1]], {})
    assert stage.keys.erased_ids(DAYS[1]) == {id}


def erase_ada(stage: Stage) -> None:
    stage.eraser().erase_uploader("ada")


STEPS = {
    "before the keys": (KeyStore, "destroy_key", 0),
    "between two keys": (KeyStore, "destroy_key", 1),
    **{f"before file {n} of the tables": (Lake, "replace_files", n) for n in (0, 1, 4)},
    "before a file is removed": ("resources.erasing", "discard", 0),
    "before the states": (States, "erase", 0),
}


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_it_is_finished_by_the_next(
    stage: Stage, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_at(erase_ada, stage, *STEPS[step])
    # The files that it rewrote are older than an hour, here an instant.
    monkeypatch.setattr(data_files, "IN_FLIGHT", timedelta(days=-10_000))
    stage.eraser().erase_uploader("ada")
    assert stage.lie_on_disk() == {whose for whose in stage.words if whose[0] == "bob"}
    again = stage.eraser().erase_uploader("ada")
    assert again.rows == {}, "and again finds nothing"


def test_a_file_of_an_older_version_that_upkeep_takes_meanwhile_stops_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def and_one_more(*given: object) -> list[tuple[date, str]]:
        return [(DAYS[0], f"day={DAYS[0]}/gone.parquet"), *data_files.unnamed_files(*given)]  # type: ignore[bad-argument-type]

    monkeypatch.setattr(erasing, "unnamed_files", and_one_more)
    stage.eraser().erase_uploader("ada")
    assert stage.lie_on_disk() == {whose for whose in stage.words if whose[0] == "bob"}


def test_what_is_held_is_not_erased_until_it_is_released(stage: Stage) -> None:
    owner = KeyLife(stage.settings, "otto", "case 12")
    owner.hold(DAYS[1])
    with pytest.raises(DayHeld, match=r"Nothing was erased: 2026-03-06 is held since .* by otto: case 12"):
        stage.eraser().erase_uploader("ada")
    with pytest.raises(DayHeld, match="darkroom keys release 2026-03-06"):
        stage.eraser().erase_image(image_id("ada", DAYS[1], 0))
    assert stage.lie_on_disk() == set(stage.words)
    assert stage.keys.open_key(stage.names["ada", DAYS[0]]), "not even of the day that is not held"
    assert stage.keys.erased_ids(DAYS[1]) == frozenset()
    stage.eraser().erase_image(image_id("ada", DAYS[0], 0))
    owner.release(DAYS[1])
    stage.eraser().erase_uploader("ada")
    assert stage.lie_on_disk() == {whose for whose in stage.words if whose[0] == "bob"}


def test_what_is_not_there_and_what_is_no_id_are_sentences(stage: Stage) -> None:
    with pytest.raises(NothingToErase, match="No living day has a key of that uploader"):
        stage.eraser().erase_uploader("nobody")
    with pytest.raises(NothingToErase, match="No table and no state speaks of image"):
        stage.eraser().erase_image("b" * 26)
    with pytest.raises(ValueError, match="is no image id; one matches"):
        stage.eraser().erase_image("../days")
    assert stage.lie_on_disk() == set(stage.words)
    assert not (stage.settings.home / "logs" / "audit.log").exists()


def _of(stage: Stage, spec: TableSpec, name: str) -> pl.Expr:
    if spec in BRONZE:
        return pl.col("payload").is_in([word for whose, word in stage.words.items() if whose[0] == name])
    if "pseudonym" in spec.schema.names:
        return pl.col("pseudonym").is_in([pseudonym(stage.keys.platform_secret(), name, day) for day in DAYS])
    return pl.col("key").is_in([stage.names[name, day] for day in DAYS])
