"""Settings of PostgreSQL: a connection for each role that a process has."""

from __future__ import annotations

from pydantic import BaseModel, Field

from resources.job_names import REBUILD_JOB


class DatabaseSettings(BaseModel):
    """A part of `resources.settings.Settings`."""

    postgres_dsn: str = Field(
        default="",
        description="libpq connection string of the platform's database. Wrong: status questions answer 503; images "
        f"are still taken, and their state is filled in by developing, or by the job {REBUILD_JOB}.",
    )
    shop_dsn: str = Field(
        default="",
        description="libpq connection string of the shop's database, as the role of the shop's assets. Wrong: the "
        "shop's assets and the check of rights fail with a sentence that names the address.",
    )
    policy_dsn: str = Field(
        default="",
        description="libpq connection string of the role that applies the policy in PostgreSQL. Empty: the asset of "
        "the policy only compares, and `darkroom up` applies; set, whoever may start runs may have it applied. A wrong "
        "one: the asset's runs fail with a sentence, and nothing is changed.",
    )
