"""`darkroom accept-loss`, `reland` and `lake` as a person types them.

On the running stack's broker, with a topic and a lake of a test's own.
"""

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

from resources.kafka import Admin
from resources.landing_losses import LandingStopped
from tests.live_stack import LiveStack, run_darkroom
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
        broker = Admin(made.settings)
        for future in broker.client.create_acls(rights).values():
            future.result(20)
        try:
            yield made
        finally:
            gone = AclBindingFilter(*place, AclOperation.ANY, AclPermissionType.ANY)
            for future in broker.client.delete_acls([gone]).values():
                future.result(20)


def command(stack: LiveStack, stream: Stream, *arguments: str, code: int = 0) -> str:
    """What a command says of the stream."""
    done = run_darkroom(stack.home, *arguments, DARKROOM_TOPIC=stream.topic, DARKROOM_LAKE=stream.settings.lake)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def accept_loss(stack: LiveStack, stream: Stream, *options: str, code: int = 0) -> str:
    return command(stack, stream, "accept-loss", *options, code=code)


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


def test_a_restore_of_bronze_is_refused_and_what_one_took_comes_back_when_a_person_says_so(
    stack: LiveStack, stream: Stream
) -> None:
    stream.send([b"a"])
    stream.lander().land()
    stream.send([b"b", b"c"])
    stream.lander().land()
    refused = command(stack, stream, "lake", "restore", RAW_IMAGES.name, "--version", "1", "--yes", code=1)
    assert "rewind rows but not identifiers" in refused and "darkroom reland --from" in refused

    # Another tool does not know better.
    table = stream.lake.open(RAW_IMAGES.name)
    table.restore(table.version() - 1)
    shown = command(stack, stream, "reland", "--from", "0")
    assert "partition 0: 2 offsets without a row, 1 to 2" in shown and "--yes --why" in shown
    assert stream.offsets() == {0: [0]}
    command(stack, stream, "reland", "--from", "0", "--yes", code=2)
    written = command(stack, stream, "reland", "--from", "0", "--yes", "--why", "a restore by hand")
    assert "2 records written in 1 commits" in written
    assert stream.offsets() == {0: [0, 1, 2]}
    assert "Nothing is missing" in command(stack, stream, "reland", "--from", "0")
    assert "a restore by hand" in command(stack, stream, "lake", "history", RAW_IMAGES.name)
    assert "Valid ones: 0, 1" in command(stack, stream, "reland", "--from", "0", "--partition", "9", code=2)
