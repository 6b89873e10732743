"""Where settings come from, which wins, and what is said of one that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

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


def test_every_setting_has_a_sentence_about_it() -> None:
    short = [name for name, field in Settings.model_fields.items() if len(field.description or "") < 40]
    assert short == []


def test_no_setting_holds_a_secret() -> None:
    """Secrets are files; a setting names the file."""
    telling = {"password", "secret", "token_key", "private"}
    assert [name for name in Settings.model_fields if any(word in name for word in telling)] == []
