"""An uploader is held: the purge takes the day's key and everybody else's rows, and what is theirs opens still."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from resources import data_files, kafka
from resources.erasing import DayHeld, Eraser
from resources.key_life import KeyLife
from resources.key_objects import KeyDestroyed, KeyObjects
from resources.lake import Lake
from resources.postgres import StatusRow
from resources.purge_proof import Proof
from resources.purging import Purge, Purged
from resources.raw_search import search
from tests.resources.dying import killed_at
from tests.resources.upkeep.test_erasing import DAYS, NAMES, Stage, image_id
from tests.resources.upkeep.test_purging import Broker, Projection
from transforms.names import pseudonym
from transforms.retention import BRONZE, PURGED
from transforms.tables import LABEL_CORRECTIONS, RAW_IMAGES

OLD, NEXT = DAYS
LATER = datetime(2026, 3, 12, tzinfo=UTC)
"""The first moment at which OLD is over."""


class Held(Stage):
    """Two uploaders on two days; one is held."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.projection = Projection()
        self.now = LATER

    def life(self, why: str = "case 12") -> KeyLife:
        # Of the day before: a rotation's pause is nothing that these tests wait for.
        return KeyLife(self.settings, "olga", why, now=lambda: LATER - timedelta(days=1), wait=lambda _: None)

    def hold(self, name: str = "ada") -> list[Any]:
        return self.life().hold_uploader(name, self.keys)

    def purge(self) -> Purged:
        return Purge(
            self.settings,
            self.lake,
            self.projection,  # type: ignore[arg-type]
            now=lambda: self.now,
            witness=lambda: self.now,
        ).run()

    def who(self, name: str, day: Any = OLD) -> tuple[Any, str]:
        return day, pseudonym(self.keys.platform_secret(), name, day)

    def expect_only_ada(self, before: dict[str, pl.DataFrame]) -> None:
        """Of OLD what ada sent is whole in every table and opens; of bob nothing is on the disk, and nothing opens."""
        for spec in PURGED:
            assert self.table(spec).equals(self.mine(before[spec.name])), spec.name
        assert self.lie_on_disk() == {one for one in self.words if one[0] == "ada" or one[1] == NEXT}
        assert self.keys.open_key(self.names["ada", OLD]).name == self.names["ada", OLD]
        with pytest.raises(KeyDestroyed):
            self.keys.open_key(self.names["bob", OLD])

    def mine(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows that stay: NEXT's, and ada's."""
        if "payload" in rows.columns:
            mine = pl.col("payload").is_in([word for one, word in self.words.items() if one[0] == "ada"])
        elif "pseudonym" in rows.columns:
            mine = pl.col("pseudonym") == self.who("ada")[1]
        else:
            mine = pl.col("key") == self.names["ada", OLD]
        return rows.filter((pl.col("day") == NEXT) | mine)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Held:
    monkeypatch.setattr(Broker, "deleted", {})
    monkeypatch.setattr(kafka, "Admin", Broker)
    return Held(tmp_path)


@pytest.fixture
def before(stage: Held) -> dict[str, pl.DataFrame]:
    return {spec.name: stage.table(spec) for spec in PURGED}


def test_the_purge_leaves_what_the_uploader_sent_and_takes_the_others(
    stage: Held, before: dict[str, pl.DataFrame]
) -> None:
    assert stage.hold() == [OLD, NEXT]
    done = stage.purge()
    stage.expect_only_ada(before)
    assert done.rows == {spec.name: 2 for spec in PURGED}
    assert [one.sentence for one in done.days] == [
        "purged, but for 1 of its uploaders, held since 2026-03-11 by olga: case 12"
    ]
    assert stage.projection.people[-1] == sorted([stage.who("ada"), stage.who("ada", NEXT)])
    log = (stage.settings.home / "logs" / "audit.log").read_text()
    assert '"event": "keys hold uploader"' in log and "ada" not in log


def test_an_image_that_was_erased_one_by_one_stays_refused_as_long_as_its_key_opens(stage: Held) -> None:
    """Bug prevented: the list of erased images went with the day, and a copy of a held uploader's would open again."""
    gone = image_id("ada", OLD, 0)
    stage.eraser().erase_image(gone)
    stage.hold()
    stage.purge()
    assert stage.keys.open_key(stage.names["ada", OLD])
    assert stage.keys.erased_ids(OLD) == {gone}
    stage.life("closed").release_uploader("ada", stage.keys)
    stage.purge()
    assert stage.keys.erased_ids(OLD) == frozenset()


def test_what_is_left_is_not_taken_up_again_every_hour(stage: Held, before: dict[str, pl.DataFrame]) -> None:
    stage.hold()
    stage.purge()
    versions = {spec.name: stage.lake.open(spec.name).version() for spec in PURGED}
    again = stage.purge()
    assert [(one.due, one.sentence) for one in again.days] == [
        (False, "kept: 1 of its uploaders, held since 2026-03-11 by olga: case 12")
    ]
    assert (again.rows, again.keys, again.kafka) == ({}, 0, {})
    assert {spec.name: stage.lake.open(spec.name).version() for spec in PURGED} == versions
    stage.expect_only_ada(before)


def test_a_correction_that_came_a_day_later_stays_with_its_image(stage: Held) -> None:
    """It lies under the day on which it came, and names its image's key."""
    (late,) = [stage.row(LABEL_CORRECTIONS, "ada", OLD, 0, 9)]
    made = pa.Table.from_pylist([{**late, "day": NEXT}], schema=LABEL_CORRECTIONS.schema)
    stage.lake.append(stage.lake.ensure(LABEL_CORRECTIONS), LABEL_CORRECTIONS, made, {"late": 1})
    stage.life().hold_uploader("ada", stage.keys)
    for one in stage.life().held_keys():
        if one.day == NEXT:
            stage.keys.destroy_key(str(one.key), "olga")
    stage.life("not the later day").destroy_held(NEXT)
    stage.now = LATER + timedelta(days=1)
    stage.purge()
    left = stage.table(LABEL_CORRECTIONS)
    assert left.filter(pl.col("day") == NEXT)["payload"].to_list() == [stage.words["ada", OLD, 0]]
    assert [one.sentence for one in stage.purge().days][-1] == "kept: what came late of uploaders that are held"


def test_released_it_is_dark_at_once_and_gone_with_the_next_purge(stage: Held) -> None:
    stage.hold()
    stage.purge()
    assert stage.life("closed").release_uploader("ada", stage.keys) == [OLD, NEXT]
    with pytest.raises(KeyDestroyed):
        stage.keys.open_key(stage.names["ada", OLD])
    assert stage.keys.open_key(stage.names["ada", NEXT]), "a day that lives goes on"
    stage.purge()
    assert stage.lie_on_disk() == {one for one in stage.words if one[1] == NEXT}
    assert not list((stage.settings.home / "keys" / "held").glob("*"))


def test_held_keys_are_wrapped_anew_by_a_rotation_and_dark_without_the_customers_key(
    stage: Held, before: dict[str, pl.DataFrame]
) -> None:
    stage.hold()
    stage.purge()
    names = list(stage.life().rotate())
    assert f"held on {OLD}" in names and not [name for name in names if stage.who("ada")[1] in name]
    stage.expect_only_ada(before)
    stage.life().destroy_all(0)
    with pytest.raises(Exception, match="destroyed"):
        stage.keys.open_key(stage.names["ada", OLD])


def test_a_held_key_under_another_name_opens_nothing(stage: Held) -> None:
    stage.hold()
    stage.purge()
    folder = stage.settings.home / "keys" / "held"
    (file,) = folder.glob(f"{OLD}*")
    parts = stage.names["bob", OLD].split("_")
    file.rename(folder / f"{OLD}.{parts[1]}-{parts[2]}.json")
    with pytest.raises(Exception, match="does not unwrap") as damaged:
        stage.keys.open_key(stage.names["bob", OLD])
    assert parts[1] not in str(damaged.value), "and the error names nobody"


def test_destroying_the_day_by_name_takes_those_held_too(stage: Held) -> None:
    stage.hold()
    assert stage.life("all of it").destroy_held(OLD) == 1
    stage.life("all of it").destroy_day(OLD)
    for name in NAMES:
        with pytest.raises(KeyDestroyed):
            stage.keys.open_key(stage.names[name, OLD])
    assert stage.keys.open_key(stage.names["ada", NEXT])


def test_who_is_held_is_not_erased_and_the_others_are(stage: Held) -> None:
    stage.hold()
    with pytest.raises(DayHeld, match=r"sent on 2026-03-05 is held since 2026-03-11 by olga: case 12"):
        stage.eraser().erase_uploader("ada")
    with pytest.raises(DayHeld, match="keys release --uploader"):
        stage.eraser().erase_image(image_id("ada", OLD, 0))
    assert stage.lie_on_disk() == set(stage.words)
    stage.eraser().erase_image(image_id("bob", OLD, 0))
    stage.eraser().erase_uploader("bob")
    assert stage.lie_on_disk() == {one for one in stage.words if one[0] == "ada"}


def test_an_image_on_its_way_of_who_is_held_is_not_erased(stage: Held) -> None:
    """No table speaks of it yet, and its state does."""
    stage.hold()
    day, whose = stage.who("ada")
    stage.states.known.append(StatusRow("b" * 26, day, whose, "accepted", None))
    eraser = Eraser(stage.lake, stage.keys, stage.life(), stage.states)  # type: ignore[arg-type]
    with pytest.raises(DayHeld):
        eraser.erase_image("b" * 26)


def test_a_hold_comes_again_for_days_that_began_since_and_the_first_stands(stage: Held) -> None:
    stage.hold()
    later = stage.keys.current_key(LATER.date(), stage.who("ada", LATER.date())[1]).name
    assert KeyLife(stage.settings, "otto", "another").hold_uploader("ada", stage.keys) == [OLD, NEXT, LATER.date()]
    held = {str(one.key): (one.who, one.why) for one in stage.life().held_keys()}
    assert held[stage.names["ada", OLD]] == ("olga", "case 12")
    assert held[later] == ("otto", "another")


def test_an_erased_key_and_somebody_unknown_are_not_held(stage: Held) -> None:
    stage.keys.destroy_key(stage.names["ada", OLD], "olga")
    assert stage.hold() == [NEXT]
    assert stage.hold("nobody") == []


STEPS = {
    "before the key": (KeyLife, "destroy_day", 0),
    "before a table": (Lake, "replace_files", 0),
    "between two tables": (Lake, "replace_files", 3),
    "before the files": (Purge, "_sweep", 0),
    "in the key files": (KeyObjects, "delete", 1),
}


def purge(stage: Held) -> None:
    """In a process of its own, which has no fixture."""
    kafka.Admin = Broker  # type: ignore[misc,assignment]
    stage.purge()


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_the_next_purge_finishes_and_takes_nothing_that_is_held(
    stage: Held, before: dict[str, pl.DataFrame], step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.hold()
    killed_at(purge, stage, *STEPS[step])
    monkeypatch.setattr(data_files, "IN_FLIGHT", timedelta(days=-10_000))
    stage.purge()
    stage.expect_only_ada(before)


def test_the_proof_looks_for_the_others_and_not_for_what_is_held(stage: Held) -> None:
    """In the place of sealed values are the words of this stage, long enough for a piece."""
    settings = stage.settings.model_copy(update={"searched": {"lake": str(stage.settings.home / "lake")}})
    stage.hold()
    held = stage.life().held_keys()
    proof = Proof(settings, stage.lake, lambda: LATER)
    every = {piece.name: piece.held for piece in proof.before([], [OLD])}
    pieces = proof.before([], [OLD], held)
    of_ada = [word for one, word in stage.words.items() if one[0] == "ada"]
    assert {word[-24:] for word in of_ada} & set(every.values()), "without the hold there would be some of ada's"
    assert pieces and not {word[-24:] for word in of_ada} & {piece.held for piece in pieces}
    stage.purge()
    found = search(stage.settings.home / "lake", {piece.name: piece.held for piece in pieces})
    assert not [name for name, files in found.items() if files]


def test_rows_of_bronze_that_stay_are_as_they_were(stage: Held, before: dict[str, pl.DataFrame]) -> None:
    stage.hold()
    stage.purge()
    assert RAW_IMAGES in BRONZE
    stays = stage.table(RAW_IMAGES).filter(pl.col("day") == OLD)
    was = before[RAW_IMAGES.name].filter(pl.col("offset").is_in(stays["offset"].to_list()) & (pl.col("day") == OLD))
    assert stays.equals(was) and len(stays) == 2
