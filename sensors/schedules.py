"""What the clock wakes: upkeep of the tables and the shop, and comparing rights with the policy, hourly.

They run at seven minutes past, away from the full hour, when topic segments roll and days begin.
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

hourly_access = dg.ScheduleDefinition(
    name="hourly_access",
    job_name=ACCESS_JOB,
    cron_schedule="52 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Compares rights with the policy at every enforcement point; a check is red where they drifted.",
)
