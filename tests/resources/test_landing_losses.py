"""What landing does where records are gone: it stops with the range, and goes on when a person has decided."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from deltalake import DeltaTable

from resources.failures import is_permanent
from resources.kafka import watermarks
from resources.landing import Lander
from resources.landing_losses import LandingStopped, accept_loss
from tests.live_stack import LiveStack
from tests.resources.stream import Stream, own_stream
from transforms.landing_protocol import LossKind, TopicState
from transforms.tables import RAW_IMAGES

pytestmark = pytest.mark.stack


@pytest.fixture
def stream(stack: LiveStack, tmp_path: Path) -> Iterator[Stream]:
    """A topic of two partitions and an empty lake."""
    with own_stream(stack.settings("admin"), tmp_path) as made:
        yield made


def test_a_first_landing_begins_at_the_oldest_record_left(stream: Stream) -> None:
    stream.send([b"a", b"b", b"c"])
    stream.delete_records(0, 2)
    result = stream.lander().land()
    assert stream.offsets() == {0: [2]}
    assert result.partitions[0].start == 2


def test_records_deleted_before_they_landed_stop_everything_until_a_person_accepts(stream: Stream) -> None:
    stream.send([b"a", b"b"])
    stream.lander().land()
    stream.send([b"c", b"d", b"e"])
    stream.send([b"z"], partition=1)
    stream.delete_records(0, 4)
    with pytest.raises(LandingStopped, match="offsets 2 to 3 were deleted") as caught:
        stream.lander().land()
    assert is_permanent(caught.value)
    assert "darkroom accept-loss" in str(caught.value)
    (loss,) = caught.value.losses
    assert (loss.kind, loss.partition, loss.first, loss.last) == (LossKind.DELETED, 0, 2, 3)
    assert stream.offsets() == {0: [0, 1]}

    shown = accept_loss(stream.settings, stream.lake, who="ada", why="retention was too short")
    assert not shown.written
    assert "offsets 2 to 3" in shown.description
    with pytest.raises(LandingStopped):
        stream.lander().land()

    done = accept_loss(stream.settings, stream.lake, who="ada", why="retention was too short", dry_run=False)
    assert done.written
    said = stream.lake.open(RAW_IMAGES.name).history(1)[0]
    assert (said["who"], said["why"]) == ("ada", "retention was too short")
    assert "offsets 2 to 3" in said["losses"]
    assert stream.lander().land().records == 2
    assert stream.offsets() == {0: [0, 1, 4], 1: [0]}
    assert not accept_loss(stream.settings, stream.lake, who="ada", why="again", dry_run=False).losses


def test_records_of_a_partition_that_never_landed_are_missed_too(stream: Stream) -> None:
    stream.send([b"a"])
    stream.lander().land()
    stream.send([b"b", b"c"], partition=1)
    stream.delete_records(1, 1)
    with pytest.raises(LandingStopped, match="offsets 0 to 0 were deleted"):
        stream.lander().land()


@pytest.mark.parametrize("grown", [1, 5], ids=["shorter than the old", "grown longer than the old"])
def test_a_topic_made_anew_stops_landing_and_lands_beside_the_old_once_accepted(stream: Stream, grown: int) -> None:
    stream.send([b"old 0", b"old 1", b"old 2"])
    old = stream.lander().land().topic_id
    stream.make_anew()
    stream.send([f"new {number}".encode() for number in range(grown)])
    with pytest.raises(LandingStopped, match="made anew") as caught:
        stream.lander().land()
    new = watermarks(stream.settings, stream.topic).topic_id
    loss = caught.value.losses[0]
    assert (loss.kind, loss.first, loss.last, loss.old_topic_id, loss.new_topic_id) == (
        LossKind.RECREATED,
        3,
        None,
        old,
        new,
    )
    assert len(stream.rows()) == 3
    accept_loss(stream.settings, stream.lake, who="ada", why="the disk was replaced", dry_run=False)
    assert stream.lander().land().records == grown
    assert {(row["topic_id"], row["offset"]) for row in stream.rows()} == {
        *((old, offset) for offset in range(3)),
        *((new, offset) for offset in range(grown)),
    }
    assert stream.lander().land().records == 0


def test_a_table_whose_rows_are_all_purged_still_knows_a_topic_made_anew(stream: Stream) -> None:
    stream.send([b"a"])
    stream.lander().land()
    stream.lake.open(RAW_IMAGES.name).delete()
    stream.make_anew()
    stream.send([b"b"])
    with pytest.raises(LandingStopped, match="made anew"):
        stream.lander().land()


def test_a_topic_made_anew_under_a_running_landing_is_not_landed_as_the_old(stream: Stream) -> None:
    stream.send([os.urandom(150_000) for _ in range(40)])
    made: list[int] = []

    def make_anew(records: int, _: int) -> None:
        if not made:
            made.append(records)
            stream.make_anew()
            stream.send([b"new"] * 100)

    with pytest.raises(LandingStopped, match="made anew"):
        stream.lander().land(make_anew)
    assert {row["payload"] for row in stream.rows()}.isdisjoint({b"new"})


def test_records_deleted_between_plan_and_read_stop_landing(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    stream.send([b"a"])
    stream.lander().land()
    stream.send([b"b", b"c"])
    planned = Lander._starts

    def plan_and_delete(self: Lander, handle: DeltaTable, state: TopicState) -> Mapping[int, int]:
        starts = planned(self, handle, state)
        stream.delete_records(0, 2)
        return starts

    monkeypatch.setattr(Lander, "_starts", plan_and_delete)
    with pytest.raises(LandingStopped, match="offsets 1 to 1 were deleted"):
        stream.lander().land()
    assert stream.offsets() == {0: [0]}


def test_a_log_that_lost_its_tail_stops_landing_and_cannot_be_accepted(stream: Stream) -> None:
    stream.send([b"a"])
    result = stream.lander().land()
    handle = stream.lake.open(RAW_IMAGES.name)
    # What a table looks like when the broker's disk went back in time.
    stream.lake.append(handle, RAW_IMAGES, None, {f"{stream.topic}-0-{result.topic_id}": 9})
    with pytest.raises(LandingStopped, match="lost its tail"):
        stream.lander().land()
    with pytest.raises(LandingStopped, match="make it anew"):
        accept_loss(stream.settings, stream.lake, who="ada", why="a test", dry_run=False)


def test_a_loss_is_accepted_only_by_someone_for_a_reason(stream: Stream) -> None:
    stream.lander().land()
    with pytest.raises(ValueError, match="who decides it and why"):
        accept_loss(stream.settings, stream.lake, who=" ", why="a test")
    with pytest.raises(ValueError, match="who decides it and why"):
        accept_loss(stream.settings, stream.lake, who="ada", why="")
