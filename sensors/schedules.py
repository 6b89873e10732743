"""What the clock wakes, hourly: upkeep of the tables and the shop, comparing rights with the policy, and the purge.

They run at seven minutes past, away from the full hour, when topic segments roll and days begin.
"""

import dagster as dg

UPKEEP_JOB = "upkeep_tables"
ACCESS_JOB = "access_policy"
PURGE_JOB = "purge_days"
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

hourly_access = dg.ScheduleDefinition(
    name="hourly_access",
    job_name=ACCESS_JOB,
    cron_schedule="52 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Compares rights with the policy at every enforcement point; a check is red where they drifted.",
)

hourly_purge = dg.ScheduleDefinition(
    name="hourly_purge",
    job_name=PURGE_JOB,
    cron_schedule="22 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Purges the days that are over. Hourly, so that one that failed, or was held, goes within the hour.",
)
