"""What the clock wakes: upkeep of the tables, hourly.

It runs at seven minutes past, away from the full hour, when topic segments roll and days begin.
"""

import dagster as dg

UPKEEP_JOB = "upkeep_tables"

hourly_upkeep = dg.ScheduleDefinition(
    name="hourly_upkeep",
    job_name=UPKEEP_JOB,
    cron_schedule="7 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Compacts small files, writes checkpoints, and removes files and log entries that nobody needs.",
)
