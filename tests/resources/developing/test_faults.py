"""Developing when it is killed, doubled, or when what it needs is away."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from resources import developing
from resources.decoding import DecodingUnavailable
from resources.derived_tables import DerivedTables
from resources.developing import Developer, DevelopResult
from resources.failures import TransientFailure
from resources.key_objects import KeyUnavailable
from resources.keys import KeyStore
from tests.resources.developing.stage import Killed, Stage, beside, picture


@pytest.mark.parametrize("step", ["add_quarantined", "add_processed"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_killed_at_any_commit_and_run_again_the_tables_are_those_of_an_undisturbed_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, step: str, when: str, call: int
) -> None:
    monkeypatch.setattr(developing, "CHUNK_RECORDS", 3)
    for number in range(9):
        stage.bronze.sealed(picture(number), partition=number % 2)
        stage.bronze.plain(b"bad" * number, partition=number % 2)
    stage.bronze.land()
    real = getattr(DerivedTables, step)
    calls = 0

    def interrupted(self: DerivedTables, *arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call and when == "before":
            raise Killed
        result = real(self, *arguments)
        if calls == call:
            raise Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(DerivedTables, step, interrupted)
        with pytest.raises(Killed):
            stage.develop()
    stage.develop()
    assert stage.processed().select("partition", "offset").rows() == [
        (p, o) for p in (0, 1) for o in range(0, 10 - 2 * p, 2)
    ]
    assert stage.quarantined().select("partition", "offset").rows() == [
        (p, o) for p in (0, 1) for o in range(1, 10 - 2 * p, 2)
    ]
    assert stage.develop().commits == 0


@pytest.mark.parametrize("step", ["add_quarantined", "add_processed"])
def test_two_developers_at_once_write_each_row_once(stage: Stage, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    monkeypatch.setattr(developing, "CHUNK_RECORDS", 4)
    for number in range(7):
        stage.bronze.sealed(picture(number))
        stage.bronze.plain(b"bad" * number)
    stage.bronze.land()
    results: list[DevelopResult] = []
    beside(stage, monkeypatch, step, lambda: results.append(stage.develop()))
    results.append(stage.develop())
    assert stage.processed()["offset"].to_list() == list(range(0, 14, 2))
    assert stage.quarantined()["offset"].to_list() == list(range(1, 14, 2))
    assert [sum(one.processed + sum(one.quarantined.values()) for one in results)] == [14], "each row is counted once"
    assert results[0].positions == results[1].positions


class Away:
    """A key store that cannot answer from some call on."""

    def __init__(self, keys: KeyStore, after: int) -> None:
        self._keys, self._left = keys, after

    def __getattr__(self, name: str) -> object:
        return getattr(self._keys, name)

    def open_key(self, name: str) -> object:
        self._left -= 1
        if self._left < 0:
            raise KeyUnavailable("the key store is away")
        return self._keys.open_key(name)


def test_a_key_store_that_is_away_stops_the_run_and_judges_nobody(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(developing, "CHUNK_RECORDS", 4)
    for number in range(10):
        stage.bronze.sealed(picture(number))
    stage.bronze.land()
    developer = Developer(stage.settings, stage.lake, Away(stage.keys, 6), stage.board, stage.pool)  # type: ignore[arg-type]
    with pytest.raises(TransientFailure, match="key store is away"):
        developer.develop()
    assert stage.quarantined().height == 0
    assert stage.processed().height == 4, "the chunk before stands"
    stage.develop()
    assert stage.processed()["offset"].to_list() == list(range(10))


class NoProcesses:
    """Decoding that cannot be had."""

    def map(self, images: object) -> Iterator[object]:
        raise DecodingUnavailable("no process can be started")
        yield


def test_decoding_that_cannot_be_had_stops_the_run_and_judges_nobody(stage: Stage) -> None:
    stage.bronze.sealed(picture(1))
    stage.bronze.land()
    with pytest.raises(DecodingUnavailable):
        Developer(stage.settings, stage.lake, stage.keys, None, NoProcesses()).develop()  # type: ignore[arg-type]
    assert (stage.processed().height, stage.quarantined().height) == (0, 0)
    stage.develop()
    assert stage.processed().height == 1


def test_postgresql_away_costs_a_warning_and_no_image(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.board.away = True
    stage.bronze.sealed(picture(1))
    stage.bronze.land()
    with caplog.at_level(logging.WARNING, "darkroom.developing"):
        assert stage.develop().processed == 1
    assert "1 image states were not written" in caplog.text
