"""What tests of the sub-second lane on the running broker share: topics and keys of their own, images, answers."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition

from resources.kafka import Admin, consumer_config, ensure_topic, watermarks
from resources.keys import KeyStore, open_key_store
from resources.settings import Settings
from tests.resources.stream import Stream, own_stream
from transforms.envelope import Metadata, clear_of, day_of, image_id, pseudonym, seal
from transforms.messages import Recognition, open_recognition

ROOT = Path(__file__).parents[2]


@dataclass
class Lane:
    """A topic of images, one of answers, a key store and a lake, all of a test's own."""

    stream: Stream
    keys: KeyStore
    began: list[Instance] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return self.stream.settings

    def sealed(self, image: bytes, uploader: str = "ada") -> tuple[str, list[tuple[str, bytes]], bytes]:
        """What a door would produce now: id, headers, value."""
        now = datetime.now(UTC)
        day, secret, digest = day_of(now), self.keys.platform_secret(), hashlib.sha256(image)
        id = image_id(secret, uploader, digest.digest(), day)
        metadata = Metadata(digest.hexdigest(), "image/png", "a label", uploader, (), "a name.png", now)
        key = self.keys.current_key(day, pseudonym(secret, uploader, day))
        return id, *seal(metadata, image, id=id, day=day, key=key, via="uploads", nonce=os.urandom(12))

    def send(self, images: Iterable[bytes], seconds_between: float = 0.0) -> list[str]:
        """Send images as a door does, to all partitions; returns the ids, each acknowledged."""
        producer, refused = self.stream.producer(**{"linger.ms": "0"}), []
        ids = []
        for image in images:
            id, headers, value = self.sealed(image)
            producer.produce(
                self.settings.topic, value, id, headers=list(headers), on_delivery=lambda e, _: refused.append(e)
            )
            producer.poll(0)
            ids.append(id)
            if seconds_between:
                producer.flush(20)
                time.sleep(seconds_between)
        assert producer.flush(60) == 0
        assert [error for error in refused if error is not None] == []
        return ids

    def answers(self, ids: Sequence[str], seconds: float = 120) -> list[Recognition]:
        """Every answer on the topic, read from its begin until each of these ids has one and the end is reached."""
        found = [self.opened(message) for message in self._messages(set(ids), seconds)]
        assert set(ids) <= {one.id for one in found}
        return found

    def opened(self, message: Message) -> Recognition:
        """An answer as a reader opens it."""
        clear, value = clear_of(message.headers()), message.value()
        assert clear is not None and value is not None
        assert message.key() == clear.id.encode()
        return open_recognition(clear, value, self.keys.open_key(clear.key))

    def instance(self) -> Instance:
        """One more instance of the lane; ready when it has its share of the partitions."""
        self.began.append(Instance(self.settings))
        return self.began[-1]

    def _messages(self, ids: set[str], seconds: float) -> Iterator[Message]:
        topic = self.settings.recognised_topic
        consumer = Consumer(consumer_config(self.settings, "reader") | {"enable.partition.eof": "false"})
        deadline = time.monotonic() + seconds
        try:
            consumer.assign([TopicPartition(topic, p, 0) for p in watermarks(self.settings, topic).partitions])
            while ids or time.monotonic() < deadline:
                message = consumer.poll(0.5)
                if message is None:
                    if not ids:
                        return
                    assert time.monotonic() < deadline, f"{len(ids)} images have no answer after {seconds:g} s"
                    continue
                assert message.error() is None, message.error()
                key = message.key()
                ids.discard(key if isinstance(key, str) else (key or b"").decode())
                yield message
        finally:
            consumer.close()


class Instance:
    """A process of the lane."""

    def __init__(self, settings: Settings) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.services.recogniser_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(settings.model_dump_json() + "\n")
        self.process.stdin.flush()

    def wait_ready(self) -> Instance:
        """Wait until the group gave it its share."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        return self

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(30)

    def end(self) -> dict[str, Any]:
        """End it in order; returns what it reports."""
        self.process.terminate()
        out, _ = self.process.communicate(timeout=60)
        return json.loads(out.splitlines()[-1])


@contextmanager
def own_lane(settings: Settings, folder: Path, partitions: int = 3, **changes: Any) -> Iterator[Lane]:
    """A lane on the broker of `settings`; topics are deleted and processes ended afterwards."""
    answers = f"test.answers.{uuid.uuid4().hex[:12]}"
    given = {"keys": str(folder / "keys"), "decode_workers": 1, "recognised_topic": answers, **changes}
    with own_stream(settings, folder, partitions=partitions, **given) as stream:
        ensure_topic(stream.settings, answers, 2)
        keys = open_key_store(stream.settings)
        keys.initialise()
        lane = Lane(stream, keys)
        try:
            yield lane
        finally:
            for instance in lane.began:
                if instance.process.poll() is None:
                    instance.kill()
            Admin(stream.settings).delete_topic(answers)
