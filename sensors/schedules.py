"""What the clock wakes: upkeep of the tables and the shop, hourly; comparing rights with the policy, nightly.

It runs at seven minutes past, away from the full hour, when topic segments roll and days begin.
"""

import dagster as dg

UPKEEP_JOB = "upkeep_tables"
ACCESS_JOB = "access_policy"
SHOP_JOB = "refresh_shop"

hourly_upkeep = dg.ScheduleDefinition(
    name="hourly_upkeep",
    job_name=UPKEEP_JOB,
    cron_schedule="7 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Compacts small files, writes checkpoints, and removes files and log entries that nobody needs.",
)

hourly_shop = dg.ScheduleDefinition(
    name="hourly_shop",
    job_name=SHOP_JOB,
    cron_schedule="37 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Brings the shop's tables up to date and checks them, also where no change was noticed.",
)

nightly_access = dg.ScheduleDefinition(
    name="nightly_access",
    job_name=ACCESS_JOB,
    cron_schedule="23 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Compares roles and rights in PostgreSQL with the policy; the check is red when they drifted.",
)
