"""`darkroom accept-loss` as a person types it: the running stack's broker, with a topic and a lake of a test's own."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from resources.kafka import admin
from resources.landing import LandingStopped
from tests.live_stack import LiveStack
from tests.resources.stream import Stream, own_stream
from transforms.tables import RAW_IMAGES

pytestmark = pytest.mark.stack


@pytest.fixture
def stream(stack: LiveStack, tmp_path: Path) -> Iterator[Stream]:
    """A topic that the command's identity may read too."""
    with own_stream(stack.settings("admin"), tmp_path) as made:
        place = (ResourceType.TOPIC, made.topic, ResourcePatternType.LITERAL, "User:operator", "*")
        rights = [
            AclBinding(*place, operation, AclPermissionType.ALLOW)
            for operation in (AclOperation.READ, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS)
        ]
        with admin(made.settings) as broker:
            for future in broker.client.create_acls(rights).values():
                future.result(20)
            try:
                yield made
            finally:
                gone = AclBindingFilter(*place, AclOperation.ANY, AclPermissionType.ANY)
                for future in broker.client.delete_acls([gone]).values():
                    future.result(20)


def accept_loss(stack: LiveStack, stream: Stream, *options: str, code: int = 0) -> str:
    """What the command says of the stream."""
    from tests.live_stack import run_darkroom

    done = run_darkroom(
        stack.home,
        "accept-loss",
        *options,
        DARKROOM_TOPIC=stream.topic,
        DARKROOM_LAKE=stream.settings.lake,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_deleted_records_are_shown_and_gone_behind_only_when_a_person_says_so_and_why(
    stack: LiveStack, stream: Stream
) -> None:
    stream.send([b"a", b"b"])
    stream.lander().land()
    stream.send([b"c", b"d", b"e"])
    stream.delete_records(0, 4)
    with pytest.raises(LandingStopped):
        stream.lander().land()

    shown = accept_loss(stack, stream)
    assert "offsets 2 to 3" in shown and "--yes --why" in shown
    with pytest.raises(LandingStopped):
        stream.lander().land()

    assert "Landing now goes on" in accept_loss(stack, stream, "--yes", "--why", "the disk was full")
    kept = stream.lake.open(RAW_IMAGES.name).history(1)[0]
    assert (kept["who"], kept["why"]) == (getpass.getuser(), "the disk was full")
    assert stream.lander().land().records == 1
    assert stream.offsets() == {0: [0, 1, 4]}
    assert "No loss" in accept_loss(stack, stream)


def test_a_topic_made_anew_that_grew_longer_than_the_old_is_landed_beside_it_after_the_command(
    stack: LiveStack, stream: Stream
) -> None:
    stream.send([b"old"])
    stream.lander().land()
    stream.make_anew()
    stream.send([b"new 0", b"new 1", b"new 2"])
    with pytest.raises(LandingStopped, match="made anew"):
        stream.lander().land()
    assert "made anew" in accept_loss(stack, stream)
    accept_loss(stack, stream, "--yes", "--why", "the cluster was replaced")
    assert stream.lander().land().records == 3
    assert sorted(row["payload"] for row in stream.rows()) == [b"new 0", b"new 1", b"new 2", b"old"]


def test_going_on_without_saying_why_is_refused(stack: LiveStack, stream: Stream) -> None:
    stream.send([b"a"])
    stream.lander().land()
    accept_loss(stack, stream, "--yes", code=2)
