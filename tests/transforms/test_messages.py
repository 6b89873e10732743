"""Sealed words about an image: what they say, where they open, and what is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, date, datetime

import pytest

from transforms.envelope import EnvelopeError, clear_of, seal_field
from transforms.messages import (
    Correction,
    Recognition,
    open_correction,
    open_recognition,
    seal_correction,
    seal_recognition,
)
from transforms.names import DataKey
from transforms.reasons import Reason
from transforms.tables import LABEL_CORRECTIONS, RECOGNISED_STREAM

DAY = date(2026, 3, 14)
KEY = DataKey("2026-03-14_abcdefghijklmnop_2222222222222", bytes(range(32)))
OTHER = DataKey("2026-03-14_abcdefghijklmnop_3333333333333", bytes(reversed(range(32))))
ID = "a" * 26
NONCE = bytes(12)
AT = datetime(2026, 3, 14, 12, 30, 15, 123456, tzinfo=UTC)
CORRECTION = Correction(ID, DAY, "sieben \N{SNOWMAN}", AT)
RECOGNITION = Recognition(ID, DAY, "digit_classifier", "3@abcdef01", "7", 0.1 + 0.2, AT, "images.raw", "T" * 22, 2, 41)


def test_a_correction_comes_out_as_it_went_in_and_its_label_does_not_show():
    headers, value = seal_correction(CORRECTION, KEY, "uploads", NONCE)
    clear = clear_of(headers)
    assert clear is not None and (clear.id, clear.day, clear.key, clear.via) == (ID, DAY, KEY.name, "uploads")
    assert open_correction(clear, value, KEY) == CORRECTION
    assert b"sieben" not in value


def test_an_answer_comes_out_as_it_went_in_to_the_last_bit_of_its_probability():
    headers, value = seal_recognition(RECOGNITION, KEY, "recogniser", NONCE)
    clear = clear_of(headers)
    assert clear is not None
    assert open_recognition(clear, value, KEY) == RECOGNITION
    assert b"digit" not in value


def test_a_message_opens_under_its_own_topic_id_and_key_alone():
    headers, value = seal_correction(CORRECTION, KEY, "uploads", NONCE)
    clear = clear_of(headers)
    assert clear is not None
    for opened in (
        lambda: open_recognition(clear, value, KEY),
        lambda: open_correction(replace(clear, id="b" * 26), value, KEY),
        lambda: open_correction(replace(clear, key=OTHER.name), value, OTHER),
        lambda: open_correction(replace(clear, day=date(2026, 3, 15)), value, KEY),
        lambda: open_correction(clear, value[:-1], KEY),
        lambda: open_correction(clear, b"", KEY),
    ):
        with pytest.raises(EnvelopeError) as refused:
            opened()
        assert refused.value.reason is Reason.TAMPERED


@pytest.mark.parametrize("content", [b"[]", b"{}", b"{", b"\xff", b"null", b"[" * 100_000])
def test_authentic_bytes_of_another_form_are_refused_without_their_content(content: bytes):
    value = seal_field(content, table=RECOGNISED_STREAM.name, column="payload", id=ID, day=DAY, key=KEY, nonce=NONCE)
    headers, _ = seal_recognition(RECOGNITION, KEY, "recogniser", NONCE)
    clear = clear_of(headers)
    assert clear is not None
    with pytest.raises(EnvelopeError, match="authentic and not of a form") as refused:
        open_recognition(clear, value, KEY)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("name", ["model", "model_version", "label", "topic", "topic_id"])
def test_an_answer_with_half_a_character_is_refused_before_a_table_chokes_on_it(name: str):
    headers, _ = seal_recognition(RECOGNITION, KEY, "recogniser", NONCE)
    clear = clear_of(headers)
    assert clear is not None
    said = {**asdict(RECOGNITION), "scored_at": "2026-03-14T12:30:15.000000Z", "day": None, name: "7\ud800"}
    place = {"column": "payload", "id": ID, "day": DAY, "key": KEY, "nonce": NONCE}
    value = seal_field(json.dumps(said).encode(), table=RECOGNISED_STREAM.name, **place)
    with pytest.raises(EnvelopeError, match="authentic and not of a form"):
        open_recognition(clear, value, KEY)


def test_a_correction_with_half_a_character_is_refused_and_stops_no_training_set():
    headers, _ = seal_correction(CORRECTION, KEY, "uploads", NONCE)
    clear = clear_of(headers)
    assert clear is not None
    content = b'{"label": "\\ud800", "corrected_at": "2026-03-14T12:30:15.000000Z"}'
    place = {"column": "payload", "id": ID, "day": DAY, "key": KEY, "nonce": NONCE}
    with pytest.raises(EnvelopeError, match="authentic and not of a form"):
        open_correction(clear, seal_field(content, table=LABEL_CORRECTIONS.name, **place), KEY)


def test_a_time_without_zone_and_a_probability_that_is_none_are_not_sealed():
    with pytest.raises(ValueError, match="zone"):
        seal_correction(replace(CORRECTION, corrected_at=AT.replace(tzinfo=None)), KEY, "uploads", NONCE)
    with pytest.raises(ValueError, match="JSON"):
        seal_recognition(replace(RECOGNITION, probability=float("nan")), KEY, "recogniser", NONCE)
