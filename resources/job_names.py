"""The names of Dagster's jobs, for who defines one, asks for it or waits for it.

Here and not beside the jobs, so that sensors and the command name them without loading them.
"""

LIVE_JOB = "live_images"
LAND_JOB = "land_messages"
REPLAY_JOB = "replay_quarantine"
BACKFILL_JOB = "redevelop_days"
RECOGNISE_JOB = "recognise_images"
SHOP_JOB = "refresh_shop"
UPKEEP_JOB = "upkeep_tables"
PURGE_JOB = "purge_days"
REBUILD_JOB = "rebuild_status"
ACCESS_JOB = "access_policy"


def train_job_name(model: str) -> str:
    """The job that trains a model, promotes it and names images by it."""
    return f"train_{model}"
