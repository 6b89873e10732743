"""What the envelope promises: only what was sealed opens, under its own names only; everything else has a reason."""

import copy
import dataclasses
import json
import pickle
import struct
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.envelope import (
    Clear,
    DataKey,
    EnvelopeError,
    KeyName,
    Metadata,
    associated_data,
    clear_of,
    day_of,
    image_id,
    open_envelope,
    open_field,
    pseudonym,
    seal,
    seal_field,
)
from transforms.reasons import Reason

SECRET = bytes(range(32))
DAY = date(2026, 11, 23)
NONCE = b"twelve bytes"
ID = "a" * 26
KEY = DataKey(f"{DAY}_{'b' * 16}_{'c' * 13}", b"k" * 32)
METADATA = Metadata(
    sha256="0" * 64,
    content_type="image/png",
    label="7",
    uploader="alice",
    groups=("photographers",),
    filename="seven.png",
    uploaded_at=datetime(2026, 11, 23, 10, 8, 45, 123456, tzinfo=UTC),
)
IMAGE = b"the bytes of an image"

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
DAYS = st.dates(date(1970, 1, 1), date(2199, 12, 31))
METADATAS = st.builds(
    Metadata,
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
    content_type=TEXT,
    label=st.none() | TEXT,
    uploader=TEXT,
    groups=st.lists(TEXT, max_size=4).map(tuple),
    filename=st.none() | TEXT,
    uploaded_at=st.datetimes(
        datetime(1970, 1, 2),  # noqa: DTZ001 - the strategy takes bounds without zone and adds one
        datetime(2199, 1, 1),  # noqa: DTZ001
        timezones=st.timezones(),
    ),
)


def _sealed(metadata=METADATA, image=IMAGE, **overrides):
    arguments = {"id": ID, "day": DAY, "key": KEY, "via": "uploads", "nonce": NONCE, **overrides}
    headers, value = seal(metadata, image, **arguments)
    return clear_of(headers), value


def _headers(**overrides):
    """The headers of a good record, but for what is overridden; a list stands several times, ... takes one away."""
    good = {
        "v": b"1",
        "id": ID.encode(),
        "day": b"2026-11-23",
        "key": KEY.name.encode(),
        "via": b"uploads",
        **overrides,
    }
    pairs = [(name, value if isinstance(value, list) else [value]) for name, value in good.items() if value is not ...]
    return [(name, value) for name, values in pairs for value in values]


def _resealed(plain: bytes) -> bytes:
    return NONCE + KEY.cipher.encrypt(NONCE, plain, associated_data(ID, DAY, KEY.name))


@given(metadata=METADATAS, image=st.binary(max_size=2000), day=DAYS, material=st.binary(min_size=32, max_size=32))
@settings(max_examples=150, deadline=None)
def test_what_is_sealed_opens_to_the_same_image_and_metadata(metadata, image, day, material):
    key = DataKey(str(KeyName(day, "d" * 16, "e" * 13)), material)
    clear, value = _sealed(metadata, image, day=day, key=key)
    opened, seen = open_envelope(clear, value, key)
    assert opened == replace(metadata, uploaded_at=metadata.uploaded_at.astimezone(UTC))  # zones compare oddly in folds
    assert opened.uploaded_at.tzinfo is UTC
    assert seen == image
    assert len(value) >= len(image) + 12 + 16 + 4


@given(value=st.binary(max_size=500), table=TEXT, column=TEXT)
@settings(max_examples=60, deadline=None)
def test_what_is_sealed_in_a_field_opens_in_that_field(value, table, column):
    place = {"table": table, "column": column, "id": ID, "day": DAY, "key": KEY}
    assert open_field(seal_field(value, **place, nonce=NONCE), **place) == value


def test_the_image_comes_back_without_a_copy():
    _, image = open_envelope(*_sealed(), KEY)
    assert isinstance(image, memoryview)


def test_neither_image_nor_metadata_show_in_what_travels():
    headers, value = seal(METADATA, IMAGE, id=ID, day=DAY, key=KEY, via="uploads", nonce=NONCE)
    travels = value + b"".join(text for _, text in headers)
    for secret in (IMAGE, b"alice", b"seven.png", b"photographers", METADATA.sha256.encode()):
        assert secret not in travels


@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_any_flipped_bit_of_the_value_is_noticed(data):
    clear, value = _sealed()
    bit = data.draw(st.integers(0, len(value) * 8 - 1))
    broken = bytearray(value)
    broken[bit // 8] ^= 1 << bit % 8
    with pytest.raises(EnvelopeError) as refused:
        open_envelope(clear, bytes(broken), KEY)
    assert refused.value.reason is Reason.TAMPERED


@pytest.mark.parametrize("length", [0, 1, 11, 12, 27, 28, 40, -1])
def test_a_truncated_value_is_tampered(length):
    clear, value = _sealed()
    with pytest.raises(EnvelopeError) as refused:
        open_envelope(clear, value[:length], KEY)
    assert refused.value.reason is Reason.TAMPERED


def test_a_record_given_another_id_does_not_open():
    clear, value = _sealed()
    _refused_as_tampered(dataclasses.replace(clear, id="z" * 26), value, KEY)


def test_a_record_given_another_day_does_not_open():
    clear, value = _sealed()
    _refused_as_tampered(dataclasses.replace(clear, day=DAY + timedelta(days=1)), value, KEY)


def test_a_record_given_another_key_name_does_not_open_even_with_the_same_material():
    clear, value = _sealed()
    other = DataKey(str(KeyName(DAY, "b" * 16, "d" * 13)), KEY.material)
    _refused_as_tampered(dataclasses.replace(clear, key=other.name), value, other)


def test_a_record_does_not_open_under_other_material_of_the_same_name():
    clear, value = _sealed()
    _refused_as_tampered(clear, value, DataKey(KEY.name, b"x" * 32))


def test_a_record_whose_day_is_not_its_keys_day_is_tampered_though_it_is_authentic():
    """Else an image could outlive its day's destruction under the key of another day."""
    tomorrow = DAY + timedelta(days=1)
    value = NONCE + KEY.cipher.encrypt(NONCE, b"", associated_data(ID, tomorrow, KEY.name))
    with pytest.raises(EnvelopeError, match="another day's") as refused:
        open_envelope(Clear("1", ID, tomorrow, KEY.name, "uploads"), value, KEY)
    assert refused.value.reason is Reason.TAMPERED


def test_opening_with_a_key_the_record_does_not_name_is_the_callers_mistake():
    clear, value = _sealed()
    with pytest.raises(ValueError, match="was to be opened with"):
        open_envelope(clear, value, DataKey(str(KeyName(DAY, "d" * 16, "c" * 13)), KEY.material))


def _refused_as_tampered(clear, value, key):
    with pytest.raises(EnvelopeError) as refused:
        open_envelope(clear, value, key)
    assert refused.value.reason is Reason.TAMPERED


GOOD_FIELDS = {
    "sha256": "0" * 64,
    "content_type": "a",
    "label": None,
    "uploader": "u",
    "groups": [],
    "filename": None,
    "uploaded_at": "2026-11-23T00:00:00.000000Z",
}


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        *(json.dumps({k: v for k, v in GOOD_FIELDS.items() if k != name}).encode() for name in GOOD_FIELDS),
        json.dumps({**GOOD_FIELDS, "groups": "admins"}).encode(),
        json.dumps({**GOOD_FIELDS, "groups": [1]}).encode(),
        json.dumps({**GOOD_FIELDS, "uploader": None}).encode(),
        json.dumps({**GOOD_FIELDS, "uploader": "\ud800"}).encode(),
        json.dumps({**GOOD_FIELDS, "uploaded_at": "2026-11-23T00:00:00"}).encode(),
        json.dumps({**GOOD_FIELDS, "uploaded_at": 5}).encode(),
    ],
    ids=lambda packed: repr(packed[:40]),
)
def test_authentic_bytes_with_metadata_of_another_form_have_a_reason_and_stop_nothing(packed):
    clear, _ = _sealed()
    _refused_as_tampered(clear, _resealed(struct.pack(">I", len(packed)) + packed + IMAGE), KEY)


@pytest.mark.parametrize("plain", [b"", b"\x00", b"\x00\x00\x00\x00", b"\x00\x00\x00\x05ab", b"\xff\xff\xff\xff{}"])
def test_a_length_that_points_past_the_end_is_tampered(plain):
    clear, _ = _sealed()
    _refused_as_tampered(clear, _resealed(plain), KEY)


@pytest.mark.parametrize("headers", [None, [], [("id", b"x"), ("label", None), ("day", b"nonsense")]])
def test_a_record_without_a_version_is_unsealed(headers):
    assert clear_of(headers) is None


def test_headers_come_back_as_they_were_sealed_and_others_are_passed_over():
    clear = clear_of([("traceparent", b"\xff"), *_headers(), ("label", None), ("label", b"x")])
    assert clear == Clear("1", ID, DAY, KEY.name, "uploads")
    assert clear.headers() == _headers()


@pytest.mark.parametrize("version", [b"2", b"", b"01", b"1 ", b"\xff", None])
def test_another_version_is_unknown_and_no_other_header_is_judged(version):
    with pytest.raises(EnvelopeError) as refused:
        clear_of(_headers(v=version, day=b"whatever a later version may put here", via=...))
    assert refused.value.reason is Reason.UNKNOWN_VERSION


@pytest.mark.parametrize(
    "overrides",
    [
        {"id": ...},
        {"day": ...},
        {"key": ...},
        {"via": ...},
        {"id": [ID.encode(), b"z" * 26]},
        {"v": [b"1", b"1"]},
        {"id": None},
        {"id": b"A" * 26},
        {"id": b"a" * 25},
        {"id": b"a" * 26 + b"\n"},
        {"id": b"\xff" * 26},
        {"id": "ä".encode() * 13},
        {"day": b"2026-02-30"},
        {"day": b"20261123"},
        {"day": b"2026-W48-1"},
        {"day": "２０２６-11-23".encode()},
        {"key": b""},
        {"key": None},
        {"key": b"k" * 129},
        {"via": b"Uploads Door"},
        {"via": b"v" * 65},
    ],
    ids=str,
)
def test_a_missing_doubled_or_malformed_header_is_tampered(overrides):
    with pytest.raises(EnvelopeError) as refused:
        clear_of(_headers(**overrides))
    assert refused.value.reason is Reason.TAMPERED
    assert next(iter(overrides)) in refused.value.detail
    assert refused.value.detail.isascii()


@given(
    headers=st.lists(
        st.tuples(st.sampled_from(["v", "id", "day", "key", "via", "x"]), st.none() | st.binary(max_size=40))
    )
)
@settings(max_examples=200, deadline=None)
def test_headers_that_anyone_may_write_never_raise_anything_else(headers):
    try:
        clear_of(headers)
    except EnvelopeError as refused:
        assert refused.reason in (Reason.TAMPERED, Reason.UNKNOWN_VERSION)


@pytest.mark.parametrize("name", ["table", "column", "id", "day", "key"])
def test_a_sealed_field_moved_elsewhere_does_not_open(name):
    place = {"table": "images/processed_images", "column": "label", "id": ID, "day": DAY, "key": KEY}
    elsewhere = {
        "table": "images/image_features",
        "column": "filename",
        "id": "z" * 26,
        "day": DAY + timedelta(days=1),
        "key": DataKey(str(KeyName(DAY, "d" * 16, "c" * 13)), KEY.material),
    }
    sealed = seal_field(b"7", **place, nonce=NONCE)
    with pytest.raises(EnvelopeError) as refused:
        open_field(sealed, **{**place, name: elsewhere[name]})
    assert refused.value.reason is Reason.TAMPERED


def test_a_field_does_not_open_as_a_record_nor_a_record_as_a_field():
    field = seal_field(IMAGE, table="t", column="c", id=ID, day=DAY, key=KEY, nonce=NONCE)
    clear, value = _sealed()
    _refused_as_tampered(clear, field, KEY)
    with pytest.raises(EnvelopeError):
        open_field(value, table="t", column="c", id=ID, day=DAY, key=KEY)


def test_table_and_column_cannot_be_shifted_into_one_another():
    sealed = seal_field(b"7", table="ab", column="c", id=ID, day=DAY, key=KEY, nonce=NONCE)
    with pytest.raises(EnvelopeError):
        open_field(sealed, table="a", column="bc", id=ID, day=DAY, key=KEY)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"id": "no id"}, "id"),
        ({"day": DAY + timedelta(days=1)}, "day"),
        ({"nonce": b"short"}, "nonce"),
        ({"via": "UPLOADS"}, "via"),
        ({"metadata": dataclasses.replace(METADATA, sha256="ABC")}, "sha256"),
        ({"metadata": dataclasses.replace(METADATA, uploaded_at=datetime(2026, 11, 23))}, "zone"),  # noqa: DTZ001
        ({"metadata": dataclasses.replace(METADATA, label="\ud800")}, "surrogates"),
    ],
    ids=["id", "day of another key", "nonce", "via", "sha256", "time without zone", "text without UTF-8"],
)
def test_what_the_format_cannot_carry_is_refused_before_sealing(overrides, said):
    with pytest.raises(ValueError, match=said):
        _sealed(**overrides)


def test_a_day_is_taken_in_utc_and_never_from_a_time_without_zone():
    west = timezone(timedelta(hours=-5))
    assert day_of(datetime(2026, 11, 22, 19, 0, tzinfo=west)) == DAY
    assert day_of(datetime(2026, 11, 22, 18, 59, tzinfo=west)) == DAY - timedelta(days=1)
    with pytest.raises(ValueError, match="zone"):
        day_of(datetime(2026, 11, 23))  # noqa: DTZ001


def test_a_resend_is_the_same_image_within_the_day_and_another_afterwards():
    sha256 = b"s" * 32
    assert image_id(SECRET, "alice", sha256, DAY) == image_id(SECRET, "alice", sha256, DAY)
    others = {
        image_id(SECRET, "bob", sha256, DAY),
        image_id(SECRET, "alice", b"t" * 32, DAY),
        image_id(SECRET, "alice", sha256, DAY + timedelta(days=1)),
        image_id(b"x" * 32, "alice", sha256, DAY),
    }
    assert len(others) == 4
    assert image_id(SECRET, "alice", sha256, DAY) not in others
    assert pseudonym(SECRET, "alice", DAY) != pseudonym(SECRET, "alice", DAY + timedelta(days=1))


def test_a_hex_digest_or_a_short_secret_is_refused():
    with pytest.raises(ValueError, match="32 raw bytes"):
        image_id(SECRET, "alice", b"0" * 64, DAY)
    with pytest.raises(ValueError, match="platform secret"):
        pseudonym(b"short", "alice", DAY)


def test_key_material_shows_in_no_repr_and_no_pickle_and_keys_do_not_travel():
    assert "kkkk" not in repr(KEY)
    assert "kkkk" not in f"{KEY} {[KEY]} {KEY!r}"
    assert KEY.name in repr(KEY)
    for travel in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="does not travel"):
            travel(KEY)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "k",
        "../../etc/passwd",
        "2026-11-23",
        f"2026-11-23_{'b' * 16}_{'c' * 12}",
        f"2026-13-23_{'b' * 16}_{'c' * 13}",
        f"2026-11-23_{'B' * 16}_{'c' * 13}",
        f"2026-11-23_{'b' * 16}_{'c' * 13}\n",
        f"2026-11-23_{'b' * 15}/_{'c' * 13}",
    ],
)
def test_a_name_that_is_no_keys_name_makes_no_key(name):
    with pytest.raises(ValueError, match="data key's name"):
        KeyName.parse(name)
    with pytest.raises(ValueError, match="data key's name"):
        DataKey(name, b"k" * 32)


def test_material_of_another_length_makes_no_key():
    with pytest.raises(ValueError, match="32 bytes"):
        DataKey(KEY.name, b"k" * 16)
