"""What a door keeps of the answers that pass by, and for how long."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

from services.door.answers import ENTRY_BYTES, KEPT_SECONDS, LARGEST_VALUE, WAITING, Answers, SealedAnswer, answer_of
from transforms.envelope import Clear

DAY = date(2026, 3, 14)
KEY = "2026-03-14_abcdefghijklmnop_2222222222222"
ADA, BOB = "abcdefghijklmnop", "ponmlkjihgfedcba"


def answer(id: str, size: int = 100, whose: str = ADA) -> SealedAnswer:
    return SealedAnswer(Clear("1", id * 26, DAY, KEY, "recogniser"), bytes(size), whose)


def test_answers_are_kept_by_image_for_its_uploader_alone():
    kept = Answers()
    first, second = answer("a"), answer("a", 200)
    for one in (first, answer("b"), second, answer("a", whose=BOB)):
        kept.put(one)
    assert kept.of("a" * 26, ADA) == [first, second]
    assert kept.of("c" * 26, ADA) == []


def test_the_oldest_go_when_there_is_no_room_and_when_their_time_is_over():
    now = 0.0
    kept = Answers(held_bytes=3 * (ENTRY_BYTES + 100), timer=lambda: now)
    for id in "abcd":
        kept.put(answer(id))
    assert [bool(kept.of(id * 26, ADA)) for id in "abcd"] == [False, True, True, True]
    now = KEPT_SECONDS - 1
    kept.put(answer("e"))
    now = KEPT_SECONDS + 1
    assert [bool(kept.of(id * 26, ADA)) for id in "bcde"] == [False, False, False, True]


def test_a_listener_gets_what_it_wants_and_is_told_what_it_missed():
    async def scene() -> None:
        kept = Answers()
        with kept.listening(lambda one: one.pseudonym == ADA) as listener:
            await asyncio.to_thread(kept.put, answer("a", whose=BOB))
            await asyncio.to_thread(kept.put, answer("b"))
            async with asyncio.timeout(5):
                await listener.wait()
            assert [one.clear.id[0] for one in listener.found] == ["b"]
            listener.found.clear()
            for _ in range(WAITING + 3):
                kept.put(answer("c"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert (len(listener.found), listener.missed) == (WAITING, 3)
        kept.put(answer("d"))
        await asyncio.sleep(0)
        assert listener.found[-1].clear.id[0] == "c"

    asyncio.run(scene())


class _Record:
    """A record as the client hands it over."""

    def __init__(self, value: bytes | None, headers: Any, error: object = None) -> None:
        self._value, self._headers, self._error = value, headers, error

    def value(self) -> bytes | None:
        return self._value

    def error(self) -> object:
        return self._error

    def headers(self) -> Any:
        return self._headers


def test_what_is_no_answer_by_its_form_is_passed_over():
    good = Clear("1", "a" * 26, DAY, KEY, "recogniser").headers()
    found = answer_of(_Record(b"sealed", good))  # type: ignore[arg-type]
    assert found is not None and (found.pseudonym, found.value) == (ADA, b"sealed")
    nameless = Clear("1", "a" * 26, DAY, "no-key", "recogniser").headers()
    records = [
        _Record(b"sealed", good, error="partition end"),
        _Record(None, good),
        _Record(b"", good),
        _Record(bytes(LARGEST_VALUE + 1), good),
        _Record(b"plain", None),
        _Record(b"sealed", good[:-1]),
        _Record(b"sealed", nameless),
    ]
    assert [answer_of(record) for record in records] == [None] * len(records)  # type: ignore[arg-type]
