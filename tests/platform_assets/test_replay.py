"""The job `replay_quarantine`, run as Dagster runs it; what a replay does to tables is tested with resources.replay."""

from __future__ import annotations

import dagster as dg
import pytest

from platform_assets.definitions import defs
from resources.dagster_resources import resource_defs
from resources.keys import open_key_store
from resources.settings import load_settings
from transforms.reasons import Reason


@pytest.fixture
def run(tmp_path):
    """Run the job in this process on a home without tables; the projection's database is nowhere, and not needed."""
    overrides = {"home": str(tmp_path), "postgres_dsn": "host=127.0.0.1 port=1 dbname=platform"}
    open_key_store(load_settings(overrides)).initialise()

    def execute(config: dict[str, str] | None) -> dg.ExecuteInProcessResult:
        op = {"ops": {"replay_quarantined_records": {"config": config}}} if config else {}
        return defs.get_job_def("replay_quarantine").execute_in_process(
            run_config=op, resources=resource_defs(overrides), raise_on_error=False
        )

    return execute


@pytest.mark.parametrize("config", [None, {"reason": Reason.CORRUPT.value}])
def test_with_nothing_in_quarantine_it_succeeds_and_its_numbers_are_metadata(run, config):
    done = run(config)
    assert done.success
    (output,) = done.filter_events(lambda event: event.is_successful_output)
    metadata = {name: value.value for name, value in output.step_output_data.metadata.items()}
    assert metadata == {
        "reason": "corrupt" if config else "every reason",
        "tried": 0,
        "replayed": 0,
        "still_quarantined": 0,
        "gone": 0,
    }


def test_an_unknown_reason_fails_once_and_names_the_valid_ones(run):
    done = run({"reason": "ugly"})
    assert not done.success
    (failure,) = [event for event in done.all_events if event.is_step_failure]
    said = failure.step_failure_data.error.message
    assert "'ugly' is no reason of quarantine" in said
    assert all(reason.value in said for reason in Reason)
    assert not [event for event in done.all_events if event.is_step_up_for_retry]
