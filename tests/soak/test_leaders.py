"""Of three brokers two have what is acknowledged: the loss of one loses nothing; without two nothing is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from resources.lake import open_lake
from resources.settings import Settings
from tests.resources.test_lake import records
from tests.soak import leaders
from tests.soak.leaders import Outcome, strike_leaders
from transforms.landing_protocol import TopicState
from transforms.tables import RAW_IMAGES


@pytest.fixture(scope="module")
def struck(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return strike_leaders(tmp_path_factory.mktemp("brokers"), 3, 7, lambda _: None)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_leader_that_is_killed_under_load_loses_and_doubles_nothing(struck: Outcome) -> None:
    assert struck.broken == []
    assert (struck.kills, struck.quorums_lost, struck.led_anew) == (4, 1, 2)
    assert len(struck.acknowledged) > 500
    assert struck.longest_stall > 1, "it was felt"


@pytest.mark.parametrize(
    ("acknowledged", "high", "said"),
    [
        ({(0, 0): b"a", (0, 1): b"b"}, 2, []),
        ({(0, 2): b"c"}, 2, ["1 acknowledged records are not in bronze, the first at (0, 2)"]),
        ({(0, 1): b"c"}, 2, ["1 acknowledged places hold another record, the first (0, 1)"]),
        ({}, 3, ["1 records of partition 0 did not land, the first at 2"]),
    ],
)
def test_what_is_lost_changed_or_missing_is_found(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    acknowledged: dict[tuple[int, int], bytes],
    high: int,
    said: list[str],
) -> None:
    settings = Settings(home=tmp_path)
    lake = open_lake(settings)
    rows = pa.concat_tables([records(0, 0, payload=b"a"), records(0, 1, payload=b"b")])
    lake.append(lake.ensure(RAW_IMAGES), RAW_IMAGES, rows, {"w": 1})
    state = TopicState(settings.topic, "AAAAAAAAQACAAAAAAAAAAA", {0: (0, high)})
    monkeypatch.setattr(leaders, "watermarks", lambda settings, topic: state)
    brokers = SimpleNamespace(settings=settings)
    assert list(leaders.differences(brokers, Outcome(acknowledged=acknowledged))) == said  # type: ignore[arg-type]
