"""The name behind a pseudonym: opened for a person on the machine, written down first, and gone with its key."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cli.main import app
from resources.audit import AuditUnavailable, audited
from resources.keys import open_key_store
from resources.label_trust import Uploader, UploaderUnknown, read_verdicts, uploaders_name
from resources.lake import open_lake
from resources.settings import Settings
from tests.resources.developing.bronze_rows import DAY
from tests.resources.learning.table_rows import Developed


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    made = Settings(home=tmp_path, key_cache_seconds=0)
    open_key_store(made).initialise()
    (tmp_path / "logs").mkdir()
    monkeypatch.setattr("cli.labels.current_settings", lambda: made)
    monkeypatch.setenv("COLUMNS", "250")
    return made


@pytest.fixture
def pseudonym(settings: Settings) -> str:
    pixels = np.random.default_rng(1).integers(0, 255, (3, 8, 8))
    return Developed(open_lake(settings), open_key_store(settings)).put(pixels, ["1", "2", "3"], "mallory mask")


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["labels", *words])
    assert done.exit_code == code, done.output
    return done.output


def test_a_name_is_opened_only_for_a_reason_and_who_asked_is_written_down_first(settings: Settings, pseudonym: str):
    log = settings.home / "logs" / "audit.log"
    assert "--why" in run("who", pseudonym, "--day", str(DAY), code=2)
    run("who", pseudonym, "--day", str(DAY), "--why", "  ", code=2)
    assert not log.exists()
    said = run("who", pseudonym, "--day", str(DAY), "--why", "10,000 wrong labels", "--who", "ada")
    assert said.strip() == "mallory mask"
    (line,) = [json.loads(one) for one in log.read_text().splitlines()]
    assert {**line, "time": ""} == {
        "time": "",
        "event": "uploader's name asked for",
        "who": "ada",
        "why": "10,000 wrong labels",
        "day": str(DAY),
        "pseudonym": pseudonym,
    }
    assert "mallory" not in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_written_down_is_not_done(settings: Settings, pseudonym: str):
    (settings.home / "logs" / "audit.log").mkdir()
    said = run("who", pseudonym, "--day", str(DAY), "--why", "a reason", code=1)
    assert "mallory" not in said
    with pytest.raises(AuditUnavailable, match="not done"):
        audited(settings.home / "logs" / "audit.log", "a deed")


def test_a_pseudonym_of_another_day_or_with_a_destroyed_key_names_nobody(settings: Settings, pseudonym: str):
    lake, keys = open_lake(settings), open_key_store(settings)
    with pytest.raises(UploaderUnknown, match="no developed image"):
        uploaders_name(lake, keys, DAY.replace(day=DAY.day + 1), pseudonym)
    (name,) = keys.key_names(DAY, pseudonym)
    keys.destroy_key(name, "test")
    with pytest.raises(UploaderUnknown, match="open no more"):
        uploaders_name(lake, keys, DAY, pseudonym)


def test_a_person_decides_with_yes_and_a_reason_and_the_newest_verdict_counts(settings: Settings, pseudonym: str):
    who = Uploader(DAY, pseudonym)
    assert "Nobody" in run("suspects")
    words = (pseudonym, "--day", str(DAY))
    assert "3 images; verdict on its labels: none; it would be: left out" in run("distrust", *words)
    run("distrust", *words, "--yes", code=2)
    assert read_verdicts(open_lake(settings)) == {}, "nothing is changed without both"
    run("distrust", *words, "--yes", "--why", "I looked", "--who", "ada")
    assert read_verdicts(open_lake(settings))[who].trusted is False
    run("trust", *words, "--yes", "--why", "I looked again", "--who", "grace")
    assert read_verdicts(open_lake(settings))[who].trusted is True
    listed = run("suspects")
    assert "trusted" in listed and "I looked again" in listed and "left out" not in listed
    assert "mallory" not in listed
    run("trust", "a" * 16, "--day", str(DAY), code=1)
    run("trust", pseudonym, "--day", "yesterday", code=2)
