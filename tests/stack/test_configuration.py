"""What is written for the servers: that any folder's name survives it, and what it must say."""

from __future__ import annotations

import json
import shlex
from configparser import RawConfigParser
from itertools import chain
from pathlib import Path

import pytest

from resources.settings import Settings
from stack import kafka, spark_cluster
from stack.dagster_home import instance
from stack.errors import StackError
from stack.paths import Layout, fits_sockets
from stack.ports import choose
from stack.service_names import STOP_WAVES
from stack.services import Service, select, services
from stack.state import PostgresPlace, StackState, identity_overrides
from stack.status import stream_url
from stack.supervision import configuration

AWKWARD = Path('/srv/Fotos & "Bilder"/100%/ä ö')
PORTS = {
    "kafka": 1,
    "kafka-people": 4,
    "kafka-controller": 2,
    "postgres": 3,
    "uploads-1": 5,
    "uploads-2": 6,
    "streams-1": 7,
}
PORTS |= {"mlflow": 8, "recogniser": 9, "s3": 10}
PORTS |= {"directory": 11, "signin-1": 12, "streams-2": 13, "signin-2": 14, "gateway": 15}
PORTS |= {name: number for number, name in enumerate(chain(*spark_cluster.PORTS.values()), start=16)}


def state_at(home: Path) -> StackState:
    place = PostgresPlace(folder=home / "postgres", programs=Path("/programs"))
    return StackState(home=home, run=Path("/run/x"), ports=PORTS, postgres=place)


@pytest.fixture
def every(monkeypatch: pytest.MonkeyPatch) -> list[Service]:
    state = state_at(AWKWARD)
    state.lake, state.spark_cluster = "s3", True
    return services(Layout(AWKWARD), state, Settings(home=AWKWARD))


def test_the_supervisor_reads_back_every_command_and_environment_of_an_awkward_folder(every: list[Service]):
    parser = RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.optionxform = str  # names as written
    parser.read_string(configuration(Layout(AWKWARD), state_at(AWKWARD), every))
    for service in every:
        words = shlex.split(parser[f"program:{service.name}"]["command"].replace("%%", "%"))
        assert words[:2] == ["env", "-i"]
        assert tuple(words[-len(service.command) :]) == service.command
        environment = dict(word.split("=", 1) for word in words[2 : -len(service.command)])
        assert {name: environment[name] for name in service.environment} == dict(service.environment)
        assert environment["DARKROOM_SERVICE"] == service.name


def test_javas_properties_survive_backslashes_and_letters_beyond_latin(tmp_path: Path):
    written = kafka.as_properties({"log.dirs": "/a b/ä\\ö/\U0001f4f7"})
    assert written.isascii()
    assert "log.dirs=/a b/\\u00e4\\\\\\u00f6/\\ud83d\\udcf7\n" in written


def test_every_listener_of_the_broker_is_tls_with_the_client_known():
    values = kafka.configuration(Layout(AWKWARD), Settings(home=AWKWARD), PORTS, ["User:admin"], Path("/run/x"))
    assert values["listener.security.protocol.map"] == "CLIENT:SSL,PEOPLE:SASL_SSL,CONTROLLER:SSL"
    assert values["ssl.client.auth"] == "required"
    assert values["listener.name.people.sasl.enabled.mechanisms"] == "OAUTHBEARER"
    # Kafka does not decode it.
    assert values["listener.name.people.oauthbearer.sasl.oauthbearer.jwks.endpoint.url"] == "file:///run/x/jwks.json"
    assert values["allow.everyone.if.no.acl.found"] == "false"
    assert all("://127.0.0.1:" in listener for listener in values["listeners"].split(","))


def test_dagster_speaks_to_postgresql_by_the_driver_it_knows():
    database = instance(Layout(AWKWARD), state_at(AWKWARD))["storage"]["custom"]["config"]["postgres_db"]
    assert database["scheme"] == "postgresql+psycopg2"
    assert "password" not in database
    assert database["params"]["sslmode"] == "verify-full"


def test_every_service_stops_before_what_it_needs(every: list[Service]):
    wave = {name: number for number, names in enumerate(STOP_WAVES) for name in names}
    assert set(wave) == {service.name for service in every}
    assert all(wave[service.name] < wave[need] for service in every for need in service.needs)


def test_a_home_of_before_the_gateway_is_described_without_it():
    """Bug prevented: `down` and `status` of a stack that an older release had started failed for want of a port."""
    state = state_at(AWKWARD)
    state.ports = {name: port for name, port in PORTS.items() if name not in ("gateway", "streams-2")}
    names = [service.name for service in services(Layout(AWKWARD), state, Settings(home=AWKWARD))]
    assert not {"gateway", "streams-2"} & set(names) and {"uploads-2", "streams-1"} <= set(names)
    assert stream_url(state) is None
    assert stream_url(state_at(AWKWARD)) == "wss://127.0.0.1:15/v1/stream"
    assert set(choose(PORTS, state.ports, state.ports)[0]) == set(PORTS), "the next `up` gives it one"


def test_one_service_brings_what_it_needs_and_nothing_else(every: list[Service]):
    assert [service.name for service in select(every, ["daemon"])] == [
        "postgres",
        "s3",
        "spark-master",
        "spark-worker-1",
        "spark-worker-2",
        "code-server",
        "daemon",
    ]
    assert select(every, []) == every
    state = state_at(AWKWARD)
    in_a_folder = services(Layout(AWKWARD), state, Settings(home=AWKWARD))
    assert [service.name for service in select(in_a_folder, ["daemon"])] == ["postgres", "code-server", "daemon"]


def test_an_unknown_service_is_refused_with_the_valid_names(every: list[Service]):
    with pytest.raises(StackError, match=r"'zookeeper'.*Valid ones: postgres, kafka, directory, s3, spark-master, "):
        select(every, ["zookeeper"])


def test_nothing_secret_is_on_a_command_line_or_in_an_environment(
    every: list[Service], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "swordfish")
    again = services(Layout(AWKWARD), state_at(AWKWARD), Settings(home=AWKWARD))
    text = configuration(Layout(AWKWARD), state_at(AWKWARD), again)
    assert "swordfish" not in text
    assert "password" not in text.lower()


def searched_of(layout: Layout, lake: str = "folder") -> dict[str, str]:
    state = state_at(layout.home)
    state.lake = lake
    return json.loads(identity_overrides(layout, state, "dagster")["searched"])


@pytest.mark.parametrize("lake", ["folder", "s3"])
def test_who_purges_searches_every_folder_but_those_of_what_is_written_down_anew(tmp_path: Path, lake: str):
    """Bug prevented: what the directory and Spark keep was in no place that the proof searches."""
    layout = Layout(tmp_path)
    other = {layout.lake} if lake == "s3" else {layout.s3}
    configured = {layout.state, layout.tls, layout.secrets, layout.gateway, layout.run}
    assert {Path(place) for place in searched_of(layout, lake).values()} == {*layout.folders} - other - configured


def test_lake_and_keys_are_searched_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Bug prevented: HOME/lake and HOME/keys were searched, whatever the settings named."""
    monkeypatch.setenv("DARKROOM_KEYS", str(tmp_path / "other keys"))
    (tmp_path / "darkroom.toml").write_text(f'lake = "{tmp_path}/tables"\n')
    searched = searched_of(Layout(tmp_path))
    assert (searched["lake"], searched["keys"]) == (f"{tmp_path}/tables", f"{tmp_path}/other keys")
    monkeypatch.setenv("DARKROOM_KEYS", "s3://bucket/keys")
    assert "keys" not in searched_of(Layout(tmp_path)), "it is on no disk here"


def test_spark_spills_where_it_is_searched(every: list[Service]):
    """Bug prevented: drivers and executors spilled to the system's temporary folder."""
    spilling = {service.name for service in every if "SPARK_LOCAL_DIRS" in service.environment}
    assert spilling >= {"code-server", *spark_cluster.SERVICES}
    places = {Path(service.environment["SPARK_LOCAL_DIRS"]) for service in every if service.name in spilling}
    assert [place.parent for place in places] == [Layout(AWKWARD).spark]


@pytest.mark.parametrize("folder", ["/" + "x" * 77, "/a b", "/100%", "/a:b", "/ä"])
def test_sockets_do_not_lie_where_the_path_is_long_or_unusual(folder: str):
    assert not fits_sockets(Path(folder))
    assert fits_sockets(Path("/home/someone/dark-room_1.0/.darkroom/run"))


def test_a_broker_s_log_folder_that_lost_its_mark_is_never_made_anew(tmp_path: Path):
    layout = Layout(tmp_path)
    for path in (layout.key("broker"), layout.certificate("broker"), layout.ca):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    segment = kafka.data_of(layout) / "images.raw-0" / "00000000000000000000.log"
    segment.parent.mkdir(parents=True)
    segment.write_bytes(b"acknowledged")
    with pytest.raises(StackError, match="no meta"):
        kafka.prepare(layout, Settings(home=tmp_path), PORTS, [], tmp_path)
    assert segment.read_bytes() == b"acknowledged"
