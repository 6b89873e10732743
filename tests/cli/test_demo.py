"""The demo's parts without a stack: what goes through the door, what is written straight, and what the table says."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console

from cli.account import Account
from cli.dataset import MemoryItem
from cli.demo_hostile import NotWritten, for_the_door, write_the_rest
from cli.demo_report import Report, Seconds, rows, show
from cli.hostile import HostileKind
from cli.sender import Outcome, Result
from cli.sent import Sent

NOW = datetime(2026, 3, 14, tzinfo=UTC)
KINDS = [
    HostileKind("pdf", "a.jpg", "image/jpeg", b"%PDF", frozenset({"not_an_image"})),
    HostileKind("cut", "b.jpg", "image/jpeg", b"\xff\xd8\xff", frozenset({"truncated"})),
    HostileKind("tombstone", "c", "", None, frozenset({"tombstone"}), straight=True),
]


def results() -> list[Result]:
    return [
        Result(MemoryItem("pdf", b"%PDF"), Outcome.REFUSED, 415, "The bytes are no image."),
        Result(MemoryItem("cut", b"\xff\xd8\xff"), Outcome.ACKNOWLEDGED),
    ]


def test_what_the_door_refuses_and_what_it_cannot_carry_is_written_straight_once(tmp_path):
    written: list[str] = []

    def write(kind: HostileKind) -> tuple[int, int]:
        written.append(kind.name)
        return 0, len(written)

    with Sent(tmp_path / "sent.sqlite") as sent:
        assert [item.name for item in for_the_door(KINDS, sent)] == ["pdf", "cut"]
        found = write_the_rest(KINDS, results(), sent, write, "images.raw", lambda: NOW)
        assert found.refused == {"pdf": (415, "The bytes are no image.")}
        assert written == found.straight == ["pdf", "tombstone"]
        assert sent.totals() == (0, 2)
        # The next demo: the refused kind is not sent to the door again, and nothing is written.
        assert [item.name for item in for_the_door(KINDS, sent)] == ["cut"]
        assert write_the_rest(KINDS, results()[1:], sent, write, "images.raw", lambda: NOW).straight == []


def test_a_kind_that_the_broker_did_not_acknowledge_is_written_by_the_next_demo(tmp_path):
    def fail(kind: HostileKind) -> tuple[int, int]:
        if kind.name == "tombstone":
            raise NotWritten("timed out")
        return 0, 0

    with Sent(tmp_path / "sent.sqlite") as sent:
        with pytest.raises(NotWritten):
            write_the_rest(KINDS, results(), sent, fail, "images.raw", lambda: NOW)
        assert sent.was_written("pdf") and not sent.was_written("tombstone")


GOOD = Report(
    acknowledged=1800,
    by_stream=1797,
    acknowledged_ever=1810,
    before=0,
    same=0,
    straight=3,
    straight_ever=3,
    refused={"pdf": (415, "The bytes are no image.")},
    resent=0,
    now=Account(1803, 1798, {"not_an_image": 1, "tombstone": 2, "truncated": 2}, 0, 0),
    ever=Account(1813, 1805, {"tombstone": 4, "not_an_image": 1, "truncated": 2}, 1, 0),
    seconds=Seconds(1.0, 2.0, 3.0, 0.5, 4.0, 1.5, 12.0),
)


def shown(report: Report) -> str:
    text = io.StringIO()
    show(report, Console(file=text, width=160, highlight=False))
    return text.getvalue()


def test_the_table_has_every_number_and_adds_up():
    found = {name.strip(): (now, ever) for name, now, ever in rows(GOOD)}
    assert found["sent: acknowledged by the doors"] == ("1,800", "1,810")
    assert found["landed"] == ("1,803", "1,813")
    assert found["tombstone"] == ("2", "4")
    assert GOOD.complaints == []
    text = shown(GOOD)
    assert "1803 new" in text
    assert "1,813 landed = 1,805 processed + 7 quarantined + 1 resends\n" in text
    assert "Refused by the doors: 1 with 415." in text


def test_a_lost_acknowledged_record_is_a_complaint():
    short = replace(GOOD, now=Account(1802, 1797, {"not_an_image": 1, "tombstone": 2, "truncated": 2}, 0, 0))
    assert short.complaints == ["1803 records were acknowledged and 1802 landed: 1 are missing."]


def test_a_record_in_no_table_is_a_complaint_and_a_row():
    lost = replace(GOOD, ever=replace(GOOD.ever, processed=1804, unexplained=1))
    assert lost.complaints == ["Of 1813 landed records in all, 1 are in no table."]
    assert ("in no table", "0", "1") in rows(lost)
    assert "does not add up" in shown(lost)


def test_a_resend_whose_first_answer_was_lost_is_shown_and_no_complaint():
    again = replace(GOOD, now=replace(GOOD.now, landed=1804, resends=1))
    assert again.complaints == []
    assert ("landed without an acknowledgement", "1", "") in rows(again)
