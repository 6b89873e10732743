"""Waits until everything that the broker holds is landed and developed, and Dagster has nothing left to do.

Settled means, seen in one look: every partition's landing identifier is at the broker's high watermark, both derived
tables have come as far as bronze, and no run is queued or in progress. The numbers are those of `resources.progress`,
which the sensor and the checks use too; a look costs some milliseconds at the broker and three opened tables.

Limits: a log that ends in holes (markers of aborted transactions) counts as not landed until its next record. While
somebody goes on sending it is never settled.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from cli.dagster_api import DagsterApi, Run
from resources.failures import TransientFailure
from resources.lake import open_lake
from resources.progress import Progress, read_progress
from resources.settings import Settings

LOOK_SECONDS = 1.0
IDLE_SECONDS = 15.0
"""After so long with work to do and no run, the last failed run is probably why, and is told."""


@dataclass(frozen=True)
class View:
    """One look: offsets by partition, and Dagster's unfinished runs."""

    progress: Progress
    runs: tuple[Run, ...]

    @property
    def landed(self) -> int:
        """Offsets landed, of `total`."""
        return self.total - self.progress.to_land()

    @property
    def developed(self) -> int:
        """Offsets developed, of `total`."""
        return self.landed - self.progress.to_develop()

    @property
    def total(self) -> int:
        """Offsets that the broker ever gave out."""
        return self.progress.produced()

    @property
    def all_landed(self) -> bool:
        """Whether bronze has what the broker has."""
        return self.progress.to_land() == 0

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do."""
        return self.all_landed and self.progress.to_develop() == 0 and not self.runs


@dataclass(frozen=True)
class Settled:
    """Seconds from the start of waiting: until all had landed, until all was developed, until no run was left."""

    landed: float
    developed: float
    total: float


class NotSettled(TransientFailure):
    """The deadline passed; the message names the laggard."""


def look(settings: Settings, dagster: DagsterApi) -> View:
    """How far the images are now.

    Raises:
        TransientFailure: broker, lake or Dagster did not answer.
    """
    # confluent-kafka and deltalake are imported when used, as in every command.
    from resources.kafka import watermarks

    # Runs first: a run that ends between the two questions has then done what the second one sees.
    runs = tuple(dagster.unfinished())
    return View(read_progress(open_lake(settings), watermarks(settings, settings.topic)), runs)


def wait_until_settled(
    settings: Settings,
    dagster: DagsterApi,
    deadline: float,
    progress: Callable[[View], None] = lambda view: None,
    failed: Callable[[Run], None] = lambda run: None,
) -> Settled:
    """Wait until the stack has settled.

    Args:
        settings: of a client that may read the topic's watermarks and the lake.
        dagster: its web server; closed at the end.
        deadline: seconds to wait at most.
        progress: told of every look.
        failed: told once of each failed run that probably holds things up.

    Raises:
        NotSettled: the deadline passed; names partition and stage, how far it is, and the last failed run.
    """
    try:
        return wait(lambda: look(settings, dagster), dagster.last_failure, deadline, progress, failed)
    finally:
        dagster.close()


def wait(
    look: Callable[[], View],
    last_failure: Callable[[], Run | None],
    deadline: float,
    progress: Callable[[View], None] = lambda view: None,
    failed: Callable[[Run], None] = lambda run: None,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Settled:
    """`wait_until_settled` with every outside thing as an argument; a look that fails in passing is taken again."""
    start = clock()
    landed: float | None = None
    developed: float | None = None
    view: View | None = None
    trouble: TransientFailure | None = None
    idle_since = start
    told: set[str] = set()
    while True:
        try:
            view, trouble = look(), None
        except TransientFailure as error:
            trouble = error
        else:
            progress(view)
            passed = clock() - start
            landed = (landed if landed is not None else passed) if view.all_landed else None
            if landed is not None and view.progress.to_develop() == 0:
                developed = developed if developed is not None else passed
            else:
                developed = None
            if landed is not None and developed is not None and view.settled:
                return Settled(landed, developed, passed)
            idle_since = clock() if view.runs else idle_since
        if clock() - idle_since >= IDLE_SECONDS:
            idle_since = clock()
            found = _asked(last_failure)
            if found is not None and found.id not in told:
                told.add(found.id)
                failed(found)
        if clock() - start >= deadline:
            raise NotSettled(_laggard(view, trouble, last_failure, deadline))
        sleep(LOOK_SECONDS)


def _laggard(
    view: View | None, trouble: TransientFailure | None, last_failure: Callable[[], Run | None], deadline: float
) -> str:
    """One paragraph: which partition waits at which stage, how far it is, and why probably."""
    said = [f"Not settled after {deadline:g} s."]
    if view is None:
        said.append("Nothing could be seen.")
    else:
        said += _behind(view)
    if trouble is not None:
        said.append(f"The last look failed: {trouble}")
    failed = _asked(last_failure)
    if failed is not None:
        said.append(f"The last failed run, {failed.job} {failed.id}, said: {failed.error or 'nothing'}")
    said.append(
        "What runs do is in `darkroom logs daemon` and in Dagster's UI. Nothing is lost: "
        "what was acknowledged waits at the broker; run the command again to wait on."
    )
    return " ".join(said)


def _asked(last_failure: Callable[[], Run | None]) -> Run | None:
    try:
        return last_failure()
    except TransientFailure:
        return None


def _behind(view: View) -> list[str]:
    progress = view.progress
    said = []
    for partition in sorted(progress.high):
        low, last = progress.low.get(partition, 0), progress.high[partition] - 1
        landed = progress.landed.get(partition)
        developed = progress.developed.get(partition)
        where = f"partition {partition} of {progress.topic}"
        if last >= low and (landed is None or landed < last):
            to_go = last - max(-1 if landed is None else landed, low - 1)
            said.append(f"Landing lags in {where}: it is {_at(landed)} of offset {last} ({to_go} to go).")
        elif landed is not None and (developed is None or developed < landed):
            said.append(f"Developing lags in {where}: it is {_at(developed)} of offset {landed}.")
    if not said:
        runs = ", ".join(f"{run.job} {run.id} ({run.status.lower()})" for run in view.runs)
        return [f"Everything is landed and developed, and a run is not at its end: {runs}."]
    if not view.runs:
        said.append("No run is queued or in progress: is the sensor on, and the daemon up (`darkroom status`)?")
    return said


def _at(offset: int | None) -> str:
    return "at none" if offset is None else f"at offset {offset}"
