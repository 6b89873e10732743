"""What the demo says of its live part, and what it hears on the way."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from cli.dataset import MemoryItem
from cli.demo_live import Live, quantile
from cli.listening import Listening, NamedImage, ResultsRefused
from tests.services.answering import answer
from tests.services.streaming import StreamBench

IDS = ["a" * 26, "b" * 26, "c" * 26]


def item(truth: str) -> MemoryItem:
    return MemoryItem("digit.png", b"", truth=truth)


def named(id: str, label: str, at: float) -> NamedImage:
    return NamedImage(id, "digit_classifier", "1@abcdef01", label, 0.9, at)


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 5), (0.51, 6), (0.99, 10), (1.0, 10)])
def test_a_quantile_is_a_value_that_was_there(share: float, value: int):
    assert quantile([float(n) for n in range(1, 11)], share) == value


def test_it_says_how_many_were_right_and_how_long_they_took():
    live = Live("digit_classifier")
    live.sent = {IDS[0]: (item("7"), 10.0), IDS[1]: (item("3"), 10.0), IDS[2]: (item("1"), 10.0)}
    live.named = {IDS[0]: named(IDS[0], "7", 10.04), IDS[1]: named(IDS[1], "8", 10.2)}
    assert live.latencies == pytest.approx([0.04, 0.2])
    assert "2 of 3 digits" in live.sentence and "50.0% right" in live.sentence
    assert "40 ms (median) and 200 ms (99th percentile)" in live.sentence


def test_it_says_so_when_nothing_was_named_and_when_nothing_was_new():
    live = Live("digit_classifier", sent={IDS[0]: (item("7"), 10.0)})
    assert "none of 1 digits was named" in live.sentence and "darkroom logs recogniser" in live.sentence
    assert "nothing new to send" in Live("digit_classifier").sentence


def test_an_answer_that_came_before_the_acknowledgement_took_no_time():
    live = Live("digit_classifier", sent={IDS[0]: (item("7"), 10.0)}, named={IDS[0]: named(IDS[0], "7", 9.9)})
    assert live.latencies == [0.0]


def test_a_listener_hears_its_own_answers_and_comes_back_after_a_broken_connection(tmp_path: Path):
    bench = StreamBench(tmp_path)
    heard: list[NamedImage] = []

    def token(refused: bool) -> str:
        return bench.authorised("ada")["Authorization"].removeprefix("Bearer ")

    async def until(count: int) -> None:
        async with asyncio.timeout(15):
            while len(heard) < count:
                await asyncio.sleep(0.02)

    async def scene() -> None:
        listening = Listening(f"ws://127.0.0.1:{bench.port}/v1/results", None, token, heard.append)
        await asyncio.to_thread(listening.__enter__)
        try:
            await asyncio.sleep(0.2)
            bench.answers.put(answer(bench, IDS[1], "3", subject="bob"))
            bench.answers.put(answer(bench, IDS[0], "7"))
            await until(1)
            assert listening._connection is not None
            listening._connection.socket.shutdown(2)
            async with asyncio.timeout(15):
                while len(heard) < 2:
                    bench.answers.put(answer(bench, IDS[2], "9"))
                    await asyncio.sleep(0.1)
        finally:
            await asyncio.to_thread(listening.__exit__)
        listening.check()

    bench.run(scene)
    assert [(one.id, one.label, one.model) for one in heard[:2]] == [(IDS[0], "7", "digits"), (IDS[2], "9", "digits")]


def test_a_listener_whose_token_is_not_taken_says_so_and_does_not_try_for_ever(tmp_path: Path):
    bench = StreamBench(tmp_path)
    asked: list[bool] = []

    def token(refused: bool) -> str:
        asked.append(refused)
        return "nonsense"

    async def scene() -> None:
        listening = Listening(f"ws://127.0.0.1:{bench.port}/v1/results", None, token, lambda found: None)
        began = time.monotonic()
        with pytest.raises(ResultsRefused, match="401"):
            await asyncio.to_thread(listening.__enter__)
        assert time.monotonic() - began < 15

    bench.run(scene)
    assert asked == [False, True]
