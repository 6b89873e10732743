"""From a training set to a champion: train a challenger, compare the two, move the alias.

Three steps that can each be killed and run again. Training registers a version under the alias `challenger` and touches
no champion. Comparing scores both files on the same rows, the test split as it is now: figures that were noted when the
champion was trained are of another set, and are not compared. Promoting takes a fresh verdict and not a memory of one,
so that nothing unproven is promoted by whoever runs that step alone.

A set that was learned from already is not learned again: training is deterministic, and would give the same model. A
champion whose file is gone or broken, or takes other features, cannot score, so it is no obstacle. What a person has
taken back (`darkroom models rollback`) does not become champion again by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from resources.failures import PermanentFailure
from resources.registry import CHALLENGER, CHAMPION, Learned, ModelBroken, ModelMissing, Registry, Version
from resources.training_set import TrainingRows
from transforms.features import COUNT, RECIPE
from transforms.model_report import confusion_png, model_card
from transforms.onnx_models import ModelRefused, Scorer, export
from transforms.recognition import SPLITS, CannotLearn, Evaluation, Family, NothingToLearn, evaluate, train

MANIFEST, FIT, FEATURES = "darkroom.manifest", "darkroom.recipe", "darkroom.features"
LABELLED, RUN = "darkroom.labelled_images", "darkroom.dagster_run"


class CannotTrain(PermanentFailure):
    """No model can be made of this training set; the cause is a `transforms.recognition.CannotLearn`."""


class NotPromoted(PermanentFailure):
    """The challenger is not better than the champion on the same rows, or below the floor; the champion stays."""


@dataclass(frozen=True)
class Training:
    """What training did. `test` and `validation` are None where the set had been learned from already (`new` false)."""

    version: Version
    new: bool
    test: Evaluation | None = None
    validation: Evaluation | None = None


@dataclass(frozen=True)
class Verdict:
    """Challenger against champion on the same test split.

    Attributes:
        challenger, champion: the versions; None where there is none.
        rows: of the test split.
        right, champion_right: of them, named right; None where there is no such model, or it cannot score.
        passed: whether the challenger is, or may become, the champion.
        sentence: why, or why not.
    """

    challenger: Version | None
    champion: Version | None
    rows: int
    right: int | None
    champion_right: int | None
    passed: bool
    sentence: str

    @property
    def promotes(self) -> bool:
        """Whether there is an alias to move."""
        there = None if self.champion is None else self.champion.version
        return self.passed and self.challenger is not None and self.challenger.version != there


def train_challenger(registry: Registry, rows: TrainingRows, family: Family, run_id: str) -> Training:
    """Train on the training split and register the model as `challenger`.

    Args:
        run_id: of the Dagster run, noted at the version.

    Raises:
        CannotTrain: no rows, no rows to test on, or one class only.
        TransientFailure: MLflow is away; whatever was registered is pointed to by nobody.
    """
    marks = {MANIFEST: rows.manifest, FIT: family.recipe, FEATURES: RECIPE}
    for alias in (CHAMPION, CHALLENGER):
        known = registry.at(family.name, alias)
        # One whose file is gone or broken is made anew, from the same set too.
        if (
            known is not None
            and all(known.tags.get(name) == value for name, value in marks.items())
            and _scorer(registry, known) is not None
        ):
            if CHALLENGER not in known.aliases:
                known = registry.move(known, CHALLENGER, who=f"run {run_id}", why="it learned from this very set")
            return Training(known, new=False)
    try:
        features, labels = rows.of(SPLITS[0])
        fitted = train(family, features, labels)
        if not rows.of(SPLITS[2])[1]:
            raise NothingToLearn(
                f"The training set of {family.name} has {len(labels)} rows to learn from, and none to test on.",
                rows=len(labels),
            )
    except CannotLearn as error:
        raise CannotTrain(str(error), {"why": type(error).__name__, **error.facts}) from error
    file = export(fitted, RECIPE, COUNT)
    scorer = Scorer(file, RECIPE, COUNT)
    validation, test = (_evaluated(scorer, rows, split, family) for split in SPLITS[1:])
    counts = rows.counts()
    by_class = [(label, *(counts[(split, label)] for split in SPLITS)) for label in family.labels]
    facts: Mapping[str, object] = {
        "fitted": family.recipe,
        "features": f"{RECIPE}, {COUNT} numbers",
        "manifest of the training set": rows.manifest,
        "Dagster run": run_id,
    }
    card = model_card(family.name, facts, test, validation, by_class, own=family.examples is not None)
    version = registry.register(
        Learned(
            model=family.name,
            onnx=file,
            parameters={
                "recipe": family.recipe,
                "features": RECIPE,
                "numbers": str(COUNT),
                "manifest": rows.manifest,
                **{f"rows_{split}": str(sum(counts[(split, one)] for one in family.labels)) for split in SPLITS},
            },
            metrics={
                "test_accuracy": test.accuracy,
                "validation_accuracy": validation.accuracy,
                **{f"test_recall_{label}": score.recall for label, score in test.classes.items()},
            },
            tags={**marks, RUN: run_id, LABELLED: str(len(rows.ids))},
            pictures={"confusion_matrix.png": confusion_png(test, f"{family.name}, test split")},
            texts={"model_card.md": card},
            description=card,
        )
    )
    return Training(version, new=True, test=test, validation=validation)


def compare(registry: Registry, rows: TrainingRows, family: Family, floor: float) -> Verdict:
    """Score challenger and champion on the test split as it is now.

    Args:
        floor: accuracy that any champion must have.

    Raises:
        TransientFailure: MLflow is away.
    """
    challenger, champion = registry.at(family.name, CHALLENGER), registry.at(family.name, CHAMPION)
    _, labels = rows.of(SPLITS[2])

    def verdict(right: int | None, champion_right: int | None, passed: bool, sentence: str) -> Verdict:
        return Verdict(challenger, champion, len(labels), right, champion_right, passed, sentence)

    if challenger is None:
        return verdict(None, None, True, f"There is no challenger of {family.name}: nothing is compared.")
    if not labels:
        return verdict(None, None, False, "The test split is empty: nothing can be compared, and the champion stays.")
    right = right_of(registry, challenger, rows, family)
    if right is None:
        return verdict(
            None, None, False, f"The file of version {challenger.version} is gone, broken or of other features."
        )
    if champion is not None and champion.version == challenger.version:
        return verdict(right, right, True, f"Version {champion.version} is the champion, and learned from this set.")
    if right < floor * len(labels):
        said = f"Version {challenger.version} names {right} of {len(labels)} right, below the floor of {floor:g}."
        return verdict(right, None, False, said)
    if champion is None:
        return verdict(right, None, True, f"There is no champion, and version {challenger.version} is above the floor.")
    moves = [move for move in champion.moves if move["alias"] == CHAMPION]
    if moves and moves[-1]["before"] == challenger.version:
        said = f"{moves[-1]['who']} put version {champion.version} in the place of version {challenger.version}"
        return verdict(right, None, False, f"{said} ({moves[-1]['why']}); it is not put back without a person.")
    before = right_of(registry, champion, rows, family)
    if before is None:
        return verdict(right, None, True, f"Version {champion.version}, the champion, cannot score any more.")
    better = right > before
    said = (
        f"Version {challenger.version} names {right} of {len(labels)} right, the champion (version {champion.version})"
    )
    return verdict(right, before, better, f"{said} {before}: {'better' if better else 'not better, so it stays'}.")


def promote(registry: Registry, verdict: Verdict, who: str) -> Version | None:
    """Move the alias `champion` to the challenger of a verdict, where that says so; returns the champion.

    Raises:
        NotPromoted: the challenger is not to become champion.
    """
    if not verdict.passed:
        raise NotPromoted(f"Nothing was promoted. {verdict.sentence}", {"rows": verdict.rows})
    if not verdict.promotes or verdict.challenger is None:
        return verdict.champion
    return registry.move(verdict.challenger, CHAMPION, who=who, why=verdict.sentence)


def _evaluated(scorer: Scorer, rows: TrainingRows, split: str, family: Family) -> Evaluation:
    features, labels = rows.of(split)
    return evaluate(labels, scorer.score(features).labels, family.labels)


def right_of(registry: Registry, version: Version, rows: TrainingRows, family: Family) -> int | None:
    """How many rows of the test split a version names right; None where it cannot score."""
    scorer = _scorer(registry, version)
    return None if scorer is None else _evaluated(scorer, rows, SPLITS[2], family).right


def _scorer(registry: Registry, version: Version) -> Scorer | None:
    try:
        return Scorer(registry.load(version), RECIPE, COUNT)
    except (ModelMissing, ModelBroken, ModelRefused):
        return None
