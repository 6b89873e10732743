"""The models that score: each family's champion, asked for in the background and swapped in without a restart.

What is loaded scores until something better is loaded: a champion whose file is gone, is another one or does not fit, a
registry that names none any more, or MLflow away, leave the last good one in place, and are said once in the log, in
the metrics and at /readyz. A new model scores one row before it is believed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from resources.failures import PlatformFailure, first_line
from resources.registry import CHAMPION, Registry, RegistryAway, Version
from services.recogniser.metrics import Metrics
from transforms.features import COUNT, RECIPE
from transforms.onnx_models import ModelRefused, Scorer
from transforms.recognition import Family

log = logging.getLogger(__name__)

ASK_SECONDS = 2.0
LOAD_AGAIN_SECONDS = 15.0
"""A file that was refused is looked at again this often: it may have been put back."""


@dataclass(frozen=True)
class Champion:
    """A version that scores."""

    version: Version
    scorer: Scorer


class Champions:
    """Keeps each family's model the newest that works. Thread-safe.

    Args:
        registry: makes the registry, in the background thread, for its client takes seconds to import.
        families: whose champions.
        metrics: told versions and problems.
        ask_seconds: between two questions.
    """

    def __init__(
        self,
        registry: Callable[[], Registry],
        families: Sequence[Family],
        metrics: Metrics,
        ask_seconds: float = ASK_SECONDS,
    ) -> None:
        self._make = registry
        self._families = tuple(families)
        self._metrics = metrics
        self._ask_seconds = ask_seconds
        self._held: dict[str, Champion] = {}
        self._problems: dict[str, str] = {}
        self._refused: dict[str, tuple[str, float]] = {}
        self._answered: set[str] = set()
        self._settled = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="champions", daemon=True)
        for family in self._families:
            metrics.champion_problem.labels(family.name).set(0)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def close(self) -> None:
        """Stop asking; does not wait for an answer that is under way."""
        self._stop.set()
        self._settled.set()

    def of(self, family: Family) -> Champion | None:
        """What scores now; None while no champion of the family was ever loaded."""
        return self._held.get(family.name)

    def wait_settled(self, seconds: float) -> bool:
        """Wait until MLflow has answered for every family once; False when the time is up."""
        return self._settled.wait(seconds)

    def told(self) -> dict[str, str]:
        """By family: `ok`, or what is wrong with its newest champion and what scores meanwhile."""
        return {family.name: self._problems.get(family.name, "ok") for family in self._families}

    def versions(self) -> dict[str, str]:
        """By family the version that scores."""
        return {name: held.version.version for name, held in list(self._held.items())}

    def look(self, registry: Registry) -> None:
        """Ask once for every family."""
        for family in self._families:
            try:
                problem = self._look(registry, family)
            except PlatformFailure as failure:
                problem = first_line(failure)
            except Exception as error:
                # Whatever a registry or a file may do, this thread is the only one that looks.
                problem = f"The champion of {family.name} could not be looked at: {type(error).__name__}."
            self._tell(family.name, problem)
        if self._answered.issuperset(family.name for family in self._families):
            self._settled.set()

    def _watch(self) -> None:
        registry: Registry | None = None
        while not self._stop.is_set():
            try:
                registry = registry or self._make()
            except Exception as error:
                for family in self._families:
                    self._tell(family.name, f"The registry cannot be asked: {first_line(error)}")
            else:
                self.look(registry)
            self._stop.wait(self._ask_seconds)

    def _look(self, registry: Registry, family: Family) -> str | None:
        """Load the champion where it is another one; a sentence where there is something wrong."""
        name = family.name
        newest = registry.at(name, CHAMPION)
        held = self._held.get(name)
        try:
            if newest is None:
                return None if held is None else f"MLflow names no champion of {name} any more. {self._meanwhile(name)}"
            if held is not None and held.version.mark == newest.mark:
                self._refused.pop(name, None)
                return None
            mark, again = self._refused.get(name, ("", 0.0))
            if mark == newest.mark and time.monotonic() < again:
                return self._problems.get(name)
            return self._swap(registry, family, newest)
        finally:
            self._answered.add(name)

    def _swap(self, registry: Registry, family: Family, newest: Version) -> str | None:
        name = family.name
        try:
            scorer = Scorer(registry.load(newest), RECIPE, COUNT)
            _try(scorer)
        except RegistryAway:
            raise
        except Exception as error:
            # ModelMissing, ModelBroken, ModelRefused, or what onnxruntime makes of a file that fits at first sight.
            self._refused[name] = (newest.mark, time.monotonic() + LOAD_AGAIN_SECONDS)
            return (
                f"Version {newest.version} of {name} is champion and cannot score: {first_line(error)} "
                f"{self._meanwhile(name)}"
            )
        self._held[name] = Champion(newest, scorer)
        self._refused.pop(name, None)
        self._metrics.champion.labels(name).set(float(newest.version) if newest.version.isdecimal() else 0)
        log.info("champion", extra={"fields": {"model": name, "version": newest.version}})
        return None

    def _meanwhile(self, name: str) -> str:
        held = self._held.get(name)
        return f"Version {held.version.version} goes on." if held else "Images are left to the batch lane."

    def _tell(self, name: str, problem: str | None) -> None:
        before = self._problems.get(name)
        self._metrics.champion_problem.labels(name).set(0 if problem is None else 1)
        if problem is None:
            self._problems.pop(name, None)
            if before is not None:
                log.info("champion is well again", extra={"fields": {"model": name}})
            return
        self._problems[name] = problem
        if problem != before:
            log.warning("champion", extra={"fields": {"model": name, "why": problem}})


def _try(scorer: Scorer) -> None:
    """Raise ModelRefused unless the model names one row with a probability."""
    scores = scorer.score(np.zeros((1, COUNT)))
    if len(scores.labels) != 1 or scores.probabilities.shape != (1,) or not 0 <= float(scores.probabilities[0]) <= 1:
        raise ModelRefused("The model does not give one label and one probability from 0 to 1 for one row.")
