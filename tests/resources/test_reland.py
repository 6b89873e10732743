"""Rows that bronze lost come back from the topic, each once, and nothing else moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from resources import reland as relanding
from resources.lake import CommitConflict
from resources.reland import Gap, Relanded, reland
from tests.live_stack import LiveStack
from tests.resources.stream import Stream, own_stream
from transforms.landing_protocol import partition_app_id
from transforms.tables import RAW_IMAGES

pytestmark = pytest.mark.stack


@pytest.fixture
def stream(stack: LiveStack, tmp_path: Path) -> Iterator[Stream]:
    with own_stream(stack.settings("admin"), tmp_path) as made:
        yield made


def rewound(stream: Stream) -> list[dict]:
    """Land three times, and let a RESTORE take the last two; returns the rows as they were."""
    for number in range(3):
        stream.send([f"{number}-{one}".encode() for one in range(4)], partition=number % 2, headers=[("h", b"1")])
        stream.send([None, b""], partition=number % 2, key=b"k")
        stream.lander().land()
        if number == 0:
            version = stream.lake.open(RAW_IMAGES.name).version()
    rows = stream.rows()
    stream.lake.open(RAW_IMAGES.name).restore(version)
    assert len(stream.rows()) == len(rows) - 12
    assert stream.lander().land().records == 0, "RESTORE leaves identifiers: landing does not come back by itself"
    return rows


def told(stream: Stream, start: int = 0, *, yes: bool = False, partition: int | None = None) -> Relanded:
    return reland(
        stream.settings, stream.lake, start=start, partition=partition, who="me", why="a restore", dry_run=not yes
    )


def alike(rows: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "landed_at"} for row in rows]


def test_what_a_restore_took_is_shown_and_comes_back_once_as_it_was(stream: Stream):
    rows = rewound(stream)
    assert told(stream).gaps == (Gap(0, 6, 6, 11, 0), Gap(1, 6, 0, 5, 0))
    assert len(stream.rows()) == len(rows) - 12, "a dry run writes nothing"
    done = told(stream, yes=True)
    assert (done.records, done.written) == (12, True)
    assert alike(stream.rows()) == alike(rows)
    assert told(stream, yes=True) == Relanded(())
    kept = stream.lake.open(RAW_IMAGES.name).history(1)[0]
    assert (kept["darkroom"], kept["who"], kept["why"]) == ("reland", "me", "a restore")


def test_landing_goes_on_behind_what_was_landed_again(stream: Stream):
    rewound(stream)
    handle = stream.lake.open(RAW_IMAGES.name)
    topic_id = stream.rows()[0]["topic_id"]
    names = [partition_app_id(stream.topic, p, topic_id) for p in (0, 1)]
    before = [stream.lake.identifier(handle, name) for name in names]
    told(stream, yes=True)
    assert [stream.lake.identifier(stream.lake.open(RAW_IMAGES.name), name) for name in names] == before
    stream.send([b"next"])
    assert stream.lander().land().records == 1
    assert stream.offsets() == {0: list(range(13)), 1: list(range(6))}


def test_only_what_was_asked_for_is_landed_again(stream: Stream):
    rewound(stream)
    assert told(stream, 8, partition=0, yes=True).records == 4
    assert stream.offsets() == {0: [*range(6), *range(8, 12)]}


def test_what_the_broker_no_longer_holds_is_said_and_the_rest_comes_back(stream: Stream):
    rewound(stream)
    stream.delete_records(0, 9)
    done = told(stream, yes=True)
    assert done.gaps[0] == Gap(0, 6, 6, 11, 3)
    assert "3 of them are gone from the broker too" in done.gaps[0].sentence
    assert stream.offsets() == {0: [*range(6), 9, 10, 11], 1: list(range(6))}


def test_of_two_relandings_at_once_one_is_refused_and_nothing_stands_twice(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
):
    rewound(stream)
    real = relanding._write

    def late(*arguments: object) -> tuple[int, int]:
        monkeypatch.setattr(relanding, "_write", real)
        assert told(stream, yes=True).records == 12
        return real(*arguments)

    monkeypatch.setattr(relanding, "_write", late)
    with pytest.raises(CommitConflict):
        told(stream, yes=True)
    assert stream.offsets() == {0: list(range(12)), 1: list(range(6))}


def test_a_landing_meanwhile_does_not_stand_in_the_way(stream: Stream, monkeypatch: pytest.MonkeyPatch):
    rewound(stream)
    real = relanding._write

    def late(*arguments: object) -> tuple[int, int]:
        stream.send([b"meanwhile"])
        assert stream.lander().land().records == 1
        return real(*arguments)

    monkeypatch.setattr(relanding, "_write", late)
    told(stream, yes=True)
    assert stream.offsets() == {0: list(range(13)), 1: list(range(6))}


def test_a_partition_that_is_not_there_is_refused_with_those_that_are(stream: Stream):
    rewound(stream)
    with pytest.raises(ValueError, match=r"no partition 7\. Valid ones: 0, 1"):
        told(stream, partition=7)
