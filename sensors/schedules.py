"""What the clock wakes, hourly: upkeep of the tables and the shop, comparing rights with the policy, and the purge.

They run apart from each other, and away from the full hour, when topic segments roll and days begin.
"""

import dagster as dg

from resources.job_names import ACCESS_JOB, PURGE_JOB, SHOP_JOB, UPKEEP_JOB


def _hourly(name: str, job: str, minute: int, description: str) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=name,
        job_name=job,
        cron_schedule=f"{minute} * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )


hourly_upkeep = _hourly(
    "hourly_upkeep",
    UPKEEP_JOB,
    7,
    "Compacts small files, writes checkpoints, and removes files and log entries that nobody needs.",
)

hourly_purge = _hourly(
    "hourly_purge",
    PURGE_JOB,
    22,
    "Purges the days that are over. Hourly, so that one that failed, or was held, goes within the hour.",
)

hourly_shop = _hourly(
    "hourly_shop",
    SHOP_JOB,
    37,
    "Brings the shop's tables up to date and checks them, also where no change was noticed.",
)

hourly_access = _hourly(
    "hourly_access",
    ACCESS_JOB,
    52,
    "Compares rights with the policy at every enforcement point; a check is red where they drifted.",
)
