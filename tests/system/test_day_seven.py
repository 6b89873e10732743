"""Day seven: images with marks in them are uploaded, their day passes, and every byte on the disks is searched.

A stack of its own, for its days are purged. Before the purge the search has to find what it will look for afterwards,
in each place that holds it; else it proves nothing. And a thief takes a copy of everything but the key store.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer
from PIL import Image, PngImagePlugin
from psycopg import sql
from psycopg.conninfo import make_conninfo

from resources.kafka import Admin, producer_config
from resources.keys import open_key_store
from resources.lake import Lake, open_lake
from resources.opening import Opened, Opener, Refused
from resources.postgres import ImageStatus
from resources.purge_proof import Piece, Proof, Report
from resources.purging import Purge, Purged
from resources.raw_search import search
from resources.records import records_of
from resources.settings import Settings
from stack.state import DAGSTER_DATABASE, MLFLOW_DATABASE, PLATFORM_DATABASE, load_state
from tests.live_stack import LiveStack, own_stack
from tests.services.live import until
from tests.system.dumps import dumped
from transforms.reasons import Reason
from transforms.tables import IMAGE_FEATURES, LABEL_CORRECTIONS, PROCESSED_IMAGES, QUARANTINED_IMAGES, RAW_IMAGES

pytestmark = [pytest.mark.own_stack, pytest.mark.timeout(900)]

PLACES = ("lake", "kafka", "logs", "dagster", "mlflow", "state")
CANARY = "canary"


def marked(mark: str) -> bytes:
    """A picture whose file carries a mark."""
    pixels = np.random.default_rng().integers(0, 255, (48, 64, 3), dtype=np.uint8)
    text, made = PngImagePlugin.PngInfo(), BytesIO()
    text.add_text("Comment", mark)
    Image.fromarray(pixels).save(made, "PNG", pnginfo=text)
    return made.getvalue()


@dataclass
class Story:
    """What was sent, what it became, and what was found of it before and after."""

    stack: LiveStack
    day: date
    mark: str
    ids: list[str] = field(default_factory=list)
    needles: dict[str, bytes] = field(default_factory=dict)
    opened_before: list[bytes] = field(default_factory=list)
    before: dict[str, set[str]] = field(default_factory=dict)
    after: dict[str, set[str]] = field(default_factory=dict)
    dumped_before: dict[str, set[str]] = field(default_factory=dict)
    """What a dump of the databases holds of the images: by their ids, and by the same needles as files."""
    dumped_after: dict[str, set[str]] = field(default_factory=dict)
    stolen: Path = Path()
    purged: Purged = field(default_factory=Purged)
    pieces: list[Piece] = field(default_factory=list)
    report: Report = field(default_factory=Report)

    @property
    def settings(self) -> Settings:
        return self.stack.settings("dagster")

    @property
    def opening(self) -> Settings:
        return self.settings.acting_as("developing")

    @property
    def lake(self) -> Lake:
        return open_lake(self.settings)

    def everywhere(self) -> dict[str, set[str]]:
        """Where the needles lie, over all that the stack keeps on this machine."""
        found: dict[str, set[str]] = {name: set() for name in self.needles}
        roots = {place: self.stack.home / place for place in PLACES}
        roots |= {"postgres": load_state(self.stack.home).postgres.folder, "keys": self.stack.home / "keys"}
        for place, root in roots.items():
            for name, files in search(root, self.needles).items():
                found[name] |= {f"{place}/{file}" for file in files}
        return found

    def dumped(self) -> dict[str, set[str]]:
        """The tables whose rows hold an id of an image or a needle."""
        wanted = {**self.needles, **{f"id {number}": id.encode() for number, id in enumerate(self.ids)}}
        found: dict[str, set[str]] = {name: set() for name in wanted}
        for database in (PLATFORM_DATABASE, DAGSTER_DATABASE, MLFLOW_DATABASE):
            for table, text in dumped(self.stack, database):
                for name in (name for name, needle in wanted.items() if needle in text):
                    found[name].add(f"{database}/{table}")
        return found


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    """The whole of it, once."""
    with own_stack() as stack:
        told = Story(stack, datetime.now(UTC).date(), f"mark-{secrets.token_hex(16)}")
        told.stolen = stack.home.parent / "stolen"
        send(told)
        note(told)
        told.before, told.dumped_before = told.everywhere(), told.dumped()
        steal(told)
        purge(told)
        told.after, told.dumped_after = told.everywhere(), told.dumped()
        yield told


def send(story: Story) -> None:
    """By the door with a label, one of them cut short; unsealed by a producer; then a correction."""
    stack = story.stack
    headers = {"Authorization": f"Bearer {stack.token('ada')}", "X-Label": f"label-{story.mark}"}
    with httpx.Client(base_url=stack.url, verify=stack.ca, timeout=30, trust_env=False, headers=headers) as client:
        for body in (marked(story.mark), marked(story.mark), marked(story.mark)[:-400]):
            story.ids.append(client.post("/v1/images", content=body).raise_for_status().json()["id"])
        producer = Producer(producer_config(stack.settings("operator")))
        producer.produce(story.settings.topic, marked(f"plain-{story.mark}"))
        assert producer.flush(30) == 0

        def states() -> list[str]:
            return [client.get(f"/v1/images/{one}").json()["state"] for one in story.ids]

        until(lambda: states() == ["processed", "processed", "quarantined"], 180)
        corrected = client.put(f"/v1/images/{story.ids[0]}/label", json={"label": f"better-{story.mark}"})
        assert corrected.is_success, corrected.text
    tables = (RAW_IMAGES, PROCESSED_IMAGES, IMAGE_FEATURES, LABEL_CORRECTIONS)
    until(lambda: all(rows(story, spec.name) for spec in tables) and len(rows(story, IMAGE_FEATURES.name)) >= 3, 180)


def rows(story: Story, name: str) -> list[dict[str, object]]:
    lake = story.lake
    return pl.scan_delta(lake.open(name)).collect().to_dicts() if lake.exists(name) else []


def note(story: Story) -> None:
    """What to look for: marks as they are, and of each sealed thing a piece of what it was sealed to."""
    story.needles["plain mark"] = f"plain-{story.mark}".encode()
    for name, column in (
        (RAW_IMAGES.name, "payload"),
        (PROCESSED_IMAGES.name, "thumbnail"),
        (PROCESSED_IMAGES.name, "label"),
        (IMAGE_FEATURES.name, "features"),
        (LABEL_CORRECTIONS.name, "payload"),
    ):
        sealed = [row[column] for row in rows(story, name) if row[column] is not None]
        # The last bytes are the seal's: 16 that nobody could guess, whatever came before.
        story.needles |= {f"{name}.{column} {number}": value[-24:] for number, value in enumerate(sealed)}
    dsn = make_conninfo(story.stack.settings("admin").postgres_dsn)
    story.needles[CANARY] = secrets.token_hex(20).encode()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("COMMENT ON TABLE images.image_status IS {}").format(story.needles[CANARY].decode()))
        connection.execute("CHECKPOINT")
    opener = Opener(story.settings, open_key_store(story.opening))
    story.opened_before = [
        found.image for found in opened(story.stack.home / "lake", opener) if isinstance(found, Opened)
    ]


def opened(lake: Path, opener: Opener) -> Iterator[Opened | Refused]:
    """What comes of every record of every Parquet file of bronze that lies on the disk, by no table's word."""
    for path in (lake / RAW_IMAGES.name).rglob("*.parquet"):
        held = pq.ParquetFile(path).read()
        day = date.fromisoformat(path.parent.name.removeprefix("day="))
        whole = held.append_column("day", pa.array([day] * held.num_rows, pa.date32()))
        for batch in whole.select(RAW_IMAGES.schema.names).cast(RAW_IMAGES.schema).to_batches():
            yield from map(opener.open, records_of(batch))


def steal(story: Story) -> None:
    """A copy of every disk, without key store and secrets."""
    for place in PLACES:
        if (story.stack.home / place).is_dir():
            shutil.copytree(story.stack.home / place, story.stolen / place)


def purge(story: Story) -> None:
    """Eight days later, by a clock of ours; then Kafka's open segment is closed, as the next hour would."""

    def later() -> datetime:
        return datetime.now(UTC) + timedelta(days=8)

    settings = story.settings.acting_as("upkeep")
    story.pieces = Proof(settings, story.lake).before([], [story.day])
    with ImageStatus(settings.postgres_dsn) as status:
        story.purged = Purge(settings, story.lake, status, now=later, witness=later).run()
    topics = (settings.topic, settings.labels_topic, settings.recognised_topic)
    broker = Admin(story.stack.settings("admin"))
    for topic in topics:
        broker.configure_topic(topic, {"segment.ms": "100"})
    time.sleep(1)
    producer = Producer(producer_config(story.stack.settings("operator")))
    for topic in topics:
        for partition in broker.state(topic).partitions:
            # A record that arrives closes the segment before it.
            producer.produce(topic, b"the next hour", partition=partition)
    assert producer.flush(30) == 0
    in_kafka = {name: needle for name, needle in story.needles.items() if name != CANARY}
    until(lambda: not any(search(story.stack.home / "kafka", in_kafka).values()), 120)

    def none_left() -> bool:
        # Of topics that no needle is of, the segments go when the broker looks next.
        story.report = Proof(settings, story.lake).after(story.pieces, [])
        return not story.report.left

    until(none_left, 120)


def test_before_the_purge_the_search_finds_everything_where_it_lies(story: Story) -> None:
    marks = [image for image in story.opened_before if story.mark.encode() in bytes(image)]
    assert len(marks) == 4, "with the key store every mark of the bronze files can be read"
    assert {name for name, files in story.before.items() if not files} == set()
    assert any(file.startswith("postgres/") for file in story.before[CANARY])
    for name, files in story.before.items():
        places = {file.split("/")[0] for file in files}
        if name.startswith((f"{RAW_IMAGES.name}.", f"{LABEL_CORRECTIONS.name}.")) or name == "plain mark":
            assert {"lake", "kafka"} <= places, name
        elif name != CANARY:
            assert places == {"lake"}, name


def test_after_it_no_byte_of_them_is_on_any_disk(story: Story) -> None:
    assert any(file.startswith("postgres/") for file in story.after.pop(CANARY)), "the search still finds"
    assert {name: files for name, files in story.after.items() if files} == {}


def test_no_dump_of_the_databases_holds_a_word_and_after_it_none_an_image(story: Story) -> None:
    ids = {name for name in story.dumped_before if name.startswith("id ")}
    assert {table for name in ids for table in story.dumped_before[name]} == {"platform/images.image_status"}
    assert all(story.dumped_before[name] for name in ids), "the dump shows what is there"
    assert {name for name, tables in story.dumped_before.items() if tables} == ids, "a state is no word of an image"
    assert {name for name, tables in story.dumped_after.items() if tables} == set()


def test_the_check_of_the_asset_finds_the_same_by_the_folders_that_the_stack_names(story: Story) -> None:
    kept = {"lake", "kafka", "mlflow", "dagster", "directory", "spark", "logs", "keys", "postgres"}
    assert set(story.settings.searched) == kept
    places = {piece.name.split(" ")[0]: set(piece.places) for piece in story.pieces}
    assert places[f"{RAW_IMAGES.name}.payload"] == {"lake", "kafka"}
    assert places[f"{PROCESSED_IMAGES.name}.thumbnail"] == {"lake"}
    report = story.report
    assert (report.left, report.unseen, report.unreadable) == ({}, [], {})
    empty = {place for place, looked_through in report.searched.items() if not looked_through}
    assert empty <= {"mlflow", "spark"}, "every other place has something; no model is trained here, and not on Spark"


def test_the_purge_says_what_it_took(story: Story) -> None:
    assert [one.day for one in story.purged.days if one.due] == [story.day]
    assert story.purged.rows[RAW_IMAGES.name] == 4
    assert story.purged.rows[QUARANTINED_IMAGES.name] == 1
    assert story.purged.rows[LABEL_CORRECTIONS.name] == 1
    assert story.purged.states == 3
    assert story.settings.topic in story.purged.kafka
    assert all(not rows(story, spec.name) for spec in (PROCESSED_IMAGES, IMAGE_FEATURES))


def test_a_thief_with_every_disk_but_the_key_store_cannot_open_the_copy(story: Story, tmp_path: Path) -> None:
    """With the key store as it is after the purge, and with one of the thief's own."""
    stolen = search(story.stolen / "lake", {name: story.needles[name] for name in story.needles if name != CANARY})
    assert all(stolen.values()), "the copy has everything"
    without = {"kafka_certificate": None, "key_cache_seconds": 0}
    own = story.settings.model_copy(update={"keys": str(tmp_path / "keys"), **without})
    thief = open_key_store(own)
    thief.initialise()
    for keys, reason in ((open_key_store(story.opening), Reason.KEY_DESTROYED), (thief, Reason.UNKNOWN_KEY)):
        found = list(opened(story.stolen / "lake", Opener(story.settings, keys)))
        # What came unsealed was never the key's to protect: docs/retention.md says so.
        plain = [one for one in found if story.needles["plain mark"] in bytes(one.record.payload or b"")]
        assert len(plain) == 1
        assert [one.reason for one in found if isinstance(one, Refused) and one not in plain] == [reason] * 3


def test_the_day_takes_no_image_any_more_and_the_others_do(story: Story) -> None:
    stack = story.stack
    headers = {"Authorization": f"Bearer {stack.token('ada')}"}
    answer = httpx.post(f"{stack.url}/v1/images", content=marked("late"), headers=headers, verify=stack.ca, timeout=30)
    assert answer.status_code == 410, answer.text
    status = stack.run("keys", "status").stdout
    assert f"{story.day}" in status and "destroyed" in status and "by retention" in status
