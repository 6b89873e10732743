"""How well the champions do: accuracy day by day, drift of features, near duplicates, balance of the labels.

Its checks block nothing: a model that names a day badly still names it better than none. They warn first, and are an
error when it is worse (`recognition_warn`, `recognition_floor`, `drift_warn`, `drift_error`). Counts and shares only;
by class where there are enough labels that none is one person's.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.images.preview import delta_facts
from platform_assets.reporting import bar_chart, label_chart, markdown_table
from platform_assets.schema import LEARNING, asset_key, pool, table_asset
from platform_assets.table_checks import table_checks
from resources.dagster_resources import KeysResource, LakeResource, RegistryResource, SettingsResource
from transforms.families import FAMILIES
from transforms.recognition import Family
from transforms.tables import RECOGNISED_IMAGES, RECOGNITION_QUALITY, TRAINING_SET

if TYPE_CHECKING:
    import polars as pl

    from resources.quality import Quality
    from transforms.quality import Level

FRESH_HOURS = 48
DAYS_SHOWN = 8
KEY = asset_key(RECOGNITION_QUALITY)


@dg.multi_asset(
    name="recognition_quality",
    specs=[
        table_asset(
            RECOGNITION_QUALITY,
            deps=[asset_key(RECOGNISED_IMAGES), asset_key(TRAINING_SET)],
            tags=LEARNING,
            fresh_hours=FRESH_HOURS,
        )
    ],
    pool=pool(RECOGNITION_QUALITY),
    retry_policy=RETRY,
)
def recognition_quality(
    context: dg.AssetExecutionContext, lake: LakeResource, learning_keys: KeysResource, registry: RegistryResource
) -> dg.MaterializeResult:
    """Measure every family's champion, and replace the rows of the living days."""
    from resources.quality import keep, measure

    started = time.monotonic()
    with told_to_dagster(context):
        tables, models = lake.open(), registry.open()
        found = [measure(tables, learning_keys.open(), models, family) for family in FAMILIES]
        rows = keep(tables, found, datetime.now(UTC))
        facts, version = delta_facts(tables, RECOGNITION_QUALITY)
        near = _near_duplicates(_newest(_rows(lake)))
    told: dict[str, Any] = {}
    for one in found:
        told |= _told(one)
    return dg.MaterializeResult(
        asset_key=KEY,
        metadata={
            "rows written": rows,
            **told,
            "near duplicates": bar_chart("images that look like an earlier one of their day, in 100", near),
            **facts,
            "seconds": round(time.monotonic() - started, 3),
        },
        data_version=dg.DataVersion(version),
    )


def _told(one: "Quality") -> dict[str, Any]:
    """What a person sees of a family."""
    of = f"{one.family.name}: "
    if one.champion is None:
        return {of + "champion": "none that can score: nothing is measured"}
    told: dict[str, Any] = {of + "champion": f"version {one.champion.version}"}
    if one.family.take is not None:
        newest = sorted(one.accuracy.items(), reverse=True)[:DAYS_SHOWN]
        shown = {day.isoformat(): round(tally.accuracy or 0.0, 4) for day, tally in newest}
        told |= {
            of + "accuracy by day": bar_chart("labelled images named right, none learned from", shown),
            of + "labelled images by day": markdown_table(
                ["day", "labelled, not learned from", "named right"],
                [(day.isoformat(), tally.labelled, tally.right) for day, tally in newest],
            ),
            of
            + "corrected labels named right": f"{one.corrected.right} of {one.corrected.labelled}, none learned from",
            of + "class balance": label_chart("labelled images by class", dict(one.balance)),
        }
    if one.drift is None:
        return told | {of + "drift": "too few images to say"}
    return told | {
        of + "drift": round(one.drift.index, 4),
        of + "drift by part": bar_chart(
            f"population stability index, {one.day}: {one.drift.rows} images against {one.drift.learned_of}",
            {name: round(index, 4) for name, index in one.drift.parts.items()},
        ),
    }


def accuracy_check(family: Family) -> dg.AssetCheckSpec:
    """Of a family that learns from labels."""
    said = "Of the newest day's labelled images that it did not learn from, the champion names enough right."
    return dg.AssetCheckSpec(f"{family.name}_accuracy", asset=KEY, description=said)


def drift_check(family: Family) -> dg.AssetCheckSpec:
    """Of any family."""
    said = "The newest day's features are distributed as those that were learned from, or came on the days before."
    return dg.AssetCheckSpec(f"{family.name}_drift", asset=KEY, description=said)


_OF: dict[str, Family] = {
    **{accuracy_check(family).name: family for family in FAMILIES if family.take is not None},
    **{drift_check(family).name: family for family in FAMILIES},
}


@dg.multi_asset_check(
    name="champions_do_well",
    specs=[
        *(accuracy_check(family) for family in FAMILIES if family.take is not None),
        *(drift_check(family) for family in FAMILIES),
    ],
    can_subset=True,
    retry_policy=RETRY,
)
def quality_checks(
    context: dg.AssetCheckExecutionContext, settings: SettingsResource, lake: LakeResource
) -> Iterator[dg.AssetCheckResult]:
    """From the table alone: what was measured last."""
    from transforms.quality import Tally, accuracy_level, drift_level, judged

    loaded = settings.load()
    with told_to_dagster(context):
        rows = _rows(lake)
    for key in context.selected_asset_check_keys:
        of_it = [row for row in rows.to_dicts() if row["model"] == _OF[key.name].name]
        if key.name == accuracy_check(_OF[key.name]).name:
            tally = judged({row["day"]: Tally(row["labelled"], row["labelled_right"]) for row in of_it})
            level = accuracy_level(tally, loaded.recognition_warn, loaded.recognition_floor)
            share = f"{tally.accuracy:.3f}" if tally.accuracy is not None else "none"
            said = f"{share} of {tally.labelled} labelled images that it did not learn from are named right"
            limits = {"warns below": loaded.recognition_warn, "error below": loaded.recognition_floor}
        else:
            newest = _newest(rows)
            index = next((row["drift"] for row in of_it if newest and row["day"] == newest[0]["day"]), None)
            level = drift_level(index, loaded.drift_warn, loaded.drift_error)
            said = "the index could not be measured" if index is None else f"the index of the newest day is {index:.3f}"
            limits = {"warns from": loaded.drift_warn, "error from": loaded.drift_error}
        yield _result(key, level, said, limits)


def _result(key: dg.AssetCheckKey, level: "Level", said: str, limits: dict[str, float]) -> dg.AssetCheckResult:
    from transforms.quality import Level

    return dg.AssetCheckResult(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=level in (Level.GOOD, Level.UNKNOWN),
        severity=dg.AssetCheckSeverity.ERROR if level is Level.ERROR else dg.AssetCheckSeverity.WARN,
        description=f"{level.value}: {said}.",
        metadata=limits,
    )


def _rows(lake: LakeResource) -> "pl.DataFrame":
    import polars as pl

    tables = lake.open()
    return tables.collect(pl.scan_delta(tables.ensure(RECOGNITION_QUALITY)), RECOGNITION_QUALITY.name)


def _newest(rows: "pl.DataFrame") -> list[dict[str, Any]]:
    """Rows of the newest days, newest first, one a day."""
    return rows.unique("day").sort("day", descending=True).head(DAYS_SHOWN).to_dicts()


def _near_duplicates(days: list[dict[str, Any]]) -> dict[str, float]:
    return {row["day"].isoformat(): round(100 * row["near_duplicates"] / row["developed"], 2) for row in days}


recognition_quality_checks = table_checks(RECOGNITION_QUALITY, unique=("day", "model"))
