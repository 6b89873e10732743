"""Pieces of what is purged: found before, gone after; and a search that does not see is no proof."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from resources.purge_proof import CANARY, KAFKA, SAMPLES, Piece, Proof, as_text, from_text
from tests.resources.upkeep.test_purging import NEXT, OLD, Stage, rows, stage
from transforms.retention import BRONZE, PURGED
from transforms.tables import RAW_IMAGES

__all__ = ["stage"]

SEALED = sum(len(spec.sealed) for spec in PURGED if spec not in BRONZE)


class Disks:
    """Folders beside the lake: as Kafka's, and as PostgreSQL's with its sentence."""

    def __init__(self, stage: Stage) -> None:
        home = stage.settings.home
        self.kafka, self.postgres = home / "kafka", home / "postgres"
        for folder in (self.kafka, self.postgres):
            folder.mkdir()
        (self.postgres / "2619").write_bytes(b"before" + CANARY + b"after")
        places = {"lake": home / "lake", KAFKA: self.kafka, "postgres": self.postgres}
        self.settings = stage.settings.model_copy(update={"searched": {name: str(of) for name, of in places.items()}})
        self.proof = Proof(self.settings, stage.lake, lambda: stage.now)


@pytest.fixture
def disks(stage: Stage) -> Disks:
    return Disks(stage)


def test_what_is_taken_before_a_purge_is_nowhere_after_it(stage: Stage, disks: Disks) -> None:
    taken = disks.proof.before([], [OLD])
    assert len(taken) == SAMPLES * SEALED
    assert {piece.places for piece in taken} == {("lake",)}
    assert {piece.day for piece in taken} == {OLD}
    early = disks.proof.after(taken, [NEXT])
    assert set(early.left) == {piece.name for piece in taken}, "before the purge all of it is there"
    stage.purge().run()
    report = disks.proof.after(taken, [NEXT])
    assert (report.left, report.unseen, report.unreadable) == ({}, [], {})
    assert report.searched["lake"] > 0
    assert disks.proof.before(taken, []) == [], "and is not looked for again"


def test_a_copy_that_nobody_told_of_is_found_and_looked_for_again(stage: Stage, disks: Disks) -> None:
    taken = disks.proof.before([], [OLD])
    (stage.settings.home / "lake" / "copy.bin").write_bytes(b"..." + taken[3].held + b"...")
    (disks.kafka / "00.log").write_bytes(taken[0].held)
    stage.purge().run()
    report = disks.proof.after(taken, [NEXT])
    assert report.left == {taken[3].name: {"lake/copy.bin"}, taken[0].name: {"kafka/00.log"}}
    assert not report.waits_for_kafka
    again = disks.proof.before(taken, [])
    assert again == [taken[0], taken[3]]
    (stage.settings.home / "lake" / "copy.bin").unlink()
    assert disks.proof.after(again, [NEXT]).waits_for_kafka
    (disks.kafka / "00.log").unlink()
    assert disks.proof.before(again, []) == []


def test_a_search_that_does_not_find_what_it_has_to_proves_nothing(stage: Stage, disks: Disks) -> None:
    taken = disks.proof.before([], [OLD])
    stage.purge().run()
    (disks.postgres / "2619").write_bytes(b"")
    assert disks.proof.after(taken, [NEXT]).unseen == ["control: a sentence of PostgreSQL's"]
    elsewhere = disks.settings.model_copy(update={"searched": {KAFKA: str(disks.kafka)}})
    unseen = Proof(elsewhere, stage.lake).after(taken, [NEXT]).unseen
    assert len(unseen) == 1 and unseen[0].startswith("control: ") and str(NEXT) in unseen[0]
    blind = Proof(elsewhere, stage.lake, lambda: stage.now).before([], [NEXT])
    assert blind and all(piece.places == () for piece in blind)
    assert {piece.name for piece in blind} <= set(Proof(elsewhere, stage.lake).after(blind, []).unseen)


def test_what_cannot_be_read_is_said(stage: Stage, disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = disks.proof.before([], [OLD])
    plain = Path.open

    def refused(path: Path, *given: object, **named: object) -> object:
        if path.name == "2619":
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", refused)
    report = disks.proof.after(taken, [NEXT])
    assert set(report.unreadable) == {"postgres"}
    assert "2619" in report.unreadable["postgres"]


def test_pieces_travel_as_text_in_which_no_search_finds_them(stage: Stage, disks: Disks, tmp_path: Path) -> None:
    taken = disks.proof.before([], [OLD])
    text = as_text(taken)
    assert from_text(text) == taken
    assert not [piece for piece in taken if piece.held in text.encode()]


def test_an_image_in_the_clear_gives_no_piece(stage: Stage, disks: Disks) -> None:
    """The stage's bronze has payloads without an envelope; a record without any header has a null in their place."""
    bare = rows(RAW_IMAGES, OLD, OLD, range(7, 8)).to_pylist()
    without = pa.Table.from_pylist([{**one, "headers": None} for one in bare], schema=RAW_IMAGES.schema)
    stage.lake.append(stage.lake.open(RAW_IMAGES.name), RAW_IMAGES, without, {"bare": 1})
    assert not [
        piece for piece in disks.proof.before([], [OLD]) if piece.name.startswith(tuple(s.name for s in BRONZE))
    ]


def test_without_a_folder_nothing_is_searched(stage: Stage) -> None:
    proof = Proof(stage.settings, stage.lake)
    assert not proof.searches
    assert proof.after([Piece("x", OLD, b"y" * 24, stage.now - timedelta(1))], []).left == {}
