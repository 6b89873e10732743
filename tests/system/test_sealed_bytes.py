"""Who may not open sees sealed bytes alone: landing and sensors, analysts, pages, and whoever stole a service's login.

One image with words in it goes all the way. Then everything that each of them can reach is read and searched for what
was sealed, as it is and in base64. The control comes first: who may open finds all of it, with the same search.
"""

from __future__ import annotations

import base64
import hashlib
import io
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import httpx
import numpy as np
import polars as pl
import psutil
import psycopg
import pyarrow as pa
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from PIL import Image, PngImagePlugin

from access.policy import load_policy
from resources.kafka import Admin, consumer_config
from resources.key_rights import KeyForbidden
from resources.keys import open_key_store
from resources.lake import open_lake
from resources.opening import Opened, Opener
from resources.raw_search import search
from resources.records import records_of
from resources.sealed_rows import SealedRows
from resources.settings import Settings
from stack.people import person_dsn
from stack.state import DAGSTER_DATABASE, MLFLOW_DATABASE, PLATFORM_DATABASE
from tests.live_stack import LiveStack
from tests.services.live import until
from tests.system.dumps import dumped
from transforms.tables import IMAGE_FEATURES, PROCESSED_IMAGES, RAW_IMAGES, TABLES

pytestmark = pytest.mark.stack

POLICY = load_policy()
SHUT = sorted(name for name, one in POLICY.identities.items() if not {"OPEN", "SEAL"} & set(one.keys))
"""Identities that may neither open nor seal."""
READERS = [name for name in SHUT if any(one.topic and "READ" in one.allow for one in POLICY.identities[name].kafka)]
LEAST = 8
"""Bytes of a needle that cannot be there by chance."""


@dataclass
class Sent:
    """An image, what of it was sealed, and in the clear its id, by which a search shows that it sees."""

    id: str = ""
    key: str = ""
    words: dict[str, bytes] = field(default_factory=dict)

    def needles(self) -> dict[str, bytes]:
        """The words as they are, in hexadecimal, and in base64 whatever precedes them."""
        found = {}
        for name, word in self.words.items():
            assert len(word) >= LEAST
            found |= {name: word, f"{name} in hexadecimal": word.hex().encode()}
            for shift in range(3):
                # Without the characters at both ends that share their bits with what stands beside.
                text = base64.b64encode(bytes(shift) + word)
                found[f"{name} in base64, {shift}"] = text[(shift * 8 + 5) // 6 : len(text) - 4]
        return found


@pytest.fixture(scope="module")
def sent(stack: LiveStack) -> Sent:
    """Sent by the door with label and file name, developed, measured; its label corrected and that landed, too."""
    mark, label, filename = (f"{kind}-{secrets.token_hex(16)}" for kind in ("mark", "label", "file"))
    text, made = PngImagePlugin.PngInfo(), io.BytesIO()
    text.add_text("Comment", mark)
    Image.fromarray(np.random.default_rng().integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(
        made, "PNG", pnginfo=text
    )
    name = f"sealed-{secrets.token_hex(4)}"
    headers = {"Authorization": f"Bearer {stack.token(name)}", "X-Label": label}
    with httpx.Client(base_url=stack.url, verify=stack.ca, timeout=30, trust_env=False, headers=headers) as client:
        files = {"file": (f"{filename}.png", made.getvalue(), "image/png")}
        id = client.post("/v1/images", files=files).raise_for_status().json()["id"]
        until(lambda: client.get(f"/v1/images/{id}").json()["state"] == "processed", 180)
        corrected = client.put(f"/v1/images/{id}/label", json={"label": f"better-{label}"})
        assert corrected.is_success, corrected.text
        thumbnail = client.get(f"/v1/images/{id}/thumbnail").raise_for_status().content
    lake = open_lake(stack.settings("dagster"))

    def rows(table: str) -> pl.DataFrame:
        if not lake.exists(table):
            return pl.DataFrame({"id": []})
        return pl.scan_delta(lake.open(table)).filter(pl.col("id") == id).collect()

    until(lambda: len(rows(IMAGE_FEATURES.name)) == 1, 120)
    key = rows(PROCESSED_IMAGES.name)["key"].item()
    middle = len(thumbnail) // 2
    words = {"mark": mark.encode(), "label": label.encode(), "filename": filename.encode(), "uploader": name.encode()}
    words |= {"hash": hashlib.sha256(made.getvalue()).digest(), "thumbnail": thumbnail[middle : middle + 33]}
    return Sent(id, key, words)


@pytest.fixture(scope="module")
def needles(sent: Sent) -> dict[str, bytes]:
    return sent.needles()


def holding(needles: Mapping[str, bytes], text: bytes) -> list[str]:
    """What is found of the needles, by their names; the words themselves belong into no report."""
    return [name for name, needle in needles.items() if needle in text]


def test_who_may_open_finds_every_word_so_that_the_search_sees(stack: LiveStack, sent: Sent) -> None:
    settings = stack.settings("dagster").acting_as("developing")
    lake, keys = open_lake(settings), open_key_store(settings)
    bronze = pl.scan_delta(lake.open(RAW_IMAGES.name)).select(RAW_IMAGES.schema.names).collect().to_arrow()
    opener, found = Opener(settings, keys), b""
    for batch in bronze.cast(RAW_IMAGES.schema).to_batches():
        for one in map(opener.open, records_of(batch)):
            if isinstance(one, Opened) and one.id == sent.id:
                found += bytes(one.image) + one.sha256 + f"{one.label} {one.filename} {one.uploader}".encode()
    (row,) = (
        pl.scan_delta(lake.open(PROCESSED_IMAGES.name)).filter(pl.col("id") == sent.id).collect().iter_rows(named=True)
    )
    found += SealedRows(keys).open(PROCESSED_IMAGES, row, "thumbnail") or b""
    assert holding(sent.words, found) == list(sent.words)
    text = base64.b64encode(b"x" + found) + base64.b64encode(found) + found.hex().encode()
    assert {one.split(" in ")[0] for one in holding(sent.needles(), text)} == set(sent.words)


@pytest.mark.parametrize("identity", READERS)
def test_a_stolen_certificate_reads_sealed_records_alone(
    stack: LiveStack, sent: Sent, needles: dict[str, bytes], identity: str
) -> None:
    """`dagster` is whom landing and sensors are known as."""
    settings = stack.settings(identity)
    for topic in (settings.topic, settings.labels_topic, settings.recognised_topic):
        text = b"".join(everything(stack, settings, topic))
        assert sent.id.encode() in text or topic == settings.recognised_topic
        assert holding(needles, text) == [], topic


def everything(stack: LiveStack, settings: Settings, topic: str) -> Iterator[bytes]:
    """Keys, headers and values of a topic's records, as an identity reads them."""
    partitions = Admin(stack.settings("admin")).state(topic).partitions
    consumer = Consumer(consumer_config(settings, f"darkroom-sealed-{secrets.token_hex(4)}"))
    try:
        left = {partition for partition, (low, high) in partitions.items() if high > low}
        consumer.assign([TopicPartition(topic, one, partitions[one][0]) for one in left])
        while left:
            message = consumer.poll(20)
            assert message is not None, f"{topic} gives nothing"
            if message.error() is not None:
                if message.error().code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(message.error())
                left.discard(message.partition())
                continue
            headers = b"".join(name.encode() + (value or b"") for name, value in message.headers() or [])
            yield (message.key() or b"") + headers + (message.value() or b"")
    finally:
        consumer.close()


def test_the_lakes_tables_hold_sealed_bytes_alone(stack: LiveStack, sent: Sent, needles: dict[str, bytes]) -> None:
    """Each value of each column of every table, aggregates and what models said among them."""
    lake, looked = open_lake(stack.settings("dagster")), 0
    for spec in TABLES:
        if not lake.exists(spec.name):
            continue
        text = io.BytesIO()
        table = pl.scan_delta(lake.open(spec.name)).collect().to_arrow()
        with pa.ipc.new_stream(text, table.schema) as stream:
            stream.write_table(table)
        looked += sent.id.encode() in text.getvalue()
        assert holding(needles, text.getvalue()) == [], spec.name
    assert looked >= 3, "bronze, images and features have the id in the clear"


@pytest.mark.parametrize("identity", SHUT)
def test_who_may_not_open_has_no_key(stack: LiveStack, sent: Sent, identity: str) -> None:
    settings = stack.settings(identity)
    trail = stack.home / "logs" / "keys.log"
    for ask in (lambda keys: keys.open_key(sent.key), lambda keys: keys.platform_secret()):
        with pytest.raises(KeyForbidden, match=f"{identity} may not"):
            ask(open_key_store(settings))
    assert f'"who": "{identity}"' not in trail.read_text()


@pytest.mark.parametrize("database", [PLATFORM_DATABASE, DAGSTER_DATABASE, MLFLOW_DATABASE])
def test_no_table_of_a_database_holds_a_word(
    stack: LiveStack, sent: Sent, needles: dict[str, bytes], database: str
) -> None:
    """All that pages show comes from there: events with their metadata and pictures, runs, models."""
    looked, seen = 0, False
    for table, text in dumped(stack, database):
        looked += len(text)
        seen |= sent.id.encode() in text
        assert holding(needles, text) == [], table
    assert looked
    assert seen or database != PLATFORM_DATABASE


def test_no_file_of_logs_pages_and_models_holds_a_word(stack: LiveStack, needles: dict[str, bytes]) -> None:
    control = {"control": b'"who": "developing"'}
    found: dict[str, set[str]] = {}
    for place in ("logs", "dagster", "mlflow"):
        for name, files in search(stack.home / place, needles | control).items():
            found.setdefault(name, set()).update(f"{place}/{file}" for file in files)
    assert found.pop("control"), "the search sees the logs"
    assert {name: files for name, files in found.items() if files} == {}


def test_an_analyst_reaches_no_image(stack: LiveStack, sent: Sent, needles: dict[str, bytes]) -> None:
    with stack.person("analytics") as (name, password):
        stack.run("access", "apply", "--yes")
        with psycopg.connect(person_dsn(stack.home, name)) as connection:
            readable = connection.execute(
                "SELECT schemaname, tablename FROM pg_tables WHERE has_table_privilege(format('%I.%I', schemaname, "
                "tablename), 'SELECT') AND has_schema_privilege(schemaname, 'USAGE') AND schemaname <> 'pg_catalog' "
                "AND schemaname <> 'information_schema'"
            ).fetchall()
            assert {schema for schema, _ in readable} == {"shop"}
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT * FROM images.image_status")
        with httpx.Client(base_url=stack.url, verify=stack.ca, timeout=30, trust_env=False) as client:
            signed = client.post("/v1/session", json={"name": name, "password": password}).raise_for_status().json()
            bearer = {"Authorization": f"Bearer {signed['token']}"}
            for path in (f"/v1/images/{sent.id}", f"/v1/images/{sent.id}/thumbnail"):
                assert client.get(path, headers=bearer).status_code == 403
            page = client.post("/dagster/graphql", headers=bearer, json={"query": "{ version }"})
            assert page.is_success, "but the pages"
    another = {"Authorization": f"Bearer {stack.token('somebody-else')}"}
    with httpx.Client(base_url=stack.url, verify=stack.ca, timeout=30, trust_env=False, headers=another) as client:
        assert client.get(f"/v1/images/{sent.id}/thumbnail").status_code == 404, "nor another uploader"


def test_pages_and_daemon_do_not_know_the_identities_that_open(stack: LiveStack) -> None:
    with_them = {}
    for name in ("code-server", "daemon", "webserver", "webserver-read-only"):
        environment = psutil.Process(stack.pid(name)).environ()
        with_them[name] = "DARKROOM_IDENTITIES" in environment
        assert environment["DARKROOM_KAFKA_CERTIFICATE"].endswith("dagster.crt")
    assert with_them == {"code-server": True, "daemon": False, "webserver": False, "webserver-read-only": False}
