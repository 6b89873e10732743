"""The sub-second lane without a broker: which model scores, what is passed over, and what may be committed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from resources.bronze import read_since
from resources.decoding import DecodePool
from resources.key_objects import KeyUnavailable
from resources.records import Record, records_of
from resources.registry import CHAMPION
from resources.settings import Settings
from services.recogniser import champions as champions_module
from services.recogniser.answering import Answering
from services.recogniser.champions import Champions
from services.recogniser.metrics import Metrics
from services.recogniser.taking import record_of
from tests.resources.developing.bronze_rows import DAY, NOW, TOPIC, TOPIC_ID
from tests.resources.developing.stage import Stage, picture, scan
from tests.resources.learning.answers import promoted, some_model
from tests.resources.learning.registry_in_memory import RegistryInMemory
from transforms.envelope import clear_of
from transforms.families import DIGITS
from transforms.features import COUNT
from transforms.landing_protocol import Position
from transforms.messages import open_recognition
from transforms.onnx_models import export
from transforms.recognition import train

FIRST = Position(TOPIC, 0, TOPIC_ID)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(Settings(decode_workers=1)) as decoders:
        yield decoders


@pytest.fixture
def stage(tmp_path: Path, pool: DecodePool) -> Stage:
    return Stage(tmp_path, pool)


@pytest.fixture
def registry() -> RegistryInMemory:
    return RegistryInMemory()


@pytest.fixture
def champions(registry: RegistryInMemory, monkeypatch: pytest.MonkeyPatch) -> Champions:
    monkeypatch.setattr(champions_module, "LOAD_AGAIN_SECONDS", 0.0)
    return Champions(lambda: registry, [DIGITS], Metrics())


def version(champions: Champions) -> str | None:
    held = champions.of(DIGITS)
    return held.version.version if held is not None else None


def other_shape() -> bytes:
    """A model of vectors of another length, under the name of our recipe."""
    random = np.random.default_rng(0)
    fitted = train(DIGITS, random.random((20, COUNT - 1)), ["1", "2"] * 10)
    return export(fitted, "luma8-1", COUNT - 1)


def answering(stage: Stage, champions: Champions, **changed: object) -> Answering:
    settings = stage.settings.model_copy(update=changed)
    return Answering(settings, stage.keys, stage.pool, champions, now=lambda: NOW)


def records(stage: Stage) -> list[Record]:
    stage.bronze.land()
    return [one for batch in read_since(stage.lake, {FIRST: -1}, 2**24) for one in records_of(batch)]


def test_a_new_champion_is_swapped_in(champions: Champions, registry: RegistryInMemory) -> None:
    promoted(registry, some_model())
    champions.look(registry)
    assert (version(champions), champions.told()) == ("1", {DIGITS.name: "ok"})
    promoted(registry, some_model(1))
    champions.look(registry)
    assert version(champions) == "2"


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (b"no model at all", "no ONNX model"),
        (b"", "no ONNX model"),
        (other_shape(), "this release gives it rows of"),
        (None, "no file any more"),
        (b"another one", "another one"),
    ],
    ids=["corrupt", "empty", "of another shape", "missing", "not the one that was registered"],
)
def test_a_champion_that_cannot_score_leaves_the_last_good_one_and_is_said_once(
    champions: Champions,
    registry: RegistryInMemory,
    caplog: pytest.LogCaptureFixture,
    file: bytes | None,
    why: str,
) -> None:
    promoted(registry, some_model())
    champions.look(registry)
    bad = promoted(registry, some_model(1) if file in (None, b"another one") else file)
    if file is None:
        del registry.files[f"{DIGITS.name}/{bad.version}"]
    else:
        registry.files[f"{DIGITS.name}/{bad.version}"] = file
    with caplog.at_level(logging.WARNING):
        champions.look(registry)
        champions.look(registry)
    assert version(champions) == "1"
    told = champions.told()[DIGITS.name]
    assert why in told and "Version 1 goes on" in told
    assert len(caplog.records) == 1
    promoted(registry, some_model(2))
    champions.look(registry)
    assert (version(champions), champions.told()) == ("3", {DIGITS.name: "ok"})


def test_a_file_that_was_put_back_is_loaded(champions: Champions, registry: RegistryInMemory) -> None:
    promoted(registry, some_model())
    file = registry.files.pop(f"{DIGITS.name}/1")
    champions.look(registry)
    assert version(champions) is None and "batch lane" in champions.told()[DIGITS.name]
    registry.files[f"{DIGITS.name}/1"] = file
    champions.look(registry)
    assert (version(champions), champions.told()) == ("1", {DIGITS.name: "ok"})


@pytest.mark.parametrize("gone", ["away", "emptied"])
def test_a_registry_that_is_away_or_was_emptied_leaves_the_last_good_one_and_says_so(
    champions: Champions, registry: RegistryInMemory, gone: str
) -> None:
    promoted(registry, some_model())
    champions.look(registry)
    if gone == "away":
        registry.away = True
    else:
        registry.empty()
    champions.look(registry)
    assert version(champions) == "1"
    assert champions.told()[DIGITS.name] != "ok"
    registry.away = False
    promoted(registry, some_model(1))
    newest = promoted(registry, some_model(2))
    champions.look(registry)
    assert (version(champions), champions.told()) == (newest.version, {DIGITS.name: "ok"})


def test_it_is_settled_once_the_registry_has_answered_be_it_that_there_is_no_champion(
    champions: Champions, registry: RegistryInMemory
) -> None:
    registry.away = True
    champions.look(registry)
    assert not champions.wait_settled(0)
    registry.away = False
    champions.look(registry)
    assert champions.wait_settled(0)
    assert (version(champions), champions.told()) == (None, {DIGITS.name: "ok"})


def test_an_answer_is_sealed_under_the_images_key_and_names_its_record(
    stage: Stage, champions: Champions, registry: RegistryInMemory
) -> None:
    promoted(registry, some_model())
    champions.look(registry)
    stage.bronze.plain(None)
    id = stage.bronze.sealed(scan(1))
    _, record = records(stage)
    (answer,) = answering(stage, champions).answer(record).answers
    clear = clear_of(answer.headers)
    assert clear is not None
    assert (answer.key, clear.id, clear.day, clear.via) == (id.encode(), id, DAY, "recogniser")
    said = open_recognition(clear, answer.value, stage.keys.open_key(clear.key))
    assert (said.topic, said.topic_id, said.partition, said.offset) == (TOPIC, TOPIC_ID, 0, 1)
    assert (said.model, said.model_version) == (DIGITS.name, registry.at(DIGITS.name, CHAMPION).mark)
    assert said.label in DIGITS.labels and 0 < said.probability <= 1


def test_what_does_not_open_or_is_no_image_is_passed_over_by_its_reason(
    stage: Stage, champions: Champions, registry: RegistryInMemory
) -> None:
    promoted(registry, some_model())
    champions.look(registry)
    bronze = stage.bronze
    bronze.plain(None)
    bronze.plain(b"")
    bronze.plain(b"no image")
    bronze.plain(scan(1)[:100])
    bronze.plain(scan(1), headers=[("sha256", b"00" * 32)])
    bronze.sealed(scan(1), change_payload=True)
    bronze.sealed(scan(1), change_headers={"v": b"2"})
    bronze.sealed(scan(1), change_headers={"key": f"{DAY}_{'a' * 16}_{'b' * 13}".encode()})
    erased = bronze.sealed(scan(2))
    stage.keys.mark_erased(DAY, erased, "a test")
    bronze.sealed(scan(3))
    lane = answering(stage, champions)
    outcomes = [lane.answer(record) for record in records(stage)]
    assert [one.name for one in outcomes] == [
        *("tombstone", "empty", "not_an_image", "truncated", "hash_mismatch"),
        *("tampered", "unknown_version", "unknown_key", "erased", "named"),
    ]
    assert [len(one.answers) for one in outcomes] == [0] * 9 + [1]


def test_without_a_champion_nothing_is_opened(stage: Stage, champions: Champions) -> None:
    stage.bronze.sealed(scan(1))
    (record,) = records(stage)
    lane = answering(stage, champions)
    stage.keys.open_key = None  # asked for, it would fail
    assert lane.answer(record).name == "no_champion"


def test_a_family_that_does_not_admit_an_image_is_not_asked(
    stage: Stage, champions: Champions, registry: RegistryInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(registry, some_model())
    champions.look(registry)
    monkeypatch.setattr("services.recogniser.answering.FAMILIES", (DIGITS,))
    stage.bronze.sealed(picture(1))
    (record,) = records(stage)
    outcome = answering(stage, champions).answer(record)
    assert (outcome.name, outcome.answers) == ("not_admitted", ())


def test_keys_that_are_away_judge_no_record(
    stage: Stage, champions: Champions, registry: RegistryInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(registry, some_model())
    champions.look(registry)
    stage.bronze.sealed(scan(1))
    (record,) = records(stage)
    lane = answering(stage, champions)

    def away(name: str) -> None:
        raise KeyUnavailable("the key store is away")

    with monkeypatch.context() as patch:
        patch.setattr(stage.keys, "open_key", away)
        with pytest.raises(KeyUnavailable):
            lane.answer(record)
    assert lane.answer(record).name == "named"


class Taken:
    """A message as the client gives it."""

    def __init__(self, headers: list[tuple[str, bytes | None]] | None, value: bytes | None = b"x") -> None:
        self._headers = headers
        self._value = value

    def topic(self) -> str:
        return TOPIC

    def partition(self) -> int:
        return 2

    def offset(self) -> int:
        return 7

    def timestamp(self) -> tuple[int, int]:
        return 2, int(NOW.timestamp() * 1000)

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._headers


def test_a_record_has_the_day_and_place_that_bronze_gives_it() -> None:
    record = record_of(Taken([("day", b"2026-03-04"), ("day", b"2026-03-06")]), TOPIC_ID)
    assert (str(record.day), record.place, record.appended_at) == ("2026-03-04", (TOPIC_ID, 2, 7), NOW)
    assert str(record_of(Taken([("day", b"2020-01-01")]), TOPIC_ID).day) == "2026-03-05"
    assert record_of(Taken(None, None), TOPIC_ID).payload is None
    many = record_of(Taken([("a", b"1")] * 1000), TOPIC_ID)
    assert (many.headers, many.header_count, many.bytes) == ([], 1000, 2001)
