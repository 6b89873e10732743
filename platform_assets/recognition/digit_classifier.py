"""The digits' model: trained and registered as challenger, compared with the champion, and promoted when it is better.

`digit_classifier` registers a version and moves no champion. The blocking check `better_than_champion` stands between
it and `champion`, which moves the alias; whoever materializes `champion` alone gets the same comparison, made anew.
Each step may be run by hand at any time: with nothing new to learn, nothing is trained and no alias moves.
"""

import time
from typing import Any

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.reporting import FEWEST_LABELS, bar_chart, markdown_table
from platform_assets.schema import LEARNING, OWNERS, asset_key
from resources.dagster_resources import KeysResource, LakeResource, RegistryResource, SettingsResource
from transforms.recognition import DIGITS
from transforms.tables import TRAINING_SET

MODEL = dg.AssetKey(["recognition", DIGITS.name])
CHAMPION_KEY = dg.AssetKey(["recognition", "champion"])
BETTER = "better_than_champion"
POOL = MODEL.to_user_string()
"""Whoever registers a model or moves an alias holds a slot of it."""
LABELLED_THEN = "labelled images it learned of"
CORRECTED_THEN = "corrected labels it learned of"


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


@dg.multi_asset(
    name=DIGITS.name,
    specs=[_spec(MODEL, [asset_key(TRAINING_SET)], "The model that names digits, registered in MLflow as challenger.")],
    pool=POOL,
    retry_policy=RETRY,
)
def digit_classifier(
    context: dg.AssetExecutionContext, lake: LakeResource, keys: KeysResource, registry: RegistryResource
) -> dg.MaterializeResult:
    """Train on the training split, and register what was learned, unless it was learned already."""
    from resources.learning import train_challenger
    from resources.training_set import read_training_set

    started = time.monotonic()
    with told_to_dagster(context):
        rows = read_training_set(lake.open(), keys.open())
        done = train_challenger(registry.open(), rows, DIGITS, context.run.run_id)
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
    context.log.info("version %s, %s", done.version.version, "newly trained" if done.new else "nothing new to learn")
    return dg.MaterializeResult(
        asset_key=MODEL,
        metadata={**told, "seconds": round(time.monotonic() - started, 3)},
        data_version=dg.DataVersion(done.version.version),
    )


@dg.asset_check(
    asset=MODEL,
    name=BETTER,
    blocking=True,
    retry_policy=RETRY,
    description="On the same test split the challenger names more images right than the champion, and enough of them; "
    "or it is the champion.",
)
def better_than_champion(
    context: dg.AssetCheckExecutionContext,
    settings: SettingsResource,
    lake: LakeResource,
    keys: KeysResource,
    registry: RegistryResource,
) -> dg.AssetCheckResult:
    """Both models on the test split as it is now."""
    from resources.learning import compare
    from resources.training_set import read_training_set

    floor = settings.load().recognition_floor
    with told_to_dagster(context):
        verdict = compare(registry.open(), read_training_set(lake.open(), keys.open()), DIGITS, floor)
    numbers = {
        "challenger": verdict.challenger.version if verdict.challenger else "none",
        "champion": verdict.champion.version if verdict.champion else "none",
        "challenger's right": verdict.right,
        "champion's right": verdict.champion_right,
    }
    return dg.AssetCheckResult(
        asset_key=MODEL,
        check_name=BETTER,
        passed=verdict.passed,
        description=verdict.sentence,
        metadata={
            "test rows": verdict.rows,
            "floor": floor,
            **{name: value for name, value in numbers.items() if value is not None},
        },
    )


@dg.multi_asset(
    name="champion",
    specs=[
        _spec(CHAMPION_KEY, [MODEL], "The version of the digits' model that names images: MLflow's alias champion.")
    ],
    pool=POOL,
    retry_policy=RETRY,
)
def champion(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    lake: LakeResource,
    keys: KeysResource,
    registry: RegistryResource,
) -> dg.MaterializeResult:
    """Compare once more, and move the alias only where the challenger is better."""
    from resources.label_trust import examine, read_verdicts, stop_unless_believed, trusted_by_a_person
    from resources.learning import CORRECTED, LABELLED, compare, promote
    from resources.training_set import read_training_set

    with told_to_dagster(context):
        models, tables, loaded = registry.open(), lake.open(), settings.load()
        rows = read_training_set(tables, keys.open())
        trusted = trusted_by_a_person(read_verdicts(tables))
        stop_unless_believed(examine(models, rows, DIGITS, loaded.recognition_distrust, trusted))
        verdict = compare(models, rows, DIGITS, loaded.recognition_floor)
        now = promote(models, verdict, f"run {context.run.run_id}")
    version = now.version if now is not None else "none"
    context.log.info("version %s is champion. %s", version, verdict.sentence)
    return dg.MaterializeResult(
        asset_key=CHAMPION_KEY,
        metadata={
            "version": version,
            "promoted now": verdict.promotes,
            "why": verdict.sentence,
            "accuracy on the test split": round((verdict.right or 0) / (verdict.rows or 1), 4),
            "test rows": verdict.rows,
            LABELLED_THEN: int(now.tags.get(LABELLED, 0)) if now is not None else 0,
            CORRECTED_THEN: int(now.tags.get(CORRECTED, 0)) if now is not None else 0,
        },
        data_version=dg.DataVersion(version),
    )
