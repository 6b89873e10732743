"""Training and naming beside plain scikit-learn, rows per CPU-second, on the 1,797 digits.

Training is the step of the job: fit, export, load the file again, evaluate two splits, make picture and card; its
floor is the fit of the same pipeline on the same rows alone. Naming is the batch lane on a real lake: find the rows
that have no answer, open each vector, score it, seal and commit the answer; its floor is `predict` of the fitted
pipeline on the same rows, in memory and all at once. The model's file alone, against the same floor, shows what of it
is scoring. MLflow is left out of all of them. One thread, in turns in one process, medians of several rounds, for the
machine may be shared.
"""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from PIL import Image

from benchmarks.figures import Figure, median, spread
from resources.key_protocol import Keys
from resources.keys import open_key_store
from resources.lake import Lake
from resources.learning import train_challenger
from resources.recognising import recognise
from resources.registry import CHAMPION, Learned, Version
from resources.sealed_rows import SealedRows
from resources.settings import Settings
from resources.training_set import TrainingRows
from transforms.families import DIGITS
from transforms.features import COUNT, RECIPE, features, pack
from transforms.onnx_models import Scorer, export
from transforms.recognition import SPLITS, split_of, train
from transforms.tables import IMAGE_FEATURES, RECOGNISED_IMAGES

ALONE = True
ROUNDS = 7
IMAGES = 1797
CALLS = 20
"""Of what takes milliseconds, in a round."""
PSEUDONYM = "a" * 16
DAY, NOW = date(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)


def run() -> list[Figure]:
    """Measure; some 20 CPU-seconds."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), _quiet_home() as home:
        rows = _rows()
        learned_of = rows.of(SPLITS[0])
        fitted = train(DIGITS, *learned_of)
        wide = rows.features.astype(np.float64)
        registry = OneChampion(export(fitted, RECIPE, COUNT))
        scorer = Scorer(registry.file, RECIPE, COUNT)
        keys = open_key_store(Settings(home=home))
        keys.initialise()
        lake = Lake(str(home / "lake"))
        _fill(lake, keys, rows.features)

        def name_all() -> None:
            shutil.rmtree(home / "lake" / RECOGNISED_IMAGES.name, ignore_errors=True)
            done = recognise(lake, keys, registry, DIGITS)
            if done.followed is None or done.followed.rows != len(rows.ids):
                raise RuntimeError(f"The lane named {done.followed} of {len(rows.ids)} digits.")

        fit, step, predict, file, lane = _measure(
            lambda: train(DIGITS, *learned_of),
            lambda: train_challenger(registry, rows, DIGITS, "benchmark"),
            lambda: [fitted.predict(wide) for _ in range(CALLS)],
            lambda: [scorer.score(rows.features) for _ in range(CALLS)],
            name_all,
        )
    learned, named = len(learned_of[1]), len(rows.ids)
    predict, file = (tuple([one / CALLS for one in times] for times in spent) for spent in (predict, file))
    return [
        _against("training / the fit alone", fit, step, learned, 0.5),
        _against("scoring with the file / scikit-learn's predict", predict, file, named, 1.0),
        _against("naming, the whole batch lane / scikit-learn's predict", predict, lane, named, None),
    ]


class OneChampion:
    """A registry in memory whose one version is champion; what is trained beside it is let go again."""

    def __init__(self, file: bytes) -> None:
        self.file = file
        self._version = Version(DIGITS.name, "1", "benchmark", NOW)

    def at(self, model: str, alias: str) -> Version | None:
        """The champion; there is no challenger, so that every round trains."""
        return self._version if alias == CHAMPION else None

    def load(self, version: Version) -> bytes:
        """Its file."""
        return self.file

    def register(self, learned: Learned) -> Version:
        """Nothing is kept."""
        return self._version

    def version(self, model: str, version: str) -> Version:
        """The champion."""
        return self._version

    def versions(self, model: str) -> list[Version]:
        """The champion alone."""
        return [self._version]

    def move(self, to: Version, alias: str, *, who: str, why: str) -> Version:
        """No alias moves here."""
        return to


Spent = tuple[list[float], list[float]]
"""CPU seconds and wall seconds of the rounds."""


def _measure(*ways: Callable[[], object]) -> list[Spent]:
    """Each way in turn, so that a noisy neighbour hits all alike."""
    spent: list[Spent] = [([], []) for _ in ways]
    for round in range(ROUNDS + 1):
        for (cpu, wall), way in zip(spent, ways, strict=True):
            began = time.process_time(), time.perf_counter()
            way()
            if round:  # the first one imports and warms up
                cpu.append(time.process_time() - began[0])
                wall.append(time.perf_counter() - began[1])
    return spent


def _against(name: str, floor: Spent, own: Spent, rows: int, aim: float | None) -> Figure:
    ratios = [one / other for one, other in zip(floor[0], own[0], strict=True)]
    cpu, wall = (f"{rows / median(own[at]):,.0f} against {rows / median(floor[at]):,.0f}" for at in (0, 1))
    detail = f"{cpu} rows per CPU-second, {wall} per second of wall time; {rows} rows; {spread(ratios)}"
    return Figure(name, median(ratios), "", aim, detail=detail)


def _rows() -> TrainingRows:
    """The digits with their true labels, split as the platform splits them."""
    from sklearn.datasets import load_digits

    found = load_digits()
    vectors, splits = [], []
    for pixels in found.images[:IMAGES]:
        written = io.BytesIO()
        picture = Image.fromarray(np.rint(pixels * (255 / 16)).astype(np.uint8)).convert("RGB")
        picture.save(written, "WEBP", lossless=True)
        vectors.append(features(written.getvalue()))
        splits.append(split_of(hashlib.sha256(pixels.tobytes()).digest()))
    ids = tuple(_id(number) for number in range(len(vectors)))
    labels = tuple(str(label) for label in found.target[:IMAGES])
    return TrainingRows(ids, tuple(splits), labels, np.array(vectors), "", {}, (DAY,) * len(ids))


def _fill(lake: Lake, keys: Keys, vectors: Sequence[np.ndarray]) -> None:
    """Write the vectors to image_features, sealed, as developing leaves them."""
    sealed, key = SealedRows(keys), keys.current_key(DAY, PSEUDONYM)
    rows = []
    for number, vector in enumerate(vectors):
        row = {"id": _id(number), "key": key.name}
        place = {"topic": "images.raw", "topic_id": "A" * 22, "partition": 0, "offset": number}
        made = {"appended_at": NOW, "computed_at": NOW, "feature_version": RECIPE}
        closed = sealed.seal(IMAGE_FEATURES, row, "features", pack(vector))
        rows.append({**row, **place, **made, "day": DAY, "pseudonym": PSEUDONYM, "features": closed})
    lake.append(lake.ensure(IMAGE_FEATURES), IMAGE_FEATURES, pa.Table.from_pylist(rows, schema=IMAGE_FEATURES.schema))


@contextmanager
def _quiet_home() -> Iterator[Path]:
    with TemporaryDirectory(prefix="darkroom-bench-") as folder:
        yield Path(folder)


def _id(number: int) -> str:
    """26 characters of a-z and 2-7, another for each number."""
    return base64.b32encode(number.to_bytes(16, "big")).decode().lower()[:26]
