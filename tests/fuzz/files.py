"""Targets: images, the shop's files and the policy."""

from __future__ import annotations

import io
import warnings
from contextlib import suppress

import numpy as np
from PIL import Image

from access.cloud_files import cloud_files
from access.databricks_rights import databricks_rights
from access.kafka_acls import acl_rules
from access.policy import PolicyError, parse_policy
from access.postgres_grants import rights, roles
from services.door.problems import Problem
from services.door.sniff import content_type_of
from tests.fuzz import seeds
from tests.fuzz.harness import pieces, refusal, target
from transforms.features import COUNT, features
from transforms.image_decoding import Limits, Rejected
from transforms.images import develop, harden_pillow, inspect, thumbnail
from transforms.shop_rows import FILES, Fault, read_rows

TOPICS = {"topic": "images.raw", "labels_topic": "images.labels", "recognised_topic": "images.recognised"}
LIMITS = Limits(max_bytes=64 * 1024, max_pixels=250_000)


@target(seeds.images)
def image(data: bytes) -> None:
    """An image at the door and in the decoding process. Refused with Problem at the door, with Rejected behind it;
    MemoryError is documented there, and judged by the process around it."""
    with refusal(Problem):
        content_type_of(data)
    most = Image.MAX_IMAGE_PIXELS
    try:
        with warnings.catch_warnings(), suppress(MemoryError):
            harden_pillow(LIMITS.max_pixels)
            _judged(data)
    finally:
        Image.MAX_IMAGE_PIXELS = most


def _judged(data: bytes) -> None:
    header, whole, small = inspect(data, LIMITS), develop(data, LIMITS), thumbnail(data, LIMITS)
    if isinstance(whole, Rejected):
        assert whole == small and 0 < len(whole.detail) < 2000
        whole.detail.encode()
        return
    assert not isinstance(header, Rejected) and small == whole.thumbnail
    assert 0 < whole.width * whole.height <= LIMITS.max_pixels
    assert 0 <= whole.brightness <= 255 and np.isfinite(whole.sharpness)
    assert len(features(whole.thumbnail)) == COUNT


@target(seeds.shop_files)
def shop(data: bytes) -> None:
    """A file of the shop, which a byte says. Nothing is raised: what is wrong is a Fault in the place of the row."""
    which, text = pieces(data, 2)
    file = FILES[(which or b"\0")[0] % len(FILES)]
    for one in read_rows(file, io.StringIO(text.decode("utf-8", "replace"), newline="")):
        if isinstance(one, Fault):
            one.sentence.encode()
        else:
            assert len(one.values) == len(file.columns)


@target(seeds.policies)
def policy(data: bytes) -> None:
    """A policy. Refused with PolicyError, by the model or by a compiler; what is taken has a digest."""
    with refusal(PolicyError):
        taken = parse_policy(data.decode("utf-8", "replace"))
        assert taken.digest
        rights(taken), roles(taken), databricks_rights(taken), acl_rules(taken, TOPICS)
        assert all(said.encode() for said in cloud_files(taken, TOPICS).values())
