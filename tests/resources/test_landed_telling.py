"""What has landed is told to the projection: on the running stack's broker and PostgreSQL, with a lake of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import psycopg
import pytest

from resources import landed_telling
from resources.landed_telling import tell_landed
from resources.postgres import ImageStatus, StatusRow, StatusUnavailable
from tests.live_stack import LiveStack
from tests.resources.stream import Stream, own_stream

pytestmark = pytest.mark.stack

DAY = date(2020, 2, 28)


@pytest.fixture
def stream(stack: LiveStack, tmp_path: Path) -> Iterator[Stream]:
    with own_stream(stack.settings("admin"), tmp_path) as made:
        yield made


@pytest.fixture
def status(stack: LiveStack) -> Iterator[ImageStatus]:
    with ImageStatus(stack.settings("dagster").postgres_dsn) as repository:
        yield repository
    with psycopg.connect(stack.settings("upkeep").postgres_dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM images.image_status WHERE day = %s", (DAY,))


def new_id(word: str) -> str:
    return (word + uuid.uuid4().hex.translate(str.maketrans("0189", "wxyz")))[:26]


def state_of(status: ImageStatus, id: str) -> str | None:
    row = status.get(id)
    return None if row is None else row.state


def test_an_accepted_image_is_landed_once_its_record_is_in_bronze_and_not_before(
    stream: Stream, status: ImageStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landed_telling, "OFFSETS_AT_ONCE", 2)
    accepted, waiting, developed, unknown = map(new_id, ("accepted", "waiting", "developed", "unknown"))
    status.put_many([StatusRow(id, DAY, "someone", "accepted") for id in (accepted, waiting)])
    status.put_many([StatusRow(developed, DAY, "someone", "processed")])
    for key in (None, b"\xff\xfe", b"no id", unknown.encode(), developed.encode(), accepted.encode()):
        stream.send([b"any"], key=key)
    assert tell_landed(stream.lake, status, stream.lander().land()) == 1
    assert [state_of(status, id) for id in (accepted, waiting, developed, unknown)] == [
        "landed",
        "accepted",
        "processed",
        None,
    ]
    assert tell_landed(stream.lake, status, stream.lander().land()) == 0


class Away:
    """A projection that does not answer."""

    def mark_landed(self, ids: Sequence[str]) -> int:
        raise StatusUnavailable("PostgreSQL is away")


def test_a_projection_that_is_away_stops_no_landing(stream: Stream, caplog: pytest.LogCaptureFixture) -> None:
    stream.send([b"any"], key=new_id("accepted").encode())
    assert tell_landed(stream.lake, Away(), stream.lander().land()) == 0
    assert "PostgreSQL is away" in caplog.text
