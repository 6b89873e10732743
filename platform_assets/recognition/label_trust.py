"""Whose labels are believed: an asset that notes whom a model contradicts, and checks that stop promotion by them.

Every family that takes labels judges its own rows of the training set.

Pseudonyms in clear may stand here, for they say nothing after their day; they are shown only where one is named.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.images.preview import delta_facts
from platform_assets.recognition.names import model_key
from platform_assets.reporting import markdown_table
from platform_assets.schema import LEARNING, asset_key, pool, table_asset
from platform_assets.table_checks import table_checks
from resources.dagster_resources import KeysResource, LakeResource, RegistryResource, SettingsResource
from transforms.families import FAMILIES
from transforms.recognition import Family
from transforms.tables import LABEL_TRUST, TRAINING_SET

if TYPE_CHECKING:
    from resources.key_protocol import Keys
    from resources.label_trust import Examination
    from resources.lake import Lake
    from resources.registry import Registry

BELIEVED = "labels_are_believed"
FRESH_HOURS = 48
"""Judged at every training."""


def examined(lake: "Lake", keys: "Keys", registry: "Registry", family: Family, threshold: float) -> "Examination":
    """What a family learns from as it stands, judged now."""
    from resources.label_trust import examine, read_verdicts, trusted_by_a_person
    from resources.training_set import read_training_set

    trusted = trusted_by_a_person(read_verdicts(lake))
    return examine(registry, read_training_set(lake, keys, family), family, threshold, trusted)


@dg.multi_asset(
    name="label_trust",
    specs=[table_asset(LABEL_TRUST, deps=[asset_key(TRAINING_SET)], tags=LEARNING, fresh_hours=FRESH_HOURS)],
    pool=pool(LABEL_TRUST),
    retry_policy=RETRY,
)
def label_trust(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    lake: LakeResource,
    learning_keys: KeysResource,
    registry: RegistryResource,
) -> dg.MaterializeResult:
    """Judge the labels of the training set by uploader, and note who stands out."""
    from resources.label_trust import record_suspects

    with told_to_dagster(context):
        tables, threshold, told = lake.open(), settings.load().recognition_distrust, {}
        for family in (one for one in FAMILIES if one.take is not None):
            found = examined(tables, learning_keys.open(), registry.open(), family, threshold)
            made = record_suspects(tables, found, f"run {context.run.run_id}", datetime.now(UTC))
            told |= {
                f"{family.name}: judge": found.judge or "none",
                f"{family.name}: uploaders": len(found.judgement.tallies),
                f"{family.name}: newly distrusted": len(made),
            }
            said = "%s: %d uploaders judged, %d newly distrusted"
            context.log.info(said, family.name, len(found.judgement.tallies), len(made))
        facts, version = delta_facts(tables, LABEL_TRUST)
    return dg.MaterializeResult(
        asset_key=asset_key(LABEL_TRUST),
        metadata={**told, **facts},
        data_version=dg.DataVersion(version),
    )


label_trust_checks = table_checks(LABEL_TRUST, unique=("day", "pseudonym", "decided_at"))


def believed(family: Family) -> dg.AssetChecksDefinition:
    """The blocking check of a family that takes labels."""

    @dg.asset_check(
        asset=model_key(family),
        name=BELIEVED,
        blocking=True,
        retry_policy=RETRY,
        description="No uploader's labels in the training set are contradicted by the champion, or where there is none "
        "by the other uploaders', beyond recognition_distrust.",
    )
    def labels_are_believed(
        context: dg.AssetCheckExecutionContext,
        settings: SettingsResource,
        lake: LakeResource,
        learning_keys: KeysResource,
        registry: RegistryResource,
    ) -> dg.AssetCheckResult:
        """The labels that the challenger learned from, judged by uploader."""
        threshold = settings.load().recognition_distrust
        with told_to_dagster(context):
            found = examined(lake.open(), learning_keys.open(), registry.open(), family, threshold)
        told = [
            (one.pseudonym, str(one.day), tally.rows, tally.contradicted, round(tally.share, 3))
            for one in (*found.judgement.suspects, *found.judgement.undecided)
            for tally in [found.judgement.tallies[one]]
        ]
        return dg.AssetCheckResult(
            asset_key=model_key(family),
            check_name=BELIEVED,
            passed=found.passed,
            description=found.sentence,
            metadata={
                "judge": found.judge or "none",
                "uploaders": len(found.judgement.tallies),
                "threshold": threshold,
                "contradicted": markdown_table(["pseudonym", "day", "labels", "contradicted", "share"], told),
            },
        )

    return labels_are_believed
