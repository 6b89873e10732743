"""Records that came through no door, on the running stack's broker: what lands, what becomes of each, and its memory.

Each test has a topic, a lake and a key store of its own, so that the policy for unsealed records can be either.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cli.hostile import PROCESSED, hostile_kinds, sound_jpeg, sound_png
from resources.decoding import DecodePool
from resources.developing import Developer
from resources.keys import KeyStore, open_key_store
from resources.landing import Lander
from tests.live_stack import LiveStack
from tests.resources.stream import Stream, own_stream
from transforms.envelope import Metadata, day_of, image_id, pseudonym, seal
from transforms.tables import PROCESSED_IMAGES, QUARANTINED_IMAGES, RAW_IMAGES

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
TWENTY_MEGABYTES = 20 * 1024 * 1024
MOST_MIB = 700
"""Landing alone is allowed this; the bombs among the kinds would ask for gigabytes each."""


@pytest.fixture
def streams(stack: LiveStack, tmp_path: Path) -> Iterator[Any]:
    made = []

    def make(**changes: Any) -> Stream:
        keys = str(tmp_path / "keys")
        context = own_stream(stack.settings("admin"), tmp_path, partitions=1, keys=keys, decode_workers=1, **changes)
        made.append(context)
        stream = context.__enter__()
        open_key_store(stream.settings).initialise()
        return stream

    yield make
    for context in made:
        context.__exit__(None, None, None)


def sealed(keys: KeyStore, image: bytes) -> tuple[str, list[tuple[str, bytes]], bytes]:
    """What a door would produce now: id, headers, value."""
    now = datetime.now(UTC)
    day, secret, digest = day_of(now), keys.platform_secret(), hashlib.sha256(image)
    id = image_id(secret, "ada", digest.digest(), day)
    metadata = Metadata(digest.hexdigest(), "image/png", None, "ada", (), None, now)
    key = keys.current_key(day, pseudonym(secret, "ada", day))
    return id, *seal(metadata, image, id=id, day=day, key=key, via="uploads", nonce=os.urandom(12))


def outcomes(stream: Stream) -> list[str]:
    """`processed` or the reason, by offset; a record in both tables or twice in one is more than one entry."""
    found: list[tuple[int, str]] = []
    processed = pl.read_delta(stream.lake.uri(PROCESSED_IMAGES.name), columns=["offset"])
    found += [(offset, PROCESSED) for offset in processed["offset"]]
    refused = pl.read_delta(stream.lake.uri(QUARANTINED_IMAGES.name), columns=["offset", "reason"])
    found += refused.iter_rows()
    return [outcome for _, outcome in sorted(found)]


@pytest.mark.parametrize(
    ("unsealed", "expected"),
    [
        (
            "accept",
            [PROCESSED, PROCESSED, "tombstone", "empty", "corrupt", "corrupt", "hash_mismatch", "too_large", PROCESSED],
        ),
        ("quarantine", ["not_sealed", "not_sealed", "tombstone", "empty", *["not_sealed"] * 4, PROCESSED]),
    ],
)
def test_each_record_ends_in_one_table_and_stops_no_other(streams: Any, unsealed: str, expected: list[str]) -> None:
    stream = streams(unsealed=unsealed)
    keys = open_key_store(stream.settings)
    id, headers, value = sealed(keys, sound_png(40, 32))
    stream.send([sound_png(32, 24)], key=None, headers=None)
    stream.send([sound_png(33, 24)], key=b"any", headers=[("content-type", b"image/png")])
    stream.send([None, b""])
    stream.send([sound_png(34, 24)], headers=[("label", b"\xff\xfe\xfa")])
    stream.send([sound_png(35, 24)], key=b"\xff\xfe\xfd")
    stream.send([sound_png(36, 24)], headers=[("sha256", b"00" * 32)])
    stream.send([sound_jpeg().ljust(TWENTY_MEGABYTES, b"\0")])
    stream.send([value], key=id.encode(), headers=headers)

    assert Lander(stream.settings, stream.lake).land().records == len(expected)
    with DecodePool(stream.settings) as pool:
        result = Developer(stream.settings, stream.lake, keys, None, pool).develop()
        again = Developer(stream.settings, stream.lake, keys, None, pool).develop()
    assert outcomes(stream) == expected
    assert (result.records, again.records) == (len(expected), 0)
    bronze = pl.read_delta(stream.lake.uri(RAW_IMAGES.name)).sort("offset")
    assert bronze["key"][5] == b"\xff\xfe\xfd"
    assert bronze["headers"][4].to_list() == [{"key": "label", "value": b"\xff\xfe\xfa"}]
    assert len(bronze["payload"][7]) == TWENTY_MEGABYTES


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc; runs on Linux")
@pytest.mark.alone
def test_memory_stays_bounded_while_every_hostile_kind_is_landed_and_developed(streams: Any) -> None:
    stream = streams()
    kinds = hostile_kinds()
    for kind in kinds:
        stream.send([kind.body], key=kind.key, headers=kind.headers)
    stream.send([sound_png(48, 48)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.system.hostile_lane"],
        input=stream.settings.model_dump_json(),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["landed"] == report["records"] == len(kinds) + 1
    ended = outcomes(stream)
    assert len(ended) == len(kinds) + 1
    wrong = [(kind.name, got) for kind, got in zip(kinds, ended[:-1], strict=True) if got not in kind.expected]
    assert wrong == []
    assert ended[-1] == PROCESSED, "the good image behind them all was not developed"
    assert Counter(ended)[PROCESSED] == report["processed"]
    print(f"peak {report['peak']} MiB, of decoding {report['decoding_peak']} MiB")
    assert report["peak"] < MOST_MIB
    assert report["decoding_peak"] < MOST_MIB
