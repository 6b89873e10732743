"""The stack's own instance of the sub-second lane, and champions that change in real MLflow while images flow."""

from __future__ import annotations

import socket
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from resources.decoding import DecodePool
from resources.kafka import consumer_config, producer_config, watermarks
from resources.keys import open_key_store
from resources.mlflow_registry import ModelRegistry, open_registry
from resources.registry import CHAMPION, Learned, Version
from services.recogniser import answering
from services.recogniser.app import deliverer_of
from services.recogniser.champions import Champions
from services.recogniser.engine import Edges, Recogniser
from services.recogniser.metrics import Metrics
from stack.paths import Layout
from tests.live_stack import LiveStack
from tests.resources.learning.answers import some_model
from tests.services.live import scan, until
from tests.services.recognising import Lane, own_lane
from tests.services.test_recogniser import other_shape
from transforms.envelope import clear_of
from transforms.families import DIGITS, FAMILIES
from transforms.messages import Recognition, open_recognition
from transforms.recognition import Family

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def mlflow(stack: LiveStack) -> ModelRegistry:
    return open_registry(stack.settings())


@pytest.fixture(scope="module")
def instance(stack: LiveStack, mlflow: ModelRegistry) -> Iterator[Callable[[str], httpx.Response]]:
    """Asks the stack's instance, which has a champion; where nobody had promoted one, there is none afterwards."""
    made = None
    if mlflow.at(DIGITS.name, CHAMPION) is None:
        made = _promote(mlflow, DIGITS.name, some_model())
    report = stack.status()["recogniser"]
    trust = ssl.create_default_context(cafile=report["ca"])
    trust.load_cert_chain(report["client"])
    with httpx.Client(verify=trust, base_url=report["url"]) as client:
        champion = mlflow.at(DIGITS.name, CHAMPION)
        assert champion is not None

        def scores() -> bool:
            # Of a stack that is used again an earlier one may score until the next question to MLflow.
            ready = client.get("/readyz").json()
            return ready["versions"].get(DIGITS.name) == champion.version and ready["champions"][DIGITS.name] == "ok"

        until(scores)
        yield client.get
    if made is not None:
        mlflow._client.delete_registered_model_alias(DIGITS.name, CHAMPION)


def _promote(registry: ModelRegistry, model: str, file: bytes) -> Version:
    return registry.move(registry.register(Learned(model, file, {}, {}, {})), CHAMPION, who="a test", why="a test")


def _answer(stack: LiveStack, id: str) -> Recognition:
    """The first answer about an image on the stack's topic, opened as a door opens it; read from its begin."""
    settings = stack.settings("operator")
    topic = settings.recognised_topic
    consumer = Consumer(consumer_config(settings, "operator-answers") | {"enable.partition.eof": "false"})
    try:
        consumer.assign(
            [TopicPartition(topic, p, low) for p, (low, _) in watermarks(settings, topic).partitions.items()]
        )
        while True:
            message = consumer.poll(60)
            assert message is not None, "no answer"
            clear, value = clear_of(message.headers()), message.value()
            if clear is not None and clear.id == id and value is not None:
                return open_recognition(clear, value, open_key_store(settings).open_key(clear.key))
    finally:
        consumer.close()


def _upload(stack: LiveStack, **headers: str) -> dict[str, object]:
    trust = ssl.create_default_context(cafile=stack.ca)
    with httpx.Client(verify=trust, timeout=30) as client:
        answer = client.post(
            f"{stack.url}/v1/images",
            content=scan(),
            headers={"Authorization": f"Bearer {stack.token()}", **headers},
        )
    answer.raise_for_status()
    return answer.json()


def test_an_upload_is_answered_on_the_topic_for_the_place_that_the_door_named(
    stack: LiveStack, instance: Callable[[str], httpx.Response]
) -> None:
    sent = _upload(stack)
    said = _answer(stack, str(sent["id"]))
    assert (said.topic, said.partition, said.offset) == (sent["topic"], sent["partition"], sent["offset"])
    assert said.model == DIGITS.name and said.label in DIGITS.labels
    settings = stack.settings("operator")
    assert said.topic_id == watermarks(settings, settings.topic).topic_id


def test_it_says_that_it_is_ready_with_which_model_and_what_it_counted(
    stack: LiveStack, instance: Callable[[str], httpx.Response]
) -> None:
    _answer(stack, str(_upload(stack)["id"]))
    ready = instance("/readyz").json()
    assert ready["ready"] and set(ready["checks"]) == {"kafka", "keys", "decoding", "models"}
    assert ready["champions"] == {family.name: "ok" for family in FAMILIES}
    assert instance("/healthz").json() == {"status": "ok"}
    counted = instance("/metrics").text
    assert 'darkroom_recogniser_records_total{outcome="named"}' in counted
    assert instance("/v1/images").status_code == 404


def test_no_word_of_an_image_is_in_its_log_or_metrics(
    stack: LiveStack, instance: Callable[[str], httpx.Response]
) -> None:
    sent = _upload(stack, **{"X-Label": "swordfish"})
    said = _answer(stack, str(sent["id"]))
    log = Path(stack.status()["services"]["recogniser"]["log"]).read_text()
    for text in (log, instance("/metrics").text, instance("/readyz").text):
        assert str(sent["id"]) not in text and "swordfish" not in text and said.model_version not in text


def test_its_identity_reads_images_writes_answers_and_nothing_else(stack: LiveStack) -> None:
    settings = stack.settings("recogniser")
    failed: list[object] = []
    producer = Producer(producer_config(settings) | {"delivery.timeout.ms": "5000", "request.timeout.ms": "5000"})
    producer.produce(settings.topic, b"x", on_delivery=lambda error, _: failed.append(error))
    producer.flush(20)
    assert failed and "AUTHORIZATION" in failed[0].name()
    consumer = Consumer(consumer_config(settings, "recogniser-test"))
    try:
        consumer.assign([TopicPartition(settings.recognised_topic, 0, 0)])
        message = consumer.poll(20)
        assert message is not None and "AUTHORIZATION" in message.error().name()
    finally:
        consumer.close()
    other = Consumer(consumer_config(settings, "darkroom-lander"))
    try:
        other.subscribe([settings.topic])
        refused = other.poll(20)
        assert refused is not None and refused.error().name() == "GROUP_AUTHORIZATION_FAILED"
    finally:
        other.close()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(settings.postgres_dsn, connect_timeout=5)


class Gate:
    """A way to MLflow that can be shut: connections are then refused, as by a server that is away."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._shut = False
        threading.Thread(target=self._serve, daemon=True).start()

    def shut(self) -> None:
        self._shut = True
        for one in self._open:
            one.close()
        self._open.clear()

    def reopen(self) -> None:
        self._shut = False

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                inside, _ = self._listener.accept()
            except OSError:
                return
            if self._shut:
                inside.close()
                continue
            outside = socket.create_connection(("127.0.0.1", self._port))
            self._open += [inside, outside]
            for source, target in ((inside, outside), (outside, inside)):
                threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture
def family(monkeypatch: pytest.MonkeyPatch) -> Family:
    """A family of a test's own in the shared MLflow."""
    made = replace(DIGITS, name=f"model-{uuid.uuid4().hex[:8]}")
    monkeypatch.setattr(answering, "FAMILIES", (made,))
    return made


def test_champions_change_fail_and_are_out_of_reach_while_images_flow(
    stack: LiveStack, mlflow: ModelRegistry, family: Family, tmp_path: Path
) -> None:
    """A new one is picked up; a corrupt one, one of another shape, and MLflow away leave the last good one."""
    gate, metrics = Gate(stack.settings().mlflow_url.rsplit(":", 1)[1]), Metrics()
    with own_lane(stack.settings("admin"), tmp_path) as lane:
        settings = lane.settings
        champions = Champions(
            lambda: open_registry(
                stack.settings().model_copy(update={"mlflow_url": gate.url.replace("http:", "https:")})
            ),
            (family,),
            metrics,
            ask_seconds=0.5,
        )
        edges = Edges(lane.keys, deliverer_of(settings), DecodePool(settings), champions)
        recogniser = Recogniser(settings, edges, metrics)
        first = _promote(mlflow, family.name, some_model())
        recogniser.start()
        try:
            until(lambda: recogniser.versions() == {family.name: first.version})
            assert _versions(lane) == {first.mark}
            second = _promote(mlflow, family.name, some_model(1))
            until(lambda: recogniser.versions() == {family.name: second.version})
            assert _versions(lane) == {second.mark}
            for corrupt in (True, False):
                refused = mlflow.register(Learned(family.name, some_model(2) if corrupt else other_shape(), {}, {}, {}))
                if corrupt:
                    _spoil(stack, refused)
                mlflow.move(refused, CHAMPION, who="a test", why="a test")
                said = f"Version {refused.version} of"
                until(lambda said=said: said in recogniser.champions()[family.name])
                assert _versions(lane) == {second.mark}
            gate.shut()
            until(lambda: "MLflow" in recogniser.champions()[family.name] and "did not" in str(recogniser.champions()))
            assert _versions(lane) == {second.mark}
            assert set(recogniser.checks().values()) == {"ok"}
            gate.reopen()
            last = _promote(mlflow, family.name, some_model(3))
            until(lambda: recogniser.versions() == {family.name: last.version})
            assert recogniser.champions() == {family.name: "ok"}
            assert _versions(lane) == {last.mark}
        finally:
            recogniser.close()
            gate.close()


def test_without_an_answer_of_mlflow_it_waits_and_after_its_limit_leaves_images_to_the_batch_lane(
    stack: LiveStack, family: Family, tmp_path: Path
) -> None:
    metrics = Metrics()
    with own_lane(stack.settings("admin"), tmp_path, partitions=1) as lane:
        settings = lane.settings
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]
        champions = Champions(lambda: ModelRegistry(f"http://127.0.0.1:{port}"), (family,), metrics)
        edges = Edges(lane.keys, deliverer_of(settings), DecodePool(settings), champions)
        recogniser = Recogniser(settings, edges, metrics, models_seconds=3.0)
        lane.send([scan()])
        recogniser.start()
        try:
            until(lambda: "has not said yet" in recogniser.checks()["models"])
            assert not recogniser.joined()
            until(recogniser.joined)
            passed = metrics.records.labels("no_champion")
            until(lambda: passed._value.get() == 1)
            assert recogniser.checks()["models"] == "ok"
        finally:
            recogniser.close()


def _spoil(stack: LiveStack, version: Version) -> None:
    """Damage the file that MLflow keeps of a version."""
    (file,) = Layout(stack.home).mlflow.rglob(f"{version.run_id}/artifacts/model/model.onnx")
    file.write_bytes(file.read_bytes()[:-200])


def _versions(lane: Lane) -> set[str]:
    """Which versions answer an image that is sent now."""
    ids = lane.send([scan()])
    return {one.model_version for one in lane.answers(ids) if one.id in ids}
