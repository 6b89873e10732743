"""Brings the first line of a failed run's error to where people look: the list of runs.

The list shows a run's tags and not its errors, so the line becomes the tag `darkroom/error`, and the failed step the
tag `darkroom/failed_step`; the daemon's log gets one line as well. Nothing is sent anywhere: who wants a page or a
mail reads these tags, or adds a sensor beside this one.

A run that was killed leaves its pool slots taken; Dagster's monitoring frees them minutes later, and until then every
other run waits for the table. The run has ended, so they are freed here, within seconds.
"""

import dagster as dg

from resources.failures import first_line

ERROR_TAG = "darkroom/error"
STEP_TAG = "darkroom/failed_step"


@dg.run_failure_sensor(
    name="run_failures",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=5,
    description="Writes the first line of a failed run's error into the run's tags, where the list of runs shows it.",
)
def run_failures(context: dg.RunFailureSensorContext) -> None:
    """Tag one failed run."""
    steps = context.get_step_failure_events()
    # The first step that failed is the cause; later ones follow from it.
    step = steps[0] if steps else None
    line = first_line(_message(step) if step else _outside(context.failure_event.message or ""))
    tags = {ERROR_TAG: line, **({STEP_TAG: step.step_key} if step and step.step_key else {})}
    context.instance.add_run_tags(context.dagster_run.run_id, tags)
    context.instance.event_log_storage.free_concurrency_slots_for_run(context.dagster_run.run_id)
    context.log.error("Run %s of %s failed: %s", context.dagster_run.run_id[:8], context.dagster_run.job_name, line)


def _outside(message: str) -> str:
    """Dagster's sentence for a run whose process vanished says where the mark came from, and not what happened."""
    if not message or "marked as failed from outside" in message:
        return "The run's process ended without an error of its own: killed, out of memory, or declared dead by `up`."
    return message


def _message(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message if error is not None else event.message or ""
