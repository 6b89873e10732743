"""A stack whose customer-managed key is in KMS, while KMS is throttling, slow, away, denied and switched off.

Images are sent all the while. What was acknowledged is sealed, in bronze once and developed once; while KMS does not
let anybody seal, the door says 503 and nothing else; and each time the lane goes on by itself. KMS is a stand-in that
speaks its protocol, and its credentials are where a service finds them: in the configuration file of its account.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import polars as pl
import pytest

from cli.settle import wait_until_settled
from resources.kafka import watermarks
from resources.lake import open_lake
from tests.aws_stand_in import REGION, Aws, aws
from tests.live_stack import LiveStack, own_stack
from tests.services.live import until
from tests.system.history import Acknowledged, Sender, png, violations
from transforms.envelope import clear_of
from transforms.tables import RAW_IMAGES

pytestmark = [pytest.mark.own_stack, pytest.mark.timeout(900)]

CACHE_SECONDS = 1.0
AGED_SECONDS = 3.0
"""After which no process believes what KMS said before."""
BAD_SECONDS = 6.0
AGAIN_SECONDS = 60.0


@dataclass
class Trouble:
    """What clients were told while one thing was wrong with KMS, once caches had aged, and afterwards."""

    acknowledged: int
    refused: dict[str, int]
    again: int
    ready: bool
    """Whether a door said that it was ready."""


@dataclass
class Lane:
    """The whole of it."""

    stack: LiveStack
    acknowledged: list[Acknowledged] = field(default_factory=list)
    troubles: dict[str, Trouble] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


@contextmanager
def denied(cloud: Aws, key: str) -> Iterator[None]:
    cloud.deny(key, "kms:Decrypt", "kms:Encrypt")
    try:
        yield
    finally:
        cloud.deny(key)


@contextmanager
def switched_off(cloud: Aws, key: str) -> Iterator[None]:
    cloud.client("kms").disable_key(KeyId=key)
    try:
        yield
    finally:
        cloud.client("kms").enable_key(KeyId=key)


@contextmanager
def slow(cloud: Aws, key: str) -> Iterator[None]:
    cloud.delay = 1.5
    try:
        yield
    finally:
        cloud.delay = 0.0


@contextmanager
def throttling(cloud: Aws, key: str) -> Iterator[None]:
    """Two calls of three are told to come again."""
    cloud.faults += ["ThrottlingException", "ThrottlingException"]
    try:
        yield
    finally:
        cloud.faults.clear()


@contextmanager
def away(cloud: Aws, key: str) -> Iterator[None]:
    with cloud.away():
        yield


SHUT: dict[str, Callable[[Aws, str], object]] = {"denied": denied, "switched off": switched_off, "away": away}
HINDERED: dict[str, Callable[[Aws, str], object]] = {"throttling": throttling, "slow": slow}


@pytest.fixture(scope="module")
def lane() -> Iterator[Lane]:
    with aws() as cloud, tempfile.TemporaryDirectory(prefix="darkroom-account-") as account:
        key = cloud.key()
        (Path(account) / ".aws").mkdir()
        (Path(account) / ".aws" / "config").write_text(
            "[default]\naws_access_key_id = stand-in\naws_secret_access_key = nothing\n"
        )
        settings = {
            "DARKROOM_KEYS_PROVIDER": "aws-kms",
            "DARKROOM_KEYS_KMS_KEY": key,
            "DARKROOM_KMS_ENDPOINT": cloud.url,
            "DARKROOM_AWS_REGION": REGION,
            "DARKROOM_KEY_CACHE_SECONDS": str(CACHE_SECONDS),
            "HOME": account,
        }
        with own_stack(**settings) as stack:
            yield played(Lane(stack), cloud, key)


def played(lane: Lane, cloud: Aws, key: str) -> Lane:
    """Send through every trouble in turn, then wait until all that was taken is developed."""
    stack = lane.stack
    sender = Sender([stack.url], Path(stack.ca), stack.token("keyed"), 20_000_000, pause=0.1)
    history = sender.history
    sender.start()
    try:
        until(lambda: len(history.acknowledged) > 3, 60)
        for name, trouble in {**HINDERED, **SHUT}.items():
            with trouble(cloud, key):  # type: ignore[attr-defined]
                time.sleep(AGED_SECONDS)
                taken, refused = len(history.acknowledged), Counter(history.refused)
                time.sleep(BAD_SECONDS)
                bad, told = len(history.acknowledged) - taken, dict(history.refused - refused)
                ready = any(_ready(stack, url) for url in stack.instances)
            before = len(history.acknowledged)
            until(lambda before=before: len(history.acknowledged) > before, AGAIN_SECONDS)
            lane.troubles[name] = Trouble(bad, told, len(history.acknowledged) - before, ready)
    finally:
        lane.acknowledged = sender.stop().acknowledged
    settings = stack.settings("operator")
    wait_until_settled(settings, stack.dagster(), 180)
    lane.broken = list(violations(settings.lake_root, lane.acknowledged, watermarks(settings, settings.topic).topic_id))
    return lane


def _ready(stack: LiveStack, url: str) -> bool:
    with httpx.Client(verify=stack.as_gateway(), timeout=30, trust_env=False) as client:
        return client.get(f"{url}/readyz").status_code == 200


def test_what_was_acknowledged_through_it_all_is_in_bronze_once_and_developed_once(lane: Lane) -> None:
    assert len(lane.acknowledged) > 20, f"too few to prove anything: {lane.troubles}"
    assert lane.broken == []


def test_no_acknowledged_image_is_unsealed(lane: Lane) -> None:
    rows = pl.scan_delta(open_lake(lane.stack.settings("operator")).open(RAW_IMAGES.name))
    ids = {one.id for one in lane.acknowledged}
    seen = set()
    for headers, payload in rows.select("headers", "payload").collect().iter_rows():
        clear = clear_of([(one["key"], one["value"]) for one in headers or []])
        assert clear is not None, "a record without an envelope"
        assert b"\x89PNG" not in payload and b"IHDR" not in payload
        seen.add(clear.id)
    assert ids <= seen
    assert b"IHDR" in png(1), "as it is in every image that was sent"


@pytest.mark.parametrize("name", HINDERED)
def test_throttled_and_slow_it_goes_on(lane: Lane, name: str) -> None:
    assert lane.troubles[name].acknowledged > 0, lane.troubles[name]


@pytest.mark.parametrize("name", SHUT)
def test_without_kms_the_door_says_503_and_goes_on_by_itself(lane: Lane, name: str) -> None:
    trouble = lane.troubles[name]
    assert trouble.acknowledged == 0, "nothing is taken that could not be sealed under a key that stands"
    assert set(trouble.refused) == {"503"} and trouble.refused["503"] > 0
    assert not trouble.ready, "and says so to whoever asks whether it is ready"
    assert trouble.again > 0
