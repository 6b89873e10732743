"""The assets of one family: a model registered as challenger, compared with the champion, promoted when it is better.

`recognition/NAME` registers a version and moves no champion. The blocking check `better_than_champion` stands between
it and `recognition/NAME/champion`, which moves the alias; whoever materializes the champion alone gets the same
comparison, made anew. Each step may be run by hand at any time: with nothing new to learn, nothing is trained and no
alias moves.
"""

import time
from dataclasses import dataclass
from typing import Any

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.recognition.label_trust import believed
from platform_assets.recognition.names import champion_key, model_key
from platform_assets.reporting import FEWEST_LABELS, bar_chart, markdown_table
from platform_assets.schema import LEARNING, OWNERS, asset_key
from resources.dagster_resources import KeysResource, LakeResource, RegistryResource, SettingsResource
from resources.pools import model_pool
from transforms.families import FAMILIES
from transforms.recognition import CORRECTED_OF, LEARNED_OF, Family
from transforms.tables import TRAINING_SET

BETTER = "better_than_champion"


@dataclass(frozen=True)
class FamilyAssets:
    """What Dagster knows of one family."""

    family: Family
    model: dg.AssetsDefinition
    checks: tuple[dg.AssetChecksDefinition, ...]
    """What a challenger has to pass."""
    champion: dg.AssetsDefinition


def family_assets(family: Family) -> FamilyAssets:
    """Model, blocking checks and champion of a family."""
    checks = (_better(family), *((believed(family),) if family.take is not None else ()))
    return FamilyAssets(family, _model(family), checks, _champion(family))


def _spec(key: dg.AssetKey, deps: list[dg.AssetKey], description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        deps=deps,
        description=description,
        group_name="recognition",
        owners=list(OWNERS),
        kinds={"mlflow"},
        tags=dict(LEARNING),
    )


def _model(family: Family) -> dg.AssetsDefinition:
    deps = [asset_key(TRAINING_SET)] if family.take is not None else []
    described = f"The model {family.name}, registered in MLflow as challenger."

    @dg.multi_asset(
        name=family.name,
        specs=[_spec(model_key(family), deps, described)],
        pool=model_pool(family),
        retry_policy=RETRY,
    )
    def model(
        context: dg.AssetExecutionContext, lake: LakeResource, learning_keys: KeysResource, registry: RegistryResource
    ) -> dg.MaterializeResult:
        """Train on the training split, and register what was learned, unless it was learned already."""
        from resources.learning import train_challenger
        from resources.training_set import read_training_set

        started = time.monotonic()
        with told_to_dagster(context):
            rows = read_training_set(lake.open(), learning_keys.open(), family)
            done = train_challenger(registry.open(), rows, family, context.run.run_id)
        told: dict[str, Any] = {
            "version": done.version.version,
            "newly trained": done.new,
            "manifest": rows.manifest,
            "labelled images": len(rows.ids),
            "corrected labels": len(rows.corrected),
        }
        # By class only where there are many: the event log lives for ever, and a label is an uploader's word.
        if done.test is not None and done.validation is not None and len(rows.ids) >= FEWEST_LABELS:
            recall = {label: round(score.recall, 4) for label, score in done.test.classes.items()}
            told |= {
                "accuracy on the test split": round(done.test.accuracy, 4),
                "accuracy on the validation split": round(done.validation.accuracy, 4),
                "confusion on the test split": markdown_table(
                    ["truth", *done.test.labels],
                    [(label, *counts) for label, counts in zip(done.test.labels, done.test.confusion, strict=True)],
                ),
                "recall by class": bar_chart("recall on the test split", recall),
            }
        context.log.info("version %s, %s", done.version.version, "newly trained" if done.new else "nothing to learn")
        return dg.MaterializeResult(
            asset_key=model_key(family),
            metadata={**told, "seconds": round(time.monotonic() - started, 3)},
            data_version=dg.DataVersion(done.version.version),
        )

    return model


def _better(family: Family) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=model_key(family),
        name=BETTER,
        blocking=True,
        retry_policy=RETRY,
        description="On the same test split the challenger names more images right than the champion, and enough of "
        "them; or it is the champion.",
    )
    def better_than_champion(
        context: dg.AssetCheckExecutionContext,
        settings: SettingsResource,
        lake: LakeResource,
        learning_keys: KeysResource,
        registry: RegistryResource,
    ) -> dg.AssetCheckResult:
        """Both models on the test split as it is now."""
        from resources.learning import compare
        from resources.training_set import read_training_set

        floor = settings.load().recognition_floor
        with told_to_dagster(context):
            verdict = compare(
                registry.open(), read_training_set(lake.open(), learning_keys.open(), family), family, floor
            )
        numbers = {
            "challenger": verdict.challenger.version if verdict.challenger else "none",
            "champion": verdict.champion.version if verdict.champion else "none",
            "challenger's right": verdict.right,
            "champion's right": verdict.champion_right,
        }
        return dg.AssetCheckResult(
            asset_key=model_key(family),
            check_name=BETTER,
            passed=verdict.passed,
            description=verdict.sentence,
            metadata={
                "test rows": verdict.rows,
                "floor": floor,
                **{name: value for name, value in numbers.items() if value is not None},
            },
        )

    return better_than_champion


def _champion(family: Family) -> dg.AssetsDefinition:
    described = f"The version of {family.name} that names images: MLflow's alias champion."

    @dg.multi_asset(
        name=f"{family.name}_champion",
        specs=[_spec(champion_key(family), [model_key(family)], described)],
        pool=model_pool(family),
        retry_policy=RETRY,
    )
    def champion(
        context: dg.AssetExecutionContext,
        settings: SettingsResource,
        lake: LakeResource,
        learning_keys: KeysResource,
        registry: RegistryResource,
    ) -> dg.MaterializeResult:
        """Compare once more, and move the alias only where the challenger is better."""
        from resources.label_trust import examine, read_verdicts, stop_unless_believed, trusted_by_a_person
        from resources.learning import CORRECTED, LABELLED, compare, promote
        from resources.training_set import read_training_set

        with told_to_dagster(context):
            models, tables, loaded = registry.open(), lake.open(), settings.load()
            rows = read_training_set(tables, learning_keys.open(), family)
            if family.take is not None:
                trusted = trusted_by_a_person(read_verdicts(tables))
                stop_unless_believed(examine(models, rows, family, loaded.recognition_distrust, trusted))
            verdict = compare(models, rows, family, loaded.recognition_floor)
            now = promote(models, verdict, f"run {context.run.run_id}")
        version = now.version if now is not None else "none"
        context.log.info("version %s is champion. %s", version, verdict.sentence)
        return dg.MaterializeResult(
            asset_key=champion_key(family),
            metadata={
                "version": version,
                "promoted now": verdict.promotes,
                "why": verdict.sentence,
                "accuracy on the test split": round((verdict.right or 0) / (verdict.rows or 1), 4),
                "test rows": verdict.rows,
                LEARNED_OF: int(now.tags.get(LABELLED, 0)) if now is not None else 0,
                CORRECTED_OF: int(now.tags.get(CORRECTED, 0)) if now is not None else 0,
            },
            data_version=dg.DataVersion(version),
        )

    return champion


ALL = tuple(family_assets(family) for family in FAMILIES)
"""One call a family: whoever adds one to `transforms.families` finds its assets here."""
