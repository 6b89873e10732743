"""The live lane in one process: real Delta tables, keys and decoding; only the broker and PostgreSQL are handed in."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from PIL import Image

from platform_assets.definitions import defs
from resources.dagster_resources import (
    ComputeResource,
    KafkaResource,
    RegistryResource,
    StatusResource,
    resource_defs,
)
from resources.decoding import DecodePool
from resources.job_names import LIVE_JOB
from resources.keys import open_key_store
from resources.lake import Lake, open_lake
from resources.landing import LandingResult, PartitionResult
from resources.postgres import StatusRow
from resources.settings import Settings
from resources.topics import Topic
from tests.resources.developing.bronze_rows import TOPIC, TOPIC_ID, Bronze
from tests.resources.learning.registry_in_memory import RegistryInMemory
from transforms.landing_protocol import TopicState


@dataclass
class Record:
    """One record as the broker holds it."""

    offset_: int
    key_: bytes | None
    value_: bytes | None
    headers_: list[tuple[str, bytes | None]]

    def offset(self) -> int:
        return self.offset_

    def key(self) -> bytes | None:
        return self.key_

    def value(self) -> bytes | None:
        return self.value_

    def headers(self) -> list[tuple[str, bytes | None]]:
        return self.headers_


@dataclass
class Broker:
    """What the broker holds, by partition and offset; offsets may be missing, as behind transaction markers."""

    records: dict[int, dict[int, Record]] = field(default_factory=dict)
    low: dict[int, int] = field(default_factory=dict)
    high: dict[int, int] = field(default_factory=dict)
    reads: int = 0

    def take(self, rows: Sequence[dict[str, Any]]) -> None:
        """Hold the records that rows of bronze were made from."""
        for row in rows:
            headers = [(one["key"], one["value"]) for one in row["headers"]]
            record = Record(row["offset"], row["key"], row["payload"], headers)
            self.records.setdefault(row["partition"], {})[row["offset"]] = record
            self.low.setdefault(row["partition"], 0)
            self.high[row["partition"]] = max(self.high.get(row["partition"], 0), row["offset"] + 1)

    def state(self) -> TopicState:
        return TopicState(TOPIC, TOPIC_ID, {p: (self.low[p], high) for p, high in self.high.items()})

    def reader(self, *_: object) -> "BrokerReader":
        return BrokerReader(self)


class BrokerReader:
    """`resources.completeness._Reader` on records in memory."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def __enter__(self) -> "BrokerReader":
        return self

    def __exit__(self, *_: object) -> None: ...

    def first_offset(self, hole: Any) -> int | None:
        self._broker.reads += 1
        held = self._broker.records.get(hole.partition, {})
        return next((offset for offset in sorted(held) if hole.first <= offset < hole.end), None)

    def read(self, partition: int, offset: int) -> Record | None:
        self._broker.reads += 1
        return self._broker.records.get(partition, {}).get(offset)


@dataclass
class House:
    """One home with a lake, keys, and a broker; `run` runs the live lane."""

    home: Path
    broker: Broker
    bronze: Bronze
    instance: dg.DagsterInstance
    resources: dict[str, Any]
    board: list[StatusRow] = field(default_factory=list)
    landing_failure: Exception | None = None
    registry: RegistryInMemory = field(default_factory=RegistryInMemory)

    @property
    def lake(self):
        return self.bronze.lake

    def land(self) -> None:
        """Put what was collected on the broker and into bronze."""
        self.broker.take(self.bronze.rows)
        self.bronze.land()

    def run(self, raise_on_error: bool = True, job: str = LIVE_JOB) -> dg.ExecuteInProcessResult:
        """Run a job as Dagster runs it."""
        return defs.resolve_job_def(job).execute_in_process(
            instance=self.instance, resources=self.resources, raise_on_error=raise_on_error
        )

    def metadata(self, result: dg.ExecuteInProcessResult, name: str) -> dict[str, Any]:
        """Metadata of an asset's materialization in a run."""
        (event,) = [event for event in result.get_asset_materialization_events() if event.asset_key.path[-1] == name]
        return {name: value.value for name, value in event.materialization.metadata.items()}

    def checks(self, result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
        """Evaluations of a run's checks by `table.check`."""
        return {f"{one.asset_key.path[-1]}.{one.check_name}": one for one in result.get_asset_check_evaluations()}


class _Board:
    """Stands in for the projection."""

    def __init__(self, rows: list[StatusRow]) -> None:
        self._rows = rows

    def __enter__(self) -> "_Board":
        return self

    def __exit__(self, *_: object) -> None: ...

    def put_many(self, rows: Sequence[StatusRow]) -> None:
        self._rows += rows


@pytest.fixture(scope="session")
def decoders() -> Iterator[DecodePool]:
    """Decoding processes for all tests: starting them takes longer than most tests."""
    with DecodePool(Settings(decode_workers=1)) as pool:
        yield pool


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoders: DecodePool) -> Iterator[House]:
    settings = Settings(home=tmp_path, key_cache_seconds=0, decode_workers=1)
    keys = open_key_store(settings)
    keys.initialise()
    broker = Broker()
    resources = resource_defs({"home": str(tmp_path), "decode_workers": 1, "kafka_bootstrap": "127.0.0.1:1"})
    with dg.DagsterInstance.ephemeral() as instance:
        made = House(tmp_path, broker, Bronze(open_lake(settings), keys), instance, resources)

        class Lander:
            """Lands nothing: what the tests landed is there already."""

            def __init__(self, _: Settings, lake: Lake, topic: Topic | None = None) -> None:
                if topic is not None:
                    lake.ensure(topic.table)

            def land(self, progress: object = None) -> LandingResult:
                if made.landing_failure is not None:
                    raise made.landing_failure
                ends = {p: PartitionResult(broker.low[p], None, high) for p, high in broker.high.items()}
                return LandingResult(TOPIC, TOPIC_ID, 0, 0, 0, 0.01, ends)

        monkeypatch.setattr("resources.landing.Lander", Lander)
        monkeypatch.setattr("resources.completeness._Reader", broker.reader)
        monkeypatch.setattr(KafkaResource, "watermarks", lambda self, timeout_seconds=None: broker.state())
        monkeypatch.setattr(StatusResource, "open", lambda self: _Board(made.board))
        monkeypatch.setattr(RegistryResource, "open", lambda self: made.registry)
        monkeypatch.setattr(ComputeResource, "open", lambda self: nullcontext(decoders))
        yield made


def png(seed: int, side: int = 24) -> bytes:
    """A small picture that differs by seed."""
    noise = b"".join(hashlib.sha256(f"{seed}-{i}".encode()).digest() for i in range(side * side * 3 // 32 + 1))
    image = Image.frombytes("RGB", (side, side), noise[: side * side * 3])
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
