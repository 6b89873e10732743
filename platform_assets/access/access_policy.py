"""access/access_policy: the one policy as it stands at each enforcement point, and the checks that find drift.

A run compares. Where there is a login to apply with (`policy_dsn`) it first puts PostgreSQL to the policy, in one
transaction; on a laptop there is none, and `darkroom access apply` does it. What stands at a point and the policy does
not give is red, and so is what it gives and is missing, and so is a point that does not answer: each is a check of its
own, and says what mends it.
"""

from collections.abc import Iterator, Mapping

import dagster as dg

from access.points import POINTS, PointName
from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.reporting import markdown_table
from resources.dagster_resources import EnforcementResource
from resources.failures import PlatformFailure
from resources.job_names import ACCESS_JOB
from resources.pools import POLICY_POOL

ACCESS_POLICY = dg.AssetKey(["access", "access_policy"])
SHOWN = 50
CHECKS: Mapping[PointName, str] = {
    "postgres": "postgres_as_the_policy_says",
    "logins": "logins_as_the_directory_says",
    "kafka": "kafka_as_the_policy_says",
    "gateway": "gateway_runs_with_the_policy",
    "dagster": "pages_run_with_the_policy",
}


@dg.asset(
    key=ACCESS_POLICY,
    group_name="access",
    kinds={"postgres", "kafka", "envoy"},
    owners=["team:platform"],
    description="The policy's rights, as compared with what stands where they are enforced and, where a run may, "
    "applied there.",
    pool=POLICY_POOL,
    retry_policy=RETRY,
)
def access_policy(context: dg.AssetExecutionContext, enforcement: EnforcementResource) -> dg.MaterializeResult:
    """Plan, then apply."""
    with told_to_dagster(context):
        found = {name: found for name, found in enforcement.compare() if not isinstance(found, PlatformFailure)}
        applied = enforcement.apply()
        held = enforcement.held()
    return dg.MaterializeResult(
        metadata={
            "policy": enforcement.digest(),
            "points compared": len(found),
            "differences found": sum(len(one) for one in found.values()),
            "changes applied": len(applied),
            "changes": markdown_table(["what"], [(sentence,) for sentence in applied[:SHOWN]]),
            "rights": markdown_table(["who", "where", "rights"], held),
        }
    )


@dg.multi_asset_check(
    name="access_policy_checks",
    specs=[
        dg.AssetCheckSpec(CHECKS[point], asset=ACCESS_POLICY, description=description)
        for point, description in POINTS.items()
    ],
    retry_policy=RETRY,
)
def access_policy_checks(
    context: dg.AssetCheckExecutionContext, enforcement: EnforcementResource
) -> Iterator[dg.AssetCheckResult]:
    """Red as soon as one right stands that the policy does not give, or is missing; one point hides no other."""
    with told_to_dagster(context):
        compared = dict(enforcement.compare())
    for point, check in CHECKS.items():
        found = compared.get(point)
        metadata: dict[str, dg.RawMetadataValue] = {}
        if found is None:
            metadata["not compared"] = f"The settings of this process reach no {point}."
        elif isinstance(found, PlatformFailure):
            metadata["away"] = str(found)
        else:
            metadata |= {
                "differences": len(found),
                "drift": markdown_table(["what"], [(one,) for one in found[:SHOWN]]),
            }
            if found:
                metadata["what to do"] = "Look first at who made the difference; `darkroom access apply` mends it."
        yield dg.AssetCheckResult(
            passed=found is None or found == [], asset_key=ACCESS_POLICY, check_name=check, metadata=metadata
        )


access_policy_job = dg.define_asset_job(
    ACCESS_JOB,
    selection=dg.AssetSelection.assets(ACCESS_POLICY),
    description="Compares rights with the policy at every point, and applies it where a run may. Harmless at any time.",
    executor_def=dg.in_process_executor,
    tags={"darkroom/lane": "upkeep", "dagster/max_runtime": "600"},
)
