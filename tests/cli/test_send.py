"""The sender against doors that fail in every way a door fails: what is acknowledged is written down, and sent once."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from cli.dataset import MemoryItem
from cli.gather import NothingThere, gather
from cli.sender import (
    DoorsAway,
    Outcome,
    Result,
    Sender,
    Sending,
    TokenRefusedByDoor,
)
from cli.sending import Summary, Tokens
from cli.sent import Receipt, Sent, SentUnreadable
from cli.ways import ByUpload, DoorUntrusted, Item
from tests.cli.doors import DOORS, Doors, LoseAnswer, LoseRequest, Refuse

NOON = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return (self.now - NOON).total_seconds()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)


def images(count: int) -> list[Item]:
    return [MemoryItem(f"{i}.png", b"image %d" % i, None, f"{i}.png") for i in range(count)]


def send(
    path: Path,
    doors: Doors,
    items: list[Item],
    *,
    clock: Clock | None = None,
    token=lambda refused: "good",
    **how,
) -> Summary:
    """One run of `darkroom send`, with its own opening of the notebook, as another process would have it."""
    summary = Summary(results=[])
    clock = clock or Clock()
    options = {"concurrency": 1, "jitter": lambda: 1.0, "now": clock, "clock": clock.seconds, **how}

    async def run() -> None:
        async with httpx.AsyncClient(transport=doors) as client:
            with Sent(path / "sent.sqlite") as sent:
                sender = Sender(DOORS, ByUpload(client), sent, Sending("ada", token, sleep=clock.sleep, **options))
                await sender.send(items, summary.add)

    asyncio.run(run())
    return summary


def outcomes(summary: Summary) -> list[Outcome]:
    assert summary.results is not None
    return [result.outcome for result in summary.results]


def test_everything_is_acknowledged_and_both_doors_have_their_share(tmp_path):
    doors = Doors()
    summary = send(tmp_path, doors, images(6))
    assert summary.new == 6
    assert {record.image for record in doors.records} == {b"image %d" % i for i in range(6)}
    assert sorted(record.door for record in doors.records) == ["one.test"] * 3 + ["two.test"] * 3


def test_a_second_run_on_any_later_day_sends_nothing(tmp_path):
    doors = Doors()
    send(tmp_path, doors, images(4))
    again = send(tmp_path, doors, images(4), clock=Clock(NOON + timedelta(days=40)))
    assert again.new == 0
    assert again.sentence() == "0 new, 4 acknowledged before"
    assert len(doors.records) == 4


def test_the_same_image_of_another_uploader_is_another_image(tmp_path):
    with Sent(tmp_path / "sent.sqlite") as sent:
        sent.begin("ada", "f" * 64, NOON)
        sent.acknowledge("ada", "f" * 64, Receipt("id", "2026-03-14", "t", 0, 1), NOON)
        assert sent.receipt("ada", "f" * 64) is not None
        assert sent.receipt("bob", "f" * 64) is None


def test_two_files_with_the_same_bytes_are_sent_once_and_both_are_explained(tmp_path):
    doors = Doors()
    twins: list[Item] = [MemoryItem("a.png", b"same", None, "a.png"), MemoryItem("b.png", b"same", None, "b.png")]
    summary = send(tmp_path, doors, twins, concurrency=2)
    assert sorted(outcomes(summary)) == [Outcome.ACKNOWLEDGED, Outcome.SAME]
    assert summary.sentence() == "1 new, 0 acknowledged before, 1 same content"
    assert len(doors.records) == 1


def test_a_503_is_tried_again_after_the_time_it_names_and_the_other_door_goes_on(tmp_path):
    doors = Doors(faults=[Refuse(503, {"Retry-After": "7"})])
    clock = Clock()
    summary = send(tmp_path, doors, images(3), clock=clock)
    assert summary.new == 3
    assert doors.requests[1:] == ["two.test"] * 3
    assert clock.slept == []


def test_when_both_doors_rest_the_sender_waits_for_the_first_one(tmp_path):
    doors = Doors(faults=[Refuse(503, {"Retry-After": "7"}), Refuse(503, {"Retry-After": "3"})])
    clock = Clock()
    assert send(tmp_path, doors, images(1), clock=clock).new == 1
    assert clock.slept == [3.0]
    assert doors.requests == ["one.test", "two.test", "two.test"]


def test_back_off_doubles_and_ends_at_ten_seconds(tmp_path):
    doors = Doors(faults=[Refuse(503) for _ in range(16)])
    clock = Clock()
    assert send(tmp_path, doors, images(1), clock=clock).new == 1
    assert clock.slept == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_a_request_that_never_arrived_is_sent_again_and_is_one_record(tmp_path):
    doors = Doors(faults=[LoseRequest(), LoseRequest()])
    assert send(tmp_path, doors, images(1)).new == 1
    assert len(doors.records) == 1


def test_a_lost_answer_is_resent_with_its_first_time_so_that_it_stays_one_image(tmp_path):
    doors = Doors(faults=[LoseAnswer()])
    # A moment later it is another day: a resend with a new time would be another image.
    clock = Clock(datetime(2026, 3, 14, 23, 59, 59, 900000, tzinfo=UTC))
    doors.down.add("two.test")
    summary = send(tmp_path, doors, images(1), clock=clock)
    assert summary.new == 1 and summary.resends >= 1
    assert clock.now.date() > NOON.date()
    assert len(doors.records) == 2
    assert len({record.id for record in doors.records}) == 1
    assert len({record.uploaded_at for record in doors.records}) == 1


def test_a_sender_that_was_killed_repeats_the_first_time_in_its_next_run(tmp_path):
    doors = Doors(faults=[LoseAnswer()])
    with pytest.raises(DoorsAway):
        doors.down.add("two.test")
        doors_after_loss = doors

        class Gone(Doors):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                try:
                    return await doors_after_loss.handle_async_request(request)
                finally:
                    doors_after_loss.down.update({"one.test", "two.test"})

        send(tmp_path, Gone(), images(1))
    doors.down.clear()
    assert send(tmp_path, doors, images(1), clock=Clock(NOON + timedelta(hours=20))).new == 1
    assert len(doors.records) == 2
    assert {record.uploaded_at for record in doors.records} == {NOON.isoformat()}


def test_a_first_time_of_over_a_day_ago_is_replaced_for_the_door_would_refuse_it(tmp_path):
    later = NOON + timedelta(hours=24, minutes=1)
    with Sent(tmp_path / "sent.sqlite") as sent:
        assert sent.begin("ada", "f" * 64, NOON) == NOON
        assert sent.begin("ada", "f" * 64, NOON + timedelta(hours=23)) == NOON
        assert sent.begin("ada", "f" * 64, later) == later
        assert sent.begin("ada", "f" * 64, later + timedelta(minutes=1)) == later


def test_doors_that_stay_away_end_the_run_with_one_sentence_and_keep_what_was_acknowledged(tmp_path):
    doors = Doors()

    class Dying(Doors):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if len(doors.records) == 2:
                doors.down.update({"one.test", "two.test"})
            return await doors.handle_async_request(request)

    with pytest.raises(DoorsAway, match=r"took anything for 30 s .*ConnectError.*Run the same command again"):
        send(tmp_path, Dying(), images(5), patience_seconds=30)
    doors.down.clear()
    resumed = send(tmp_path, doors, images(5))
    assert resumed.sentence() == "3 new, 2 acknowledged before"
    assert len(doors.records) == 5


def test_a_stack_that_never_answered_is_given_up_after_seconds_and_told_how_to_start(tmp_path):
    clock = Clock()
    with pytest.raises(DoorsAway, match=r"No door answers at .*`darkroom up` starts it"):
        send(tmp_path, Doors(down={"one.test", "two.test"}), images(1), clock=clock, patience_seconds=600)
    assert clock.now - NOON < timedelta(seconds=30)


def test_a_refused_file_is_reported_in_the_doors_words_and_the_rest_goes_on(tmp_path):
    doors = Doors(judge=lambda image: Refuse(415, detail="The bytes are no image.") if b"1" in image else None)
    summary = send(tmp_path, doors, images(3))
    assert outcomes(summary) == [Outcome.ACKNOWLEDGED, Outcome.REFUSED, Outcome.ACKNOWLEDGED]
    assert [(result.status, result.detail) for result in summary.unsent] == [(415, "The bytes are no image.")]
    assert summary.failed == 1


def test_a_refused_file_is_tried_again_in_the_next_run(tmp_path):
    doors = Doors(judge=lambda image: Refuse(415))
    send(tmp_path, doors, images(1))
    doors.judge = lambda image: None
    assert send(tmp_path, doors, images(1)).new == 1


def test_a_door_that_fails_on_one_image_is_not_tried_for_ever(tmp_path):
    doors = Doors(faults=[Refuse(500, detail="The service failed") for _ in range(4)])
    summary = send(tmp_path, doors, images(2))
    assert outcomes(summary) == [Outcome.REFUSED, Outcome.ACKNOWLEDGED]
    assert summary.unsent[0].status == 500


def test_a_file_that_is_larger_than_a_door_takes_is_not_read(tmp_path):
    class Huge(MemoryItem):
        @property
        def size(self) -> int:
            return 11

        def read(self) -> bytes:
            raise AssertionError("it was read")

    summary = send(tmp_path, Doors(), [Huge("huge.tif", b"")], largest=10)
    assert (summary.unsent[0].status, summary.unsent[0].outcome) == (413, Outcome.REFUSED)


def test_a_file_that_cannot_be_read_does_not_stop_the_others(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "in" / "b.png").write_bytes(b"b")
    doors = Doors()
    summary = send(tmp_path, doors, [*gather([tmp_path / "in"])])
    assert outcomes(summary) == [Outcome.UNREADABLE, Outcome.ACKNOWLEDGED]
    assert "No such file" in summary.unsent[0].detail


def test_an_expired_token_is_renewed_once_and_a_refused_new_one_stops_the_run(tmp_path):
    made: list[bool] = []

    def token(refused: bool) -> str:
        made.append(refused)
        return "new" if True in made else "old"

    doors = Doors(faults=[Refuse(401)])
    assert send(tmp_path, doors, images(1), token=token).new == 1
    assert doors.records[0].authorization == "Bearer new"
    with pytest.raises(TokenRefusedByDoor, match="refuses this sender's token"):
        send(tmp_path, Doors(faults=[Refuse(401), Refuse(401)]), [MemoryItem("x", b"x")])


def test_a_token_is_renewed_two_minutes_before_it_expires():
    now = [0.0]
    made: list[int] = []
    tokens = Tokens(lambda ttl: made.append(ttl) or f"token {len(made)}", clock=lambda: now[0])
    assert tokens(False) == tokens(False) == "token 1"
    now[0] = 900 - 121
    assert tokens(False) == "token 1"
    now[0] = 900 - 119
    assert tokens(False) == "token 2"


def test_a_certificate_of_another_authority_is_refused_at_once(tmp_path):
    class Impostor(Doors):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("tls", request=request) from ssl.SSLCertVerificationError("unknown authority")

    with pytest.raises(DoorUntrusted, match="did not sign"):
        send(tmp_path, Impostor(), images(1))


def test_a_201_of_another_program_is_not_taken_for_an_acknowledgement(tmp_path):
    class Other(Doors):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(201, content=b"<html>created</html>")

    with pytest.raises(DoorUntrusted, match="without saying where"):
        send(tmp_path, Other(), images(1))
    assert send(tmp_path, Doors(), images(1)).new == 1


def test_rate_spaces_the_images(tmp_path):
    clock = Clock()
    send(tmp_path, Doors(), images(5), clock=clock, rate=2.0)
    assert clock.slept == [0.5] * 4


def test_stopping_keeps_what_was_acknowledged(tmp_path):
    doors = Doors()

    class Stopped(Doors):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if len(doors.records) == 2:
                raise KeyboardInterrupt
            return await doors.handle_async_request(request)

    with pytest.raises(KeyboardInterrupt):
        send(tmp_path, Stopped(), images(5))
    assert send(tmp_path, doors, images(5)).sentence() == "3 new, 2 acknowledged before"


def test_label_and_file_name_travel_as_they_are_written(tmp_path):
    doors = Doors()
    send(tmp_path, doors, [MemoryItem("x", b"x", "Käse \N{CHEESE WEDGE}", "Bär 1.png")])
    assert doors.records[0].label == "Käse \N{CHEESE WEDGE}"
    assert doors.records[0].filename == "Bär 1.png"


def test_a_folder_gives_every_regular_file_below_it_without_hidden_ones(tmp_path):
    for name in ("cat/b.jpg", "cat/a", "dog/deep/c.png", ".hidden/d.png", "cat/.e.png", "f.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    found = gather([tmp_path, tmp_path / "cat" / "a"], label="pet", label_from_folder=True)
    assert [(str(item.path.relative_to(tmp_path)), item.label) for item in found] == [
        ("f.txt", "pet"),
        ("cat/a", "cat"),
        ("cat/b.jpg", "cat"),
        ("dog/deep/c.png", "deep"),
    ]
    assert [item.path.name for item in gather([tmp_path / "cat" / ".e.png"])] == [".e.png"]


def test_a_wrong_path_is_named_before_anything_is_sent(tmp_path):
    with pytest.raises(NothingThere, match=r"Nothing was sent: .*nowhere \(no such file or folder\)"):
        gather([tmp_path, tmp_path / "nowhere"])


def test_a_damaged_notebook_is_a_sentence_with_its_path(tmp_path):
    (tmp_path / "sent.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(SentUnreadable, match=r"sent\.sqlite failed: file is not a database"):
        Sent(tmp_path / "sent.sqlite")


def test_every_result_is_counted_once():
    summary = Summary()
    item = MemoryItem("a", b"abc")
    for outcome in Outcome:
        summary.add(Result(item, outcome, status=413 if outcome is Outcome.REFUSED else None, tries=1))
    assert sum(summary.counts.values()) == len(Outcome)
    assert (summary.new, summary.failed, summary.acknowledged_bytes, summary.resends) == (1, 2, 3, 0)
