"""Checks of the images: bronze against the broker, tables against their specification, one row per image, quarantine.

Two steps, to keep a live run short: one behind bronze, whose failure stops developing (blocking), one behind the
derived tables. Each check can also be run alone in the UI; it then judges what the last landing took in.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.images.daily_uploads import rows_by_day
from platform_assets.images.developed import LANDED_BEFORE
from platform_assets.images.verified import VERIFIED, landed_to, offsets_of, to_verify, verified_before
from platform_assets.reporting import bar_chart, markdown_table
from platform_assets.schema import asset_key
from platform_assets.table_checks import ONE_ROW, SCHEMA, schema_result, schema_spec, unique_result
from resources.dagster_resources import KafkaResource, LakeResource
from transforms.tables import DAILY_UPLOADS, PROCESSED_IMAGES, QUARANTINED_IMAGES, RAW_IMAGES

if TYPE_CHECKING:
    from resources.lake import Lake

WARN_SHARE = 0.10
ERROR_SHARE = 0.50
FEWEST_RECORDS = 20
SHOWN_PROBLEMS = 20
MATERIALIZATIONS_LOOKED_AT = 50

HOLDS_THE_STREAM = "holds_what_the_broker_held"
CAUGHT_UP = "developed_up_to_bronze"
SHARE = "quarantine_share"


@dg.multi_asset_check(
    name="bronze_checks",
    specs=[
        dg.AssetCheckSpec(
            HOLDS_THE_STREAM,
            asset=asset_key(RAW_IMAGES),
            blocking=True,
            description="Bronze has every record that the broker held in what landed, once; samples byte by byte.",
        ),
        schema_spec(RAW_IMAGES),
    ],
    can_subset=True,
    retry_policy=RETRY,
)
def bronze_checks(
    context: dg.AssetCheckExecutionContext, kafka: KafkaResource, lake: LakeResource
) -> Iterator[dg.AssetCheckResult]:
    """Bronze against the broker by position (resources/completeness.py), and against its specification."""
    from resources.completeness import verify_bronze
    from resources.progress import read_progress

    tables = lake.open()
    for key in context.selected_asset_check_keys:
        with told_to_dagster(context):
            if key.name == SCHEMA:
                yield schema_result(tables, RAW_IMAGES)
                continue
            seen = read_progress(tables, state := kafka.watermarks())
            before = verified_before(context.instance, key, seen.topic_id)
            ranges = to_verify(seen, before, landed_to(context.instance, seen.topic_id))
            found = verify_bronze(kafka.load(), tables, state, ranges)
        yield dg.AssetCheckResult(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=not found.problems,
            description="; ".join(found.problems[:3]) or "Bronze holds what the broker held.",
            metadata={
                "rows": found.rows,
                "offsets checked": found.checked_offsets,
                "legal holes": found.legal_holes,
                "holes that the broker can no longer judge": found.unjudged_holes,
                "records compared byte by byte": found.compared_records,
                VERIFIED: offsets_of(seen.topic_id, found.verified),
                "problems": markdown_table(["problem"], [[problem] for problem in found.problems[:SHOWN_PROBLEMS]]),
            },
        )


@dg.multi_asset_check(
    name="developed_checks",
    specs=[
        dg.AssetCheckSpec(
            ONE_ROW, asset=asset_key(PROCESSED_IMAGES), description="No image id has two rows, over all living days."
        ),
        dg.AssetCheckSpec(
            CAUGHT_UP,
            asset=asset_key(PROCESSED_IMAGES),
            description="Both tables have come as far as bronze had when developing last began.",
        ),
        dg.AssetCheckSpec(
            SHARE,
            asset=asset_key(QUARANTINED_IMAGES),
            description=f"In quarantine are, of the records of the newest day that has {FEWEST_RECORDS}, at most "
            f"{WARN_SHARE:.0%} (else a warning) or {ERROR_SHARE:.0%} (else an error).",
        ),
        *(schema_spec(spec) for spec in (PROCESSED_IMAGES, QUARANTINED_IMAGES)),
    ],
    can_subset=True,
    retry_policy=RETRY,
)
def developed_checks(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> Iterator[dg.AssetCheckResult]:
    """The derived tables against their promises."""
    tables = lake.open()
    specs = {asset_key(spec): spec for spec in (PROCESSED_IMAGES, QUARANTINED_IMAGES)}
    for key in context.selected_asset_check_keys:
        with told_to_dagster(context):
            if key.name == SCHEMA:
                yield schema_result(tables, specs[key.asset_key])
            elif key.name == ONE_ROW:
                yield unique_result(tables, PROCESSED_IMAGES, ("id",), distinct="images")
            elif key.name == CAUGHT_UP:
                yield caught_up_result(tables, context.instance)
            else:
                yield share_result(tables)


@dg.asset_check(
    asset=asset_key(DAILY_UPLOADS), name=SCHEMA, description="Columns, types and day partitioning are those specified."
)
def daily_uploads_schema(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """Gold against its specification."""
    with told_to_dagster(context):
        return schema_result(lake.open(), DAILY_UPLOADS)


def caught_up_result(lake: "Lake", instance: dg.DagsterInstance) -> dg.AssetCheckResult:
    """Both tables' identifiers against what had landed when the last developing began; later landings are not its."""
    wanted = _landed_before_the_last_developing(instance)
    rows = []
    for spec in (PROCESSED_IMAGES, QUARANTINED_IMAGES):
        handle = lake.open(spec.name)
        for name, landed in wanted.items():
            developed = lake.identifier(handle, name)
            if developed is None or developed < landed:
                rows.append((spec.name, name, landed, developed))
    return dg.AssetCheckResult(
        asset_key=asset_key(PROCESSED_IMAGES),
        check_name=CAUGHT_UP,
        passed=not rows,
        metadata={
            "partitions": len(wanted),
            "behind": markdown_table(["table", "identifier", "landed to", "developed to"], rows),
        },
    )


def _landed_before_the_last_developing(instance: dg.DagsterInstance) -> dict[str, int]:
    """By identifier; a replay, and a materialization reported by hand, say nothing of it and are passed over."""
    for record in instance.fetch_materializations(
        asset_key(PROCESSED_IMAGES), limit=MATERIALIZATIONS_LOOKED_AT
    ).records:
        stored: Any = record.asset_materialization.metadata.get(LANDED_BEFORE) if record.asset_materialization else None
        if stored is not None:
            return stored.value
    return {}


def share_result(lake: "Lake") -> dg.AssetCheckResult:
    """Quarantine's share of the newest day of twenty records; fewer say nothing, and pass.

    A day of fewer must not hide the one before: anyone's record may say that it is tomorrow's.
    """
    import polars as pl

    quarantine = lake.open(QUARANTINED_IMAGES.name)
    processed = rows_by_day(lake.open(PROCESSED_IMAGES.name))
    records = processed + rows_by_day(quarantine)
    newest = max((day for day, count in records.items() if count >= FEWEST_RECORDS), default=max(records, default=None))
    of_newest = pl.col("day") == pl.lit(newest, pl.Date)
    counted = pl.scan_delta(quarantine).filter(of_newest).group_by("reason").len()
    reasons = dict(lake.collect(counted, QUARANTINED_IMAGES.name).iter_rows())
    good = 0 if newest is None else processed[newest]
    total = good + sum(reasons.values())
    share = sum(reasons.values()) / total if total else 0.0
    return dg.AssetCheckResult(
        asset_key=asset_key(QUARANTINED_IMAGES),
        check_name=SHARE,
        passed=share <= WARN_SHARE or total < FEWEST_RECORDS,
        severity=dg.AssetCheckSeverity.ERROR if share > ERROR_SHARE else dg.AssetCheckSeverity.WARN,
        metadata={
            "share": round(share, 4),
            "records": total,
            "quarantined": sum(reasons.values()),
            "day": str(newest),
            "reasons": bar_chart("quarantined by reason, newest day", {name: float(n) for name, n in reasons.items()}),
        },
    )


CHECKS = (bronze_checks, developed_checks, daily_uploads_schema)
