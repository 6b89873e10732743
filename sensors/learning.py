"""Wakes learning and the batch lane: every night, when labels have grown, and when there is something to name.

One sensor and one schedule a family (`transforms.families`). None of them asks MLflow, whose client would cost every
code server seconds and 150 MB: a champion's version, and what it learned of, stand in the materializations of
`recognition/NAME/champion`. A registry that was emptied is noticed by the nightly run, which trains anew. Labels are
counted by whether the sealed column is null, corrections by the ids that their records name; none is opened, so that
those of all families are counted together. A corrected image counts twice, as labelled and as corrected, so that
corrections alone ask for training too, and a correction that is sent again does not.

A tick that finds the lake away is skipped with a sentence. What a run was asked for at is remembered, so that a
challenger that is no better does not have the machine train again for every image: labels must grow by the share anew.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg

from resources.dagster_resources import LakeResource, SettingsResource
from resources.failures import PlatformFailure, first_line
from resources.job_names import RECOGNISE_JOB, train_job_name
from sensors.asking import AFTER_FAILURE_SECONDS, UNFINISHED
from transforms.families import FAMILIES
from transforms.recognition import CORRECTED_OF, LEARNED_OF, Family
from transforms.tables import IMAGE_FEATURES, LABEL_CORRECTIONS, PROCESSED_IMAGES

HEARTBEAT_SECONDS = 24 * 3600.0
"""A run a day with nothing new too: that is what a fresh table says, and what notices another champion."""


def champion_key(family: Family) -> dg.AssetKey:
    """The asset whose materializations say which version is champion."""
    return dg.AssetKey(["recognition", family.name, "champion"])


def wanted(labelled: int, learned_of: int, asked_at: int, least: int, share: float) -> str | None:
    """Why training is to be asked for now; None where it is not.

    Args:
        labelled: labelled images that live.
        learned_of: how many the champion learned of; 0 where there is none.
        asked_at: how many there were when a run was last asked for; 0 for never.
        least: from how many on the first model is trained.
        share: by which they must have grown.
    """
    before = max(learned_of, asked_at)
    if before == 0:
        return f"{labelled} labelled images and no model yet" if labelled >= least else None
    return f"labelled images grew from {before} to {labelled}" if labelled >= before * (1 + share) else None


def training_sensor(family: Family) -> dg.SensorDefinition:
    """What asks for a family's training between two nights."""
    return _labels_grown(family) if family.take is not None else _first_model(family)


def _labels_grown(family: Family) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{family.name}_labels_grown",
        job_name=train_job_name(family.name),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks for training when the labelled images have grown by a share since the champion learned.",
    )
    def labels_grown(
        context: dg.SensorEvaluationContext, settings: SettingsResource, lake: LakeResource
    ) -> dg.SensorResult | dg.SkipReason:
        """One tick: count only where the table has moved."""
        loaded = settings.load()
        cursor = _cursor(context.cursor)
        try:
            versions, images, corrected = _labelled(lake, cursor)
        except PlatformFailure as failure:
            return dg.SkipReason(first_line(failure))
        labelled = images + corrected
        learned_of = sum(_of_champion(context.instance, family, name) for name in (LEARNED_OF, CORRECTED_OF))
        why = wanted(
            labelled,
            learned_of,
            cursor["asked"],
            loaded.recognition_least,
            loaded.recognition_growth,
        )
        kept = {**versions, "images": images, "corrected": corrected, "asked": labelled if why else cursor["asked"]}
        if why is None:
            said = f"{images} labelled images, {corrected} of them corrected: not grown enough"
            return dg.SensorResult(skip_reason=said, cursor=json.dumps(kept))
        request = dg.RunRequest(run_key=f"labelled-{labelled}", tags={"darkroom/why": why})
        return dg.SensorResult(run_requests=[request], cursor=json.dumps(kept))

    return labels_grown


def _first_model(family: Family) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{family.name}_first_model",
        job_name=train_job_name(family.name),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks for training once there are images and no champion: its examples come along.",
    )
    def first_model(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.RunRequest | dg.SkipReason:
        """One tick; a run that failed is asked for again by the night."""
        if _of_champion(context.instance, family, "version"):
            return dg.SkipReason("there is a champion: the night trains anew where the release has another recipe")
        try:
            rows = _rows(lake)
        except PlatformFailure as failure:
            return dg.SkipReason(first_line(failure))
        if not rows:
            return dg.SkipReason("no image has features yet")
        return dg.RunRequest(run_key=f"first-{family.recipe}", tags={"darkroom/why": "images and no model yet"})

    return first_model


@dg.sensor(
    job_name=RECOGNISE_JOB,
    minimum_interval_seconds=120,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks the champions to name images when some came since they last did.",
)
def images_to_name(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SensorResult | dg.SkipReason:
    """One tick: rows of image_features, from its log alone, against those at the last run asked for."""
    versions = [_of_champion(context.instance, family, "version") for family in FAMILIES]
    if not any(versions):
        return dg.SkipReason("no champion yet: nothing can be named")
    runs = dg.RunsFilter(statuses=UNFINISHED)
    naming = (RECOGNISE_JOB, *(train_job_name(family.name) for family in FAMILIES))
    if any(run.job_name in naming for run in context.instance.get_runs(filters=runs, limit=50)):
        return dg.SkipReason("a run that names images is in flight")
    try:
        rows = _rows(lake)
    except PlatformFailure as failure:
        return dg.SkipReason(first_line(failure))
    if not rows:
        return dg.SkipReason("no image has features yet")
    standing = f"{'.'.join(map(str, versions))}-{rows}"
    why = f"{rows} images have features"
    last = context.instance.get_run_records(dg.RunsFilter(job_name=RECOGNISE_JOB), limit=1)
    if standing == context.cursor:
        again, why = _asked_again(last[0] if last else None, time.time())
        if not again:
            return dg.SkipReason(why)
    # The run before makes the key one of its kind: a count may come again, and Dagster takes each key once.
    request = dg.RunRequest(
        run_key=f"{standing}-{last[0].dagster_run.run_id if last else 'first'}", tags={"darkroom/why": why}
    )
    return dg.SensorResult(run_requests=[request], cursor=standing)


def _asked_again(last: dg.RunRecord | None, now: float) -> tuple[bool, str]:
    """Whether a run is to be asked for though nothing is new, and why or why not."""
    ended = last.end_time if last is not None else None
    if last is None or ended is None:
        return False, "nothing new to name"
    if last.dagster_run.status is not dg.DagsterRunStatus.SUCCESS:
        wait = ended + AFTER_FAILURE_SECONDS - now
        if wait > 0:
            return False, f"run {last.dagster_run.run_id[:8]} failed; asked for again in {wait:.0f} s"
        return True, f"after the failure of run {last.dagster_run.run_id[:8]}"
    if now - ended > HEARTBEAT_SECONDS:
        return True, "the last run is a day old"
    return False, "nothing new to name"


def nightly_training(family: Family) -> dg.ScheduleDefinition:
    """What asks for a family's training every night."""

    @dg.schedule(
        name=f"{family.name}_nightly",
        job_name=train_job_name(family.name),
        cron_schedule="23 3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Learns from the living days every night, and names what the champion has not named.",
    )
    def nightly(
        context: dg.ScheduleEvaluationContext, settings: SettingsResource, lake: LakeResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        """A run, unless there is too little to learn from and nothing was ever learned."""
        least = settings.load().recognition_least if family.take is not None else 0
        try:
            labelled = _labelled(lake, _cursor(None))[1] if least else 0
        except PlatformFailure as failure:
            yield dg.SkipReason(first_line(failure))
            return
        if labelled < least and not _of_champion(context.instance, family, "version"):
            yield dg.SkipReason(f"{labelled} labelled images, and a first model is made of {least} (recognition_least)")
        else:
            yield dg.RunRequest(tags={"darkroom/why": "nightly"})

    return nightly


def _labelled(lake: LakeResource, cursor: dict[str, int]) -> tuple[dict[str, int], int, int]:
    """Versions of the two tables, developed images with a label or a correction, and those with a correction; counted
    only where a version is not the cursor's."""
    import polars as pl

    from resources.corrections import corrected_ids
    from resources.lake import TableMissing

    tables = lake.open()
    try:
        handle = tables.open(PROCESSED_IMAGES.name)
    except TableMissing:
        return {"version": -1, "corrections": -1}, 0, 0
    try:
        corrections = tables.open(LABEL_CORRECTIONS.name).version()
    except TableMissing:
        corrections = -1
    versions = {"version": handle.version(), "corrections": corrections}
    if all(versions[name] == cursor[name] for name in versions):
        return versions, cursor["images"], cursor["corrected"]
    images = pl.scan_delta(handle).select("id", pl.col("label").is_not_null())
    named = corrected_ids(tables).lazy().with_columns(corrected=pl.lit(True))
    joined = images.join(named, on="id", how="left").with_columns(pl.col("corrected").fill_null(False))
    counts = joined.select((pl.col("label") | pl.col("corrected")).sum(), pl.col("corrected").sum().alias("also"))
    labelled, corrected = tables.collect(counts, PROCESSED_IMAGES.name).row(0)
    return versions, int(labelled), int(corrected)


def _rows(lake: LakeResource) -> int:
    from resources.lake import TableMissing
    from resources.upkeep import contents

    try:
        _, _, rows = contents(lake.open().open(IMAGE_FEATURES.name))
    except TableMissing:
        return 0
    return rows


def _of_champion(instance: dg.DagsterInstance, family: Family, name: str) -> int:
    """A number in the newest materialization of a champion; 0 where there is none."""
    event = instance.get_latest_materialization_event(champion_key(family))
    found = event.asset_materialization.metadata.get(name) if event and event.asset_materialization else None
    value: Any = found.value if found is not None else 0
    return int(value) if str(value).isdecimal() else 0


def _cursor(text: str | None) -> dict[str, int]:
    """What was remembered; what cannot be understood counts as never."""
    try:
        body = json.loads(text or "{}")
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    unseen = {"version": -1, "corrections": -2, "images": 0, "corrected": 0, "asked": 0}
    return {name: body[name] if isinstance(body.get(name), int) else value for name, value in unseen.items()}


LEARNING_SENSORS = (*(training_sensor(family) for family in FAMILIES), images_to_name)
NIGHTLY_SCHEDULES = tuple(nightly_training(family) for family in FAMILIES)
