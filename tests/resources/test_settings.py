"""Where settings come from, which wins, and what is said of one that cannot be."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from confluent_kafka import KafkaException, Producer

from resources.failures import is_permanent
from resources.kafka import Admin, client_config, consumer_config, producer_config
from resources.kafka_errors import KafkaRefused
from resources.settings import Settings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of whoever runs the tests, and no darkroom.toml of the folder they run in."""
    for name in [*Settings.model_fields, "config"]:
        monkeypatch.delenv(f"DARKROOM_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


def test_arguments_win_over_environment_over_file_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "darkroom.toml").write_text('topic = "of.file"\nmax_pixels = 3\nretention_days = 2\n')
    monkeypatch.setenv("DARKROOM_HOME", str(tmp_path))
    monkeypatch.setenv("DARKROOM_TOPIC", "of.environment")
    monkeypatch.setenv("DARKROOM_MAX_PIXELS", "4")
    found = load_settings({"topic": "of.arguments"})
    assert (found.topic, found.max_pixels, found.retention_days, found.unsealed) == ("of.arguments", 4, 2, "accept")


def test_an_empty_variable_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_TOPIC", "")
    assert load_settings().topic == Settings.model_fields["topic"].default


def test_a_file_that_is_named_and_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_CONFIG", str(tmp_path / "gone.toml"))
    with pytest.raises(SettingsError, match=r"gone\.toml, and there is no such file"):
        load_settings()


def test_an_unknown_setting_is_refused_with_the_valid_ones(tmp_path: Path) -> None:
    (tmp_path / "darkroom.toml").write_text("max_pixel = 3\n")
    with pytest.raises(SettingsError, match="max_pixel is no setting") as caught:
        load_settings({"home": tmp_path})
    assert is_permanent(caught.value), "tried again it would be refused again"
    assert "max_pixels" in str(caught.value)
    assert "darkroom.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("unsealed", "maybe"), ("max_pixels", 0), ("keys_provider", "none"), ("flush_seconds", -1)]
)
def test_a_value_that_cannot_be_is_refused_with_what_the_setting_means(name: str, value: object) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({name: value})
    said = str(caught.value)
    assert f"{name} = {value!r}" in said
    assert str(Settings.model_fields[name].description) in said


NUMBERS = [name for name, field in Settings.model_fields.items() if field.annotation in (int, float)]
CHOICES = {
    name: get_args(field.annotation)
    for name, field in Settings.model_fields.items()
    if get_origin(field.annotation) is Literal
}
OTHERS = sorted(set(Settings.model_fields) - set(NUMBERS) - set(CHOICES))


def _said(name: str) -> str:
    return Settings.model_fields[name].description or ""


def test_every_setting_has_a_sentence_about_it() -> None:
    """What it is; the tests below ask what a wrong value does, which differs by kind."""
    assert [name for name in Settings.model_fields if not re.match(r"\W*\w.{20,}?[.;:]", _said(name))] == []
    assert {"max_pixels", "flush_seconds"} <= set(NUMBERS)
    assert set(CHOICES) == {"unsealed", "keys_provider", "compute"}
    assert {"home", "kafka_ca", "kafka_extra", "topic"} <= set(OTHERS)


@pytest.mark.parametrize("name", NUMBERS)
def test_of_every_number_it_is_said_what_one_too_high_and_one_too_low_does(name: str) -> None:
    for direction in ("Too high: ", "Too low: "):
        consequence = _said(name).partition(direction)[2].split(" Too ")[0]
        assert len(consequence) > 15, f"nothing is said of a value that is {direction.rstrip(': ').lower()}"


@pytest.mark.parametrize("name", OTHERS)
def test_of_every_other_setting_it_is_said_what_a_wrong_value_does(name: str) -> None:
    wrong = "Another|[Aa] wrong|Wrong|Without it|Missing|[Aa]n unknown|without them"
    assert re.search(rf"[.;] .*\b({wrong})\b.{{15,}}", _said(name)), _said(name)


@pytest.mark.parametrize("name", CHOICES)
def test_of_every_choice_it_is_said_what_each_value_costs_or_what_an_unknown_one_does(name: str) -> None:
    values = CHOICES[name]
    if len(values) == 1:
        assert re.search(r"An unknown \w+ .{15,}", _said(name))
    else:
        assert [value for value in values if not re.search(rf"'{value}' \w.{{15,}}", _said(name))] == []


@pytest.mark.parametrize("source", ["environment", "file"])
def test_further_properties_reach_every_client_of_kafka_and_win_over_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """A managed cluster wants SASL where we would say TLS, and other limits than ours."""
    given = {
        "security.protocol": "sasl_ssl",
        "bootstrap.servers": "kafka.example:9096",
        "acks": "1",
        "fetch.wait.max.ms": "7",
    }
    if source == "environment":
        monkeypatch.setenv("DARKROOM_KAFKA_EXTRA", json.dumps(given))
    else:
        lines = [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in given.items()]
        (tmp_path / "darkroom.toml").write_text("\n".join(["[kafka_extra]", *lines]))
    ours = load_settings({"home": tmp_path, "kafka_ca": tmp_path / "ca.crt"})
    for config in (client_config(ours), producer_config(ours), consumer_config(ours, "a-group")):
        assert {name: config[name] for name in given} == given
        assert config["ssl.ca.location"] == str(tmp_path / "ca.crt"), "what was not given stays as it was"
    monkeypatch.delenv("DARKROOM_KAFKA_EXTRA", raising=False)
    without = client_config(load_settings({"home": tmp_path / "other", "kafka_ca": "ca.crt"}))
    assert without["security.protocol"] == "ssl"
    assert "acks" not in without


def test_a_further_property_that_the_client_does_not_know_stops_it_by_name() -> None:
    with pytest.raises(KafkaException, match=r"No such configuration property.*no\.such"):
        Producer(producer_config(load_settings({"kafka_extra": {"no.such": "1"}})))


def test_no_setting_holds_a_secret() -> None:
    """Secrets are files; a setting names the file."""
    telling = {"password", "secret", "token_key", "private"}
    assert [name for name in Settings.model_fields if any(word in name for word in telling)] == []


def test_a_property_that_librdkafka_does_not_know_is_a_permanent_failure_that_names_it() -> None:
    """Else Dagster tries again and again what only a person can put right."""
    with pytest.raises(KafkaRefused, match=r"no\.such\.property") as refused:
        Admin(Settings(kafka_extra={"no.such.property": "1"}))
    assert is_permanent(refused.value)
