"""Whose labels are believed: uploaders judged by a model, and the verdicts that stand, in recognition/label_trust.

The champion judges, where there is one that can score; else models that learned from the other uploaders' rows
(`transforms.disagreement`). An uploader is a pseudonym of one day, as the name of every data key has it in clear; who
that is stands sealed in the images' rows, and only a person's command opens it (`darkroom labels who`).

A verdict is a row, the newest of an uploader counts, and a person's may overrule a run's. Rows of an uploader who is
distrusted are left out of the next training set; while they stand in the one at hand, nothing is promoted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import polars as pl
import pyarrow as pa

from resources.failures import PermanentFailure
from resources.key_protocol import Keys
from resources.lake import Lake, TableMissing
from resources.learning import NotPromoted
from resources.registry import CHAMPION, ModelBroken, ModelMissing, Registry
from resources.sealed_rows import SealedRows
from resources.training_set import TrainingRows, Uploader, uploader_of
from transforms.disagreement import Judgement, Opinion, Tally, judge, opinion_of_others
from transforms.features import COUNT, RECIPE
from transforms.names import shown
from transforms.onnx_models import ModelRefused, Scorer
from transforms.recognition import Family
from transforms.tables import LABEL_TRUST, PROCESSED_IMAGES

OTHERS = "the other uploaders"
QUORUM_OF_OTHERS = 3


@dataclass(frozen=True)
class Verdict:
    """What was decided of one uploader, and by what figures. A person's verdict may have none (rows 0)."""

    uploader: Uploader
    trusted: bool
    rows: int
    contradicted: int
    judge: str
    who: str
    why: str
    decided_at: datetime


@dataclass(frozen=True)
class Examination:
    """What a judge found in one training set. `judge` is None where nobody could judge."""

    judge: str | None
    judgement: Judgement[Uploader]

    @property
    def passed(self) -> bool:
        """Whether the labels may be learned from."""
        return not self.judgement.suspects and not self.judgement.undecided

    @property
    def sentence(self) -> str:
        """Why, or why not, and what a person can do."""
        found, tallies = self.judgement, self.judgement.tallies
        if self.judge is None:
            return "There is no champion, and one uploader at most: nobody could judge the labels."
        if found.suspects:
            told = "; ".join(_told(one, tallies[one]) for one in found.suspects)
            return (
                f"{told}: contradicted by {self.judge}, and not so the others. Nothing is promoted; the next training "
                "set leaves these rows out. `darkroom labels who` names the person, `darkroom labels trust` lets the "
                "labels in again."
            )
        if found.undecided:
            told = "; ".join(_told(one, tallies[one]) for one in found.undecided)
            return (
                f"{told}: contradicted by {self.judge}, and too few are not to say who is right. Nothing is promoted, "
                "and nothing is left out: a person decides, by `darkroom labels trust` or `darkroom labels distrust`."
            )
        return f"No uploader's labels are contradicted by {self.judge} beyond the threshold."


def examine(
    registry: Registry,
    rows: TrainingRows,
    family: Family,
    threshold: float,
    trusted: Collection[Uploader] = (),
) -> Examination:
    """Judge the labels of a training set, by uploader.

    Args:
        threshold: setting `recognition_distrust`.
        trusted: uploaders of whom a person has said that they are right: they are not judged.

    Raises:
        TransientFailure: MLflow is away.
    """
    chosen = [place for place, key in enumerate(rows.keys) if uploader_of(key) not in trusted]
    sources = [uploader_of(rows.keys[place]) for place in chosen]
    labels = [rows.labels[place] for place in chosen]
    by, opinion = _champions(registry, rows.features[chosen], labels, family)
    if opinion is not None:
        return Examination(by, judge(sources, labels, opinion, threshold))
    opinion = opinion_of_others(family, rows.features[chosen], labels, sources)
    found = judge(sources, labels, opinion, threshold, QUORUM_OF_OTHERS)
    return Examination(OTHERS if len(found.tallies) > 1 else None, found)


def stop_unless_believed(examination: Examination) -> None:
    """Raise NotPromoted unless the labels may be learned from."""
    if not examination.passed:
        found = examination.judgement
        raise NotPromoted(
            f"Nothing was promoted. {examination.sentence}",
            {"suspects": len(found.suspects), "undecided": len(found.undecided)},
        )


def read_verdicts(lake: Lake) -> dict[Uploader, Verdict]:
    """The verdict that stands of each uploader; none where nobody was ever judged."""
    try:
        table = lake.collect(pl.scan_delta(lake.open(LABEL_TRUST.name)).sort("decided_at"), LABEL_TRUST.name)
    except TableMissing:
        return {}
    names = ("trusted", "rows", "contradicted", "judge", "who", "why", "decided_at")
    found = [
        Verdict(Uploader(row["day"], row["pseudonym"]), **{name: row[name] for name in names})
        for row in table.iter_rows(named=True)
    ]
    return {one.uploader: one for one in found}


def trusted_by_a_person(verdicts: Mapping[Uploader, Verdict]) -> frozenset[Uploader]:
    """Uploaders whose standing verdict is that they are right; only people say so."""
    return frozenset(one.uploader for one in verdicts.values() if one.trusted)


def record(lake: Lake, verdicts: Sequence[Verdict]) -> None:
    """Add verdicts, as one commit; those of before stay in the table, and count no more."""
    if not verdicts:
        lake.ensure(LABEL_TRUST)
        return
    rows = [
        {
            "day": one.uploader.day,
            "pseudonym": one.uploader.pseudonym,
            **{name: getattr(one, name) for name in ("trusted", "rows", "contradicted", "judge", "who", "why")},
            "decided_at": one.decided_at,
        }
        for one in verdicts
    ]
    lake.append(lake.ensure(LABEL_TRUST), LABEL_TRUST, pa.Table.from_pylist(rows, schema=LABEL_TRUST.schema))


def record_suspects(lake: Lake, examination: Examination, who: str, now: datetime) -> list[Verdict]:
    """Distrust who stands out and is not distrusted yet; returns those verdicts. Harmless to repeat."""
    standing, tallies = read_verdicts(lake), examination.judgement.tallies
    made = [
        Verdict(
            uploader=one,
            trusted=False,
            rows=tallies[one].rows,
            contradicted=tallies[one].contradicted,
            judge=examination.judge or "",
            who=who,
            why="contradicted beyond recognition_distrust",
            decided_at=now,
        )
        for one in examination.judgement.suspects
        if one not in standing or standing[one].trusted
    ]
    record(lake, made)
    return made


class UploaderUnknown(PermanentFailure):
    """There is no developed image of that pseudonym and day, or none that opens any more."""


def labels_of(lake: Lake, uploader: Uploader) -> int:
    """Developed images of an uploader; raises UploaderUnknown where there is none."""
    images = _images_of(lake, uploader).height
    if not images:
        raise UploaderUnknown(
            f"There is no developed image of pseudonym {shown(uploader.pseudonym)} of {uploader.day}. "
            "A pseudonym is of one day: `darkroom labels suspects` shows both."
        )
    return images


def uploaders_name(lake: Lake, keys: Keys, day: date, pseudonym: str) -> str:
    """The name behind a pseudonym, opened. Audit before calling.

    Raises:
        UploaderUnknown: no image of it, or its key was destroyed: nobody can tell any more.
        TransientFailure: keys or lake are away.
    """
    uploader = Uploader(day, pseudonym)
    labels_of(lake, uploader)
    sealed = SealedRows(keys)
    for row in _images_of(lake, uploader).unique("key").iter_rows(named=True):
        name = sealed.open(PROCESSED_IMAGES, row, "uploader")
        if name is not None:
            return name.decode() or "(nobody: these images came unsealed)"
    raise UploaderUnknown(
        f"The images of pseudonym {pseudonym} of {day} open no more: their key was destroyed, and the name with it."
    )


def _images_of(lake: Lake, uploader: Uploader) -> pl.DataFrame:
    # By the key's day, which is the pseudonym's: a row's own differs for a record appended days off.
    rows = pl.scan_delta(lake.ensure(PROCESSED_IMAGES)).filter(pl.col("pseudonym") == uploader.pseudonym)
    found = lake.collect(rows.select("id", "key", "uploader"), PROCESSED_IMAGES.name)
    return found.filter([uploader_of(key) == uploader for key in found["key"]])


def _champions(
    registry: Registry, features: np.ndarray, labels: Sequence[str], family: Family
) -> tuple[str, Opinion | None]:
    champion = registry.at(family.name, CHAMPION)
    if champion is None:
        return "", None
    try:
        scorer = Scorer(registry.load(champion), RECIPE, COUNT)
    except (ModelMissing, ModelBroken, ModelRefused):
        return "", None
    scores = scorer.score(features)
    taught = np.isin(np.asarray(labels, dtype=np.str_), scorer.classes)
    opinion = Opinion(np.asarray(scores.labels, dtype=np.str_), scores.probabilities, taught)
    return f"the champion, version {champion.version}", opinion


def _told(uploader: Uploader, tally: Tally) -> str:
    share = f"{tally.contradicted} of {tally.rows} labels ({tally.share:.0%})"
    return f"pseudonym {uploader.pseudonym} of {uploader.day}: {share}"
