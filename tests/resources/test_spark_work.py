"""What an executor makes of the work that it was given, in a process of its own environment."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from resources import spark_work
from resources.compute import BatchFunction
from resources.key_rights import KeyForbidden
from resources.keys import open_key_store
from resources.settings import Settings

NOTHING = BatchFunction((), pa.schema([]), lambda tools, batches: batches)


def test_keys_are_opened_as_whoever_asked_and_not_as_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bug prevented: executors of a session in one process have the environment of the code server, which may not."""
    store = open_key_store(Settings(home=tmp_path))
    store.initialise()
    name = store.current_key(date(2026, 11, 30), "b" * 16).name
    monkeypatch.setenv("DARKROOM_KAFKA_CERTIFICATE", str(tmp_path / "dagster.crt"))
    monkeypatch.setattr(spark_work, "DecodePool", lambda settings: None)
    for identity, may in (("developing", True), ("dagster", False)):
        asking = Settings(home=tmp_path, kafka_certificate=tmp_path / f"{identity}.crt")
        work = spark_work.Work.of(NOTHING, asking)
        keys = spark_work._tools(tuple(sorted(work.settings.items()))).keys
        if may:
            assert keys.open_key(name).name == name
        else:
            with pytest.raises(KeyForbidden):
                keys.open_key(name)
