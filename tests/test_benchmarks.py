"""The benchmarks run: each on a size that proves nothing but that it still works, with figures a person can read."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest

import benchmarks
from benchmarks import (
    _items,
    compute,
    developing,
    dimension,
    growth,
    keys,
    landing,
    lane,
    learning,
    recogniser,
    scd2,
    signin,
    uploads,
)
from benchmarks.figures import Figure, print_table
from benchmarks.page import put_between, put_section
from tests.live_stack import LiveStack

NAMES = [one.name for one in pkgutil.iter_modules(benchmarks.__path__) if not one.name.startswith("_")]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("figures", "page")])
def test_every_benchmark_says_what_it_measures_and_has_a_run(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    assert len(module.__doc__ or "") > 80
    assert callable(module.run)


def test_a_page_takes_each_benchmark_s_figures_in_its_own_place_and_keeps_what_people_wrote() -> None:
    figures = [Figure("a | b", 2.345, "times", 3, detail="1 to 4 in 3 runs"), Figure("c", 0, "")]
    page = put_section("# Benchmarks\n", "one", "First.\n\nHow it\nis done.\n", "today; here.", figures)
    page = put_section(page, "two", "Second.\n\nHow.", "today; here.", figures) + "\nMissed, for the disk is slow.\n"
    again = put_section(page, "one", "First.\n\nHow else.", "tomorrow; here.", [Figure("c", 5, "s", 6, "at most")])
    assert "| a / b | 2.35 times | at least 3.00 | **missed** | 1 to 4 in 3 runs |" in page
    assert "How it is done." in page and "## First\n" in page
    assert "How else." in again and "How it is done." not in again
    assert "| c | 5.00 s | at most 6.00 | reached |  |" in again
    assert again.count("## First") == again.count("## Second") == 1
    assert again.endswith("Missed, for the disk is slow.\n")
    with pytest.raises(ValueError, match="no place for figures"):
        put_between("# A page\n", "<!-- a -->", "<!-- b -->", [])


def test_developing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(developing, "ROUNDS", 1)
    monkeypatch.setattr(developing, "IMAGES", 2)
    *speeds, quality = developing.run()
    assert all(figure.value > 0 for figure in speeds)
    assert quality.unit == "dB" and abs(quality.value) < 6, "thumbnails of the same picture"


def test_what_sealing_and_a_purge_cost_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"ROUNDS": 1, "AT_ONCE": 5, "DAY_ROWS": 400}.items():
        monkeypatch.setattr(keys, name, size)
    assert all(figure.value > 0 for figure in keys.run())


def test_training_and_naming_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "ROUNDS", 1)
    monkeypatch.setattr(learning, "IMAGES", 200)
    assert all(figure.value > 0 for figure in learning.run())


def test_item_versions_are_measured_and_the_touched_keys_alone_give_the_whole_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few_items(monkeypatch)
    for name, size in {"ITEMS": 2_000, "SALES": 1_000, "MANY": 10_000, "REPEATS": 1}.items():
        monkeypatch.setattr(scd2, name, size)
    assert all(figure.value > 0 for figure in scd2.run())


def test_the_dimension_is_measured_beside_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    few_items(monkeypatch)
    costs = [dimension.measure_ours(), dimension.measure_merge()]
    assert all(cost > 0 for one in costs for cost in one["refresh"])


@pytest.mark.slow
def test_backends_storage_and_a_sessions_start_are_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, size in {"IMAGES": 30, "NEW": 5, "APPENDS": 1, "APPEND_BYTES": 500_000}.items():
        monkeypatch.setattr(compute, name, size)
    figures = [*compute._backends(tmp_path), *compute._storage(tmp_path)]
    assert all(figure.value > 0 for figure in figures)
    assert [figure.name for figure in figures if "S3" in figure.name]
    # Ours alone: Java as it comes takes a minute to start.
    assert all(seconds > 0 for seconds in compute._started(compute._one_row(tmp_path / "starts")))


def test_growth_is_measured_and_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, size in {"SIZES": (1, 3), "UPKEEP_EVERY": 2, "ASKED": 2, "NEW_IMAGES": 2, "ITEMS": 3}.items():
        monkeypatch.setattr(growth, name, size)
    figures = growth.run()
    assert all(cost > 0 for figure in figures for _, cost in figure.series)
    assert {tuple(size for size, _ in figure.series) for figure in figures} == {(1, 3)}
    growth.draw(figures, tmp_path)
    assert all(figure.name in (tmp_path / "growth.svg").read_text() for figure in figures)


def few_items(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"ITEMS": 2_000, "CHANGED": 40, "NEW": 10, "REMOVED": 5}.items():
        monkeypatch.setattr(_items, name, size)


@pytest.mark.stack
def test_landing_is_measured_against_a_bare_consumer(stack: LiveStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "REPEATS", 1)
    monkeypatch.setattr(landing, "SPARK_REPEATS", 0)  # its jars are `make bench`'s alone
    settings = stack.settings("admin")
    figures = [*landing._against_others(settings, "1 kB", 1_000, 200, 3), *landing._backlog(settings, 4)]
    assert all(figure.value > 0 for figure in figures)


@pytest.mark.stack
def test_signing_in_is_measured_beside_the_directory_alone(stack: LiveStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signin, "ROUNDS", 2)
    monkeypatch.setenv("DARKROOM_HOME", str(stack.home))
    assert all(figure.value > 0 for figure in signin.run())


@pytest.mark.stack
def test_dagsters_share_of_a_run_is_measured(stack: LiveStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "REPEATS", 1)
    (figure,) = lane._dagsters_share(stack.home)
    assert figure.value > 1


@pytest.mark.stack
def test_uploads_are_measured_beside_an_endpoint_with_no_kafka(
    stack: LiveStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "REPEATS", 1)
    monkeypatch.setattr(uploads, "SIZES", {"1 kB": (1_000, 20)})
    monkeypatch.setenv("DARKROOM_HOME", str(stack.home))
    assert all(figure.value > 0 for figure in uploads.run())


@pytest.mark.stack
def test_what_a_stack_costs_at_rest_is_measured(stack: LiveStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "AT_REST_SECONDS", 3.0)
    cpu, memory = lane._at_rest(stack.home)
    assert cpu.value > 0 and memory.value > 500
    assert "kafka" in memory.detail


@pytest.mark.stack
def test_a_record_is_followed_from_its_acknowledgement_to_its_row(stack: LiveStack) -> None:
    trip = lane._trip(stack.home)
    assert 0 <= trip.asked <= trip.began <= trip.landed <= trip.developed


@pytest.mark.stack
def test_answers_are_measured_beside_a_relay_and_a_backlog_is_worked_off(
    stack: LiveStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"REPEATS": 1, "IMAGES": 5, "BACKLOG": 4}.items():
        monkeypatch.setattr(recogniser, name, value)
    settings = stack.settings("admin")
    relayed = recogniser._relayed(settings, 1_000)
    assert len(relayed) == 5 and all(seconds >= 0 for seconds in relayed)
    given = settings.model_dump(mode="json", include=settings.model_fields_set)
    for name, value in given.items():
        if isinstance(value, str):
            monkeypatch.setenv(f"DARKROOM_{name.upper()}", value)
    with recogniser.a_champion(settings, stack.status()):
        assert all(figure.value > 0 for figure in recogniser._rates(stack.home, settings)[:3])


def test_an_aim_that_was_missed_is_printed_as_missed(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("trial", [Figure("slow", 0.4, "", 0.5), Figure("fast", 3.0, "s", 60, "at most")])
    lines = capsys.readouterr().out.splitlines()
    assert any("slow" in line and "missed" in line for line in lines)
    assert any("fast" in line and "reached" in line for line in lines)
