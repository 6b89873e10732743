"""The first line of a failed run's error stands where people look: in the list of runs."""

from pathlib import Path

import dagster as dg

from sensors.run_failures import ERROR_TAG, STEP_TAG, run_failures


@dg.op
def fine() -> None: ...


def evaluate(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> None:
    """Evaluate the sensor for a run that failed, as the daemon does."""
    context = dg.build_run_status_sensor_context(
        sensor_name="run_failures",
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=result.get_run_failure_event(),
    ).for_run_failure()
    run_failures(context)


def tags_after(job: dg.JobDefinition) -> dict[str, str]:
    """Run a job that fails, evaluate the sensor as the daemon does, and read the run's tags back."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False)
        assert not result.success
        evaluate(instance, result)
        run = instance.get_run_by_id(result.run_id)
        assert run is not None
        return dict(run.tags)


def test_the_first_line_of_the_error_and_the_step_become_tags():
    @dg.op
    def broken() -> None:
        raise RuntimeError("the first line \nthe second line")

    @dg.job
    def failing() -> None:
        broken()
        fine()

    tags = tags_after(failing)
    assert tags[ERROR_TAG] == "RuntimeError:" or tags[ERROR_TAG].startswith("RuntimeError: the first line")
    assert tags[STEP_TAG] == "broken"


def test_a_killed_run_gives_its_pool_slots_back(tmp_path: Path):
    """Otherwise the next run waits for the table until Dagster's monitoring comes by, minutes later."""

    @dg.op
    def broken() -> None:
        raise RuntimeError("killed")

    @dg.job
    def failing() -> None:
        broken()

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots("images/raw_images", 1)
        result = failing.execute_in_process(instance=instance, raise_on_error=False)
        storage.claim_concurrency_slot("images/raw_images", result.run_id, "raw_images")
        assert storage.get_concurrency_info("images/raw_images").active_run_ids == {result.run_id}
        evaluate(instance, result)
        assert storage.get_concurrency_info("images/raw_images").active_run_ids == set()


def test_a_failure_with_a_description_says_it():
    @dg.op
    def refused() -> None:
        raise dg.Failure("Landing stopped: offsets 5 to 9 are gone.\nRun `darkroom accept-loss`.", allow_retries=False)

    @dg.job
    def failing() -> None:
        refused()

    assert tags_after(failing)[ERROR_TAG] == "Landing stopped: offsets 5 to 9 are gone."


def test_a_retried_step_names_the_cause_and_not_that_retries_were_used_up():
    @dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
    def broken() -> None:
        raise ConnectionError("nobody listens there")

    @dg.job
    def failing() -> None:
        broken()

    assert tags_after(failing)[ERROR_TAG] == "ConnectionError: nobody listens there"


def test_a_run_whose_process_vanished_says_so():
    @dg.job
    def vanishing() -> None:
        fine()

    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(vanishing, status=dg.DagsterRunStatus.STARTED)
        event = instance.report_run_failed(run)
        context = dg.build_run_status_sensor_context(
            sensor_name="run_failures", dagster_instance=instance, dagster_run=run, dagster_event=event
        ).for_run_failure()
        run_failures(context)
        found = instance.get_run_by_id(run.run_id)
        assert found is not None
        assert found.tags[ERROR_TAG].startswith("The run's process ended without an error of its own: killed")
        assert STEP_TAG not in found.tags


def test_a_long_line_is_cut():
    @dg.op
    def broken() -> None:
        raise RuntimeError("x" * 5000)

    @dg.job
    def failing() -> None:
        broken()

    assert len(tags_after(failing)[ERROR_TAG]) == 300
