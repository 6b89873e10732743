"""Wakes the shop's assets when items or sales changed in PostgreSQL.

A tick asks the database what its record of changes holds that the table of events does not, and whether sales moved
since a run was last asked for; it reads numbers and no rows. At most one run a minute. Changes that a transaction left
open holds back are said and not asked for: a run could not take them. A table that cannot be gone on with (another
database, or an earlier state of it) makes one run, which fails with the sentence that says what to do.
"""

import hashlib
import json
import time
from datetime import UTC, datetime

import dagster as dg

from resources.dagster_resources import LakeResource, ShopResource
from resources.failures import PermanentFailure, PlatformFailure, first_line
from resources.job_names import SHOP_JOB
from sensors.asking import turn

SALES = ("members", "sales", "sales_details")


@dg.sensor(
    job_name=SHOP_JOB,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for a run when items or sales changed in the shop's database.",
)
def shop_changes(context: dg.SensorEvaluationContext, shop: ShopResource, lake: LakeResource) -> dg.SensorResult:
    """One tick. The cursor holds the sales' marks of the run last asked for, and those last observed."""
    from resources.shop_capture import waiting
    from resources.shop_reading import counts, snapshot

    cursor = json.loads(context.cursor or "{}")
    now = turn(context.instance, SHOP_JOB, time.time())
    try:
        with snapshot(shop.dsn(), "Counting the shop's rows") as connection:
            found = counts(connection)
        items = waiting(shop.dsn(), lake.open())
    except PermanentFailure as failure:
        said = first_line(failure)
        key = f"refused-{hashlib.sha256(said.encode()).hexdigest()[:16]}"
        return dg.SensorResult(
            run_requests=[dg.RunRequest(run_key=key, tags={"darkroom/why": said[:200]})], cursor=context.cursor
        )
    except PlatformFailure as failure:
        return dg.SensorResult(skip_reason=first_line(failure), cursor=context.cursor)
    seen = {table: mark for table, (_, mark) in found.items()}
    events = [
        dg.AssetObservation(dg.AssetKey(["shop", table]), metadata={"dagster/row_count": rows, "last change": mark})
        for table, (rows, mark) in found.items()
        if cursor.get("observed", {}).get(table) != mark
    ]
    asked = cursor.get("asked", {})
    sales = {table: seen[table] for table in SALES}
    why = [f"{items.ready} changes of items"] if items.ready else []
    why += [f"changes of {table}" for table, mark in sales.items() if asked.get(table, "0") != mark]
    request = bool(why) and now.wait is None
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=now.run_key, tags={"darkroom/why": ", ".join(why)})] if request else [],
        skip_reason=None if request else now.wait or _idle(items.held_back, items.since, datetime.now(UTC)),
        cursor=json.dumps({"asked": sales if request else asked, "observed": seen}),
        asset_events=events,
    )


def _idle(held: int, since: datetime | None, now: datetime) -> str:
    if not held or since is None:
        return "nothing new: captured up to the database's last change"
    minutes = (now - since).total_seconds() / 60
    return f"{held} changes are held back by a transaction that is open; the first was made {minutes:.0f} minutes ago"
