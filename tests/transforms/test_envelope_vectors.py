"""The known answers of envelope version 1: whoever gives others cannot read what is already sealed."""

import json
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path

import pytest

from transforms.envelope import (
    Clear,
    DataKey,
    Metadata,
    associated_data,
    clear_of,
    image_id,
    open_envelope,
    open_field,
    pseudonym,
    seal,
    seal_field,
)

VECTORS = Path(__file__).parent.parent / "vectors"
RECORDS = json.loads((VECTORS / "envelope.json").read_text("utf-8"))["records"]


@pytest.fixture(params=RECORDS, ids=[record["name"] for record in RECORDS])
def vector(request):
    return request.param


def _key(vector) -> DataKey:
    return DataKey(vector["key_name"], bytes.fromhex(vector["key"]))


def _metadata(vector) -> Metadata:
    fields = vector["metadata"]
    when = datetime.fromisoformat(fields["uploaded_at"])
    return Metadata(**{**fields, "groups": tuple(fields["groups"]), "uploaded_at": when})


def test_the_file_is_what_the_second_implementation_makes():
    made = subprocess.run([sys.executable, VECTORS / "envelope.py"], capture_output=True, check=True, timeout=60)
    assert made.stdout == (VECTORS / "envelope.json").read_bytes()


def test_ids_and_pseudonyms_are_the_known_ones(vector):
    secret, day = bytes.fromhex(vector["platform_secret"]), date.fromisoformat(vector["day"])
    sha256 = bytes.fromhex(vector["metadata"]["sha256"])
    assert image_id(secret, vector["uploader"], sha256, day) == vector["id"]
    assert pseudonym(secret, vector["uploader"], day) == vector["pseudonym"]


def test_sealing_gives_the_known_headers_and_value(vector):
    day = date.fromisoformat(vector["day"])
    headers, value = seal(
        _metadata(vector),
        bytes.fromhex(vector["image"]),
        id=vector["id"],
        day=day,
        key=_key(vector),
        via="uploads",
        nonce=bytes.fromhex(vector["nonce"]),
    )
    assert [[name, text.decode()] for name, text in headers] == vector["headers"]
    assert value.hex() == vector["value"]
    assert associated_data(vector["id"], day, vector["key_name"]).hex() == vector["associated_data"]


def test_the_known_value_opens_to_the_known_metadata_and_image(vector):
    clear = clear_of([(name, text.encode()) for name, text in vector["headers"]])
    assert clear == Clear("1", vector["id"], date.fromisoformat(vector["day"]), vector["key_name"], "uploads")
    metadata, image = open_envelope(clear, bytes.fromhex(vector["value"]), _key(vector))
    assert metadata == _metadata(vector)
    assert bytes(image).hex() == vector["image"]


def test_the_known_field_seals_and_opens(vector):
    field = vector["field"]
    place = {"table": field["table"], "column": field["column"], "id": vector["id"], "key": _key(vector)}
    day = date.fromisoformat(vector["day"])
    nonce = bytes.fromhex(field["nonce"])
    assert seal_field(bytes.fromhex(field["value"]), **place, day=day, nonce=nonce).hex() == field["sealed"]
    assert open_field(bytes.fromhex(field["sealed"]), **place, day=day).hex() == field["value"]
    assert (
        associated_data(vector["id"], day, vector["key_name"], field["table"], field["column"]).hex()
        == field["associated_data"]
    )
