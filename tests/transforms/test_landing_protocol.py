"""The landing protocol's vectors, to which every lander holds (docs/landing-protocol.md)."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from transforms.landing_protocol import (
    Position,
    TopicState,
    accepted,
    generation_app_ids,
    generation_of,
    partition_app_id,
    plan,
    record_day,
    topic_id_of,
)

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "landing.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["app_ids"], ids=lambda vector: vector["app_id"])
def test_a_partition_is_identified_by_topic_partition_and_topic_id(vector: dict[str, Any]) -> None:
    assert partition_app_id(vector["topic"], vector["partition"], vector["topic_id"]) == vector["app_id"]
    assert Position(vector["topic"], vector["partition"], vector["topic_id"]).app_id == vector["app_id"]


@pytest.mark.parametrize("vector", VECTORS["refused_topic_ids"], ids=lambda vector: vector["why"])
def test_a_topic_id_in_another_spelling_is_refused_so_that_one_topic_never_has_two_names(
    vector: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match="22 characters"):
        partition_app_id("images.raw", 0, vector["topic_id"])


@pytest.mark.parametrize("vector", VECTORS["generations"], ids=lambda vector: vector["topic_id"])
def test_the_topic_id_survives_in_two_identifiers(vector: dict[str, Any]) -> None:
    identifiers = generation_of(vector["topic"], vector["topic_id"])
    assert identifiers == vector["identifiers"]
    high, low = generation_app_ids(vector["topic"])
    assert topic_id_of(identifiers[high], identifiers[low]) == vector["topic_id"]
    assert all(-(2**63) <= version < 2**63 for version in identifiers.values())


@pytest.mark.parametrize("vector", VECTORS["plans"], ids=lambda vector: vector["name"])
def test_a_plan_goes_on_behind_what_landed_or_names_the_loss(vector: dict[str, Any]) -> None:
    given = vector["state"]
    state = TopicState(given["topic"], given["topic_id"], {int(p): tuple(b) for p, b in given["partitions"].items()})
    decided = plan(
        state, vector["known_topic_id"], _by_partition(vector["landed"]), _by_partition(vector["landed_of_known"])
    )
    expected = vector["expected"]
    assert dict(decided.starts) == _by_partition(expected["starts"])
    assert [asdict(loss) for loss in decided.losses] == expected["losses"]
    assert dict(decided.register) == expected["register"]
    if "accepted" not in expected:
        return
    if expected["accepted"] is None:
        with pytest.raises(ValueError, match="truncated"):
            accepted(state, decided.losses)
    else:
        assert accepted(state, decided.losses) == expected["accepted"]


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS["plans"] if v["expected"].get("accepted")], ids=lambda v: v["name"]
)
def test_after_an_accepted_loss_landing_goes_on_at_the_oldest_record(vector: dict[str, Any]) -> None:
    given = vector["state"]
    state = TopicState(given["topic"], given["topic_id"], {int(p): tuple(b) for p, b in given["partitions"].items()})
    identifiers = vector["expected"]["accepted"]
    before = _by_partition(vector["landed"])
    landed = {
        p: offset
        for p in state.partitions
        if (offset := identifiers.get(partition_app_id(state.topic, p, state.topic_id), before.get(p))) is not None
    }
    after = plan(state, state.topic_id, landed, landed)
    assert after.losses == ()
    assert all(start >= state.partitions[p][0] for p, start in after.starts.items())


@pytest.mark.parametrize("vector", VECTORS["days"], ids=lambda vector: vector["name"])
def test_a_record_has_the_day_of_its_envelope_only_near_the_day_of_append(vector: dict[str, Any]) -> None:
    header = None if vector["header_hex"] is None else bytes.fromhex(vector["header_hex"])
    assert record_day(header, date.fromisoformat(vector["appended"])).isoformat() == vector["day"]


def _by_partition(of: dict[str, int]) -> dict[int, int]:
    return {int(partition): value for partition, value in of.items()}
