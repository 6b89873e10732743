"""The code location on the running stack: by hand, by sensor, twice at once, as its web UI drives it."""

import io
import json
import os
import re
import signal
import ssl
import time
import uuid
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import psycopg
import pytest
from confluent_kafka import Producer
from PIL import Image

from resources.completeness import Range, verify_bronze
from resources.kafka import Admin, client_config, watermarks
from resources.lake import open_lake
from resources.landing import Lander
from tests.live_stack import LiveStack
from tests.platform_assets.dagster_client import FRESHNESS, RUNS, DagsterClient, checked, materialized
from tests.resources.stream import until_readable
from transforms.tables import PROCESSED_IMAGES, RAW_IMAGES, TABLES

# Tests wait for runs that others may be ahead of; what each wait may take is said where it waits.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]
LIVE = ("raw_images", "processed_images", "quarantined_images", "image_features", "daily_uploads")


@pytest.fixture
def dagster(stack: LiveStack) -> DagsterClient:
    return DagsterClient(stack.home)


@pytest.fixture(scope="module")
def developed(stack: LiveStack) -> list[str]:
    """Images that went all the way by themselves; the lane is idle afterwards."""
    ids = upload(stack, 3)
    until_processed(stack, ids)
    until_idle(DagsterClient(stack.home))
    return ids


def upload(stack: LiveStack, count: int) -> list[str]:
    """Upload new images through the door; returns their ids."""
    context = ssl.create_default_context(cafile=stack.ca)
    headers = {"Authorization": f"Bearer {stack.token(f'assets-{uuid.uuid4().hex[:8]}')}"}
    ids = []
    with httpx.Client(base_url=stack.url, verify=context, headers=headers, timeout=60) as door:
        for _ in range(count):
            picture = io.BytesIO()
            Image.fromarray(np.random.default_rng().integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(picture, "PNG")
            answer = door.post("/v1/images", content=picture.getvalue())
            assert answer.status_code == 201, answer.text
            ids.append(answer.json()["id"])
    return ids


def rows(stack: LiveStack, name: str) -> pl.DataFrame:
    """All rows of a table, in one order; the large columns of bronze are told by their hash."""
    table = pl.scan_delta(open_lake(stack.settings()).open(f"images/{name}")).select(pl.exclude("payload", "headers"))
    order = ["day", "uploader_group"] if name == "daily_uploads" else ["topic_id", "partition", "offset"]
    return table.sort(order).collect()


def times_processed(stack: LiveStack, ids: list[str]) -> list[int]:
    """How often each image stands in processed_images."""
    table = pl.scan_delta(open_lake(stack.settings()).open(PROCESSED_IMAGES.name))
    found = table.filter(pl.col("id").is_in(ids)).group_by("id").len().collect()
    counts = dict(found.iter_rows())
    return [counts.get(id, 0) for id in ids]


def until_processed(stack: LiveStack, ids: list[str], seconds: float = 240) -> None:
    """Wait until the sensor and its runs have brought every image into processed_images, once."""
    deadline = time.monotonic() + seconds
    while not _all_there(stack, ids):
        assert time.monotonic() < deadline, f"processed after {seconds:g} s: {times_processed(stack, ids)}"
        time.sleep(1)
    assert times_processed(stack, ids) == [1] * len(ids)


def _all_there(stack: LiveStack, ids: list[str]) -> bool:
    lake = open_lake(stack.settings())
    return lake.exists(PROCESSED_IMAGES.name) and all(times_processed(stack, ids))


def until_idle(dagster: DagsterClient, seconds: float = 240) -> None:
    """Wait until no run is queued or in progress."""
    statuses = ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"]
    deadline = time.monotonic() + seconds
    while dagster.ask(RUNS, filter={"statuses": statuses})["results"]:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_an_uploaded_image_is_developed_without_anybody_asking(dagster: DagsterClient, developed: list[str]):
    state = dagster.ticks("kafka_offsets")
    assert state["status"] == "RUNNING"
    asked = [tick for tick in state["ticks"] if tick["runIds"]]
    assert asked
    run = dagster.run(asked[0]["runIds"][0])
    assert run["jobName"] == "live_images"
    assert run["runConfigYaml"].strip() == "{}"
    assert json.loads(asked[0]["cursor"])["version"] == 1


def test_anything_may_be_materialized_by_hand_with_nothing_new(dagster: DagsterClient, developed: list[str]):
    whole, alone = dagster.finished(dagster.materialize(*LIVE), dagster.materialize("raw_images"))
    assert set(materialized(whole)) == set(LIVE)
    assert materialized(alone)["raw_images"]["new records"] == 0
    assert materialized(whole)["processed_images"]["new rows"] == 0
    assert all(checked(whole).values()), checked(whole)
    assert checked(alone) == {
        "raw_images.holds_what_the_broker_held": True,
        "raw_images.schema_as_specified": True,
    }


@pytest.mark.parametrize(
    ("names", "nothing_new"),
    [
        (("daily_uploads",), {"daily_uploads": {"days recomputed": 0}}),
        (
            ("processed_images", "quarantined_images"),
            {"processed_images": {"new rows": 0, "records read": 0}, "quarantined_images": {"new rows": 0}},
        ),
    ],
    ids=["gold alone", "developing alone"],
)
def test_each_selection_that_can_be_pressed_by_itself_changes_no_row(
    stack: LiveStack,
    dagster: DagsterClient,
    developed: list[str],
    names: tuple[str, ...],
    nothing_new: dict[str, dict[str, int]],
):
    until_idle(dagster)
    before = {name: rows(stack, name) for name in LIVE}
    (run,) = dagster.finished(dagster.materialize(*names))
    told = materialized(run)
    assert set(told) == set(names)
    assert {name: {label: told[name].get(label) for label in labels} for name, labels in nothing_new.items()} == (
        nothing_new
    )
    assert {name.split(".")[0] for name in checked(run)} == set(names)
    assert all(checked(run).values()), checked(run)
    for name in LIVE:
        assert rows(stack, name).equals(before[name]), f"{name} was changed by materializing {', '.join(names)}"


def test_many_runs_at_once_land_and_develop_each_image_once(stack: LiveStack, dagster: DagsterClient):
    """Somebody presses the button three times while images arrive and the sensor runs too."""
    ids = upload(stack, 5)
    runs = [dagster.materialize(*LIVE), dagster.launch("live_images")]
    ids += upload(stack, 5)
    runs.append(dagster.materialize(*LIVE))
    for run in dagster.finished(*runs, seconds=360):
        assert all(checked(run).values()), checked(run)
    until_processed(stack, ids)
    until_idle(dagster)
    bronze = pl.scan_delta(open_lake(stack.settings()).open(RAW_IMAGES.name))
    offsets = bronze.select("topic_id", "partition", "offset").collect()
    assert offsets.height == offsets.n_unique()


def test_a_run_killed_in_the_middle_delays_the_images_by_seconds(stack: LiveStack, dagster: DagsterClient):
    """It held a slot of its table's pool, for which the next run would wait until Dagster's monitoring comes by."""
    ids = upload(stack, 3)
    run_id = dagster.launch("live_images")
    pid = None
    while pid is None:
        messages = [event.get("message") or "" for event in dagster.run(run_id)["eventConnection"]["events"]]
        begun = any(message.startswith('Started execution of step "raw_images"') for message in messages)
        found = [re.search(r"Executing steps in process \(pid: (\d+)\)", message) for message in messages]
        pid = next((int(match[1]) for match in found if match), None) if begun else None
        assert dagster.run(run_id)["status"] != "SUCCESS", "the run was too quick to be killed"
    os.kill(pid, signal.SIGKILL)
    until_processed(stack, ids, seconds=90)
    until_idle(dagster)
    assert dagster.run(run_id)["status"] == "FAILURE"


def test_the_stream_can_be_observed_by_hand(stack: LiveStack, dagster: DagsterClient, developed: list[str]):
    (run,) = dagster.finished(dagster.materialize("raw_image_stream"))
    produced = sum(high for _, high in watermarks(stack.settings(), "images.raw").partitions.values())
    assert 0 < materialized(run)["raw_image_stream"]["records produced"] <= produced


def test_upkeep_leaves_few_files_and_every_row(stack: LiveStack, dagster: DagsterClient, developed: list[str]):
    lake = open_lake(stack.settings())
    before = pl.scan_delta(lake.open(RAW_IMAGES.name)).select(pl.len()).collect().item()
    (run,) = dagster.finished(dagster.launch("upkeep_tables"))
    observed = materialized(run)
    assert set(LIVE) <= set(observed) <= {spec.name.split("/")[-1] for spec in TABLES}
    assert observed["raw_images"]["files after"] <= observed["raw_images"]["files before"]
    assert observed["raw_images"]["dagster/row_count"] >= before
    assert times_processed(stack, developed) == [1] * len(developed)


def test_the_projection_is_filled_again_after_it_was_lost(
    stack: LiveStack, dagster: DagsterClient, developed: list[str]
):
    with psycopg.connect(stack.settings("upkeep").postgres_dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM images.image_status WHERE id = ANY(%s)", [developed])
        dagster.finished(dagster.launch("rebuild_status"))
        found = connection.execute(
            "SELECT id, state FROM images.image_status WHERE id = ANY(%s)", [developed]
        ).fetchall()
    assert sorted(found) == sorted((id, "processed") for id in developed)


def test_tables_are_fresh_and_have_a_pool(dagster: DagsterClient, developed: list[str]):
    nodes = dagster.ask(FRESHNESS, keys=[{"path": ["images", name]} for name in LIVE])
    assert len(nodes) == len(LIVE)
    assert all(node["pools"] for node in nodes)
    deadline = time.monotonic() + 120
    while {node["freshnessStatusInfo"]["freshnessStatus"] for node in nodes} != {"HEALTHY"}:
        assert time.monotonic() < deadline, nodes
        time.sleep(2)
        nodes = dagster.ask(FRESHNESS, keys=[{"path": ["images", name]} for name in LIVE])


@pytest.fixture
def holes(stack: LiveStack, tmp_path: Path):
    """A topic of its own with transaction markers and an aborted transaction, landed into a lake of its own."""
    topic = f"holes.{uuid.uuid4().hex[:8]}"
    settings = stack.settings("admin").model_copy(
        update={"topic": topic, "home": tmp_path, "lake": str(tmp_path / "lake"), "topic_partitions": 1}
    )
    admin = Admin(settings)
    admin.create_topic(topic, 1, {})
    producer = Producer({**client_config(settings), "transactional.id": topic})
    producer.init_transactions(30)
    for number, commit in enumerate([True, False, True]):
        producer.begin_transaction()
        for record in range(3):
            producer.produce(topic, value=f"{number}-{record}", key="k", headers=[("a", b"1")])
        producer.flush(30)
        (producer.commit_transaction if commit else producer.abort_transaction)(30)
    until_readable(settings, 0, 12)
    lake = open_lake(settings)
    Lander(settings, lake).land()
    yield settings, lake
    admin.delete_topic(topic)


def test_transaction_markers_are_legal_holes_and_a_lost_record_is_not(holes):
    """Counting records could not tell the two apart."""
    settings, lake = holes
    state = watermarks(settings, settings.topic)
    (low, high) = state.partitions[0]
    whole = [Range(0, low, high)]
    good = verify_bronze(settings, lake, state, whole)
    assert good.problems == []
    assert (good.rows, good.legal_holes, good.compared_records > 0) == (6, 2, True)
    lake.open(RAW_IMAGES.name).delete("offset = 1")
    lost = verify_bronze(settings, lake, state, whole)
    assert lost.problems == [f"{settings.topic}-0: bronze lacks offset 1, which the broker holds (missing 1 to 1)"]


def test_rows_that_a_restore_took_away_are_missed(holes):
    """RESTORE rewinds rows and leaves the identifier: they would never land again, and nothing else would say so."""
    settings, lake = holes
    state = watermarks(settings, settings.topic)
    handle = lake.open(RAW_IMAGES.name)
    handle.delete("offset >= 8")
    found = verify_bronze(settings, lake, state, [])
    assert len(found.problems) == 1
    assert "bronze lacks offset 8" in found.problems[0]
