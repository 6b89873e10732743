"""access/access_policy: the one policy as it stands in PostgreSQL, and the check that finds drift.

A run compares first. Where there is a login to apply with (`policy_dsn`) it then applies, in one transaction; on a
laptop there is none, for the UI has no sign-in, and `darkroom up` applies. What stands there and the policy does not
say is red, and so is what the policy says and is missing.
"""

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.reporting import markdown_table
from resources.dagster_resources import PostgresRolesResource
from resources.pools import POLICY_POOL

ACCESS_POLICY = dg.AssetKey(["access", "access_policy"])
JOB = "access_policy"
SHOWN = 50


@dg.asset(
    key=ACCESS_POLICY,
    group_name="access",
    kinds={"postgres"},
    owners=["team:platform"],
    description="The policy's roles and rights, as compared with PostgreSQL and, where a run may, applied there.",
    pool=POLICY_POOL,
    retry_policy=RETRY,
)
def access_policy(context: dg.AssetExecutionContext, postgres_roles: PostgresRolesResource) -> dg.MaterializeResult:
    """Plan, then apply."""
    with told_to_dagster(context):
        roles = postgres_roles.open()
        planned = roles.drift()
        applied = roles.apply() if postgres_roles.may_apply else ()
        standing = roles.standing()
    counted = sorted({right.role for right in standing.rights})
    held = [(role, sum(right.role == role for right in standing.rights)) for role in counted]
    return dg.MaterializeResult(
        metadata={
            "differences found": len(planned),
            "changes applied": len(applied),
            "changes": markdown_table(["what"], [(change.sentence,) for change in applied[:SHOWN]]),
            "rights": markdown_table(["role", "rights"], held),
        }
    )


@dg.asset_check(
    asset=ACCESS_POLICY,
    name="postgres_as_the_policy_says",
    description="Roles, memberships, rights and session settings in PostgreSQL are those of the policy, and no others.",
    retry_policy=RETRY,
)
def postgres_as_the_policy_says(
    context: dg.AssetCheckExecutionContext, postgres_roles: PostgresRolesResource
) -> dg.AssetCheckResult:
    """Red as soon as one right stands that the policy does not say, or is missing."""
    with told_to_dagster(context):
        drift = postgres_roles.open().drift()
    metadata: dict[str, dg.RawMetadataValue] = {
        "differences": len(drift),
        "drift": markdown_table(["what"], [(one,) for one in drift[:SHOWN]]),
    }
    if drift:
        metadata["what to do"] = "`darkroom up` applies the policy; look first at who made the difference."
    return dg.AssetCheckResult(passed=not drift, metadata=metadata)


access_policy_job = dg.define_asset_job(
    JOB,
    selection=dg.AssetSelection.assets(ACCESS_POLICY),
    description="Compares rights with the policy, and applies it where a run may. Harmless at any time.",
    executor_def=dg.in_process_executor,
    tags={"darkroom/lane": "upkeep", "dagster/max_runtime": "600"},
)
