"""Waiting until settled: what counts as settled, and that a deadline names the one who lags."""

from __future__ import annotations

import pytest

from cli.dagster_api import DagsterAway, Run
from cli.settle import NotSettled, Settled, View, wait
from resources.progress import Progress

TOPIC = "images.raw"


def progress(*, high=(10, 10), landed=(9, 9), developed=(9, 9), low=(0, 0)) -> Progress:
    """Two partitions with ten records each, all landed and developed, unless told otherwise; None is "none yet"."""

    def by_partition(values):
        return {p: value for p, value in enumerate(values) if value is not None}

    return Progress(
        topic=TOPIC,
        topic_id="x" * 22,
        low=by_partition(low),
        high=by_partition(high),
        landed=by_partition(landed),
        developed=by_partition(developed),
    )


def settled() -> View:
    return View(progress(), ())


class Watch:
    """A look that shows one view after another, one a second; the last one stays."""

    def __init__(self, *views: View | Exception) -> None:
        self.views = list(views)
        self.seconds = 0.0

    def __call__(self) -> View:
        view = self.views.pop(0) if len(self.views) > 1 else self.views[0]
        if isinstance(view, Exception):
            raise view
        return view

    def wait(
        self, failure: Run | None = None, deadline: float = 20.0, told=lambda view: None, failed=lambda run: None
    ) -> Settled:
        def sleep(seconds: float) -> None:
            self.seconds += seconds

        return wait(self, lambda: failure, deadline, told, failed, clock=lambda: self.seconds, sleep=sleep)


def test_a_settled_stack_is_settled_at_the_first_look():
    assert Watch(settled()).wait() == Settled(0.0, 0.0, 0.0)


def test_each_part_has_its_time():
    told: list[tuple[int, int, int]] = []
    watch = Watch(
        View(progress(landed=(4, None), developed=(None, None)), ()),
        View(progress(developed=(3, 9)), (Run("r1", "live_images", "STARTED"),)),
        View(progress(), (Run("r1", "live_images", "STARTED"),)),
        settled(),
    )
    found = watch.wait(told=lambda view: told.append((view.total, view.landed, view.developed)))
    assert found == Settled(landed=1.0, developed=2.0, total=3.0)
    assert told == [(20, 5, 0), (20, 20, 14), (20, 20, 20), (20, 20, 20)]


def test_a_run_in_progress_is_not_settled_even_with_everything_developed():
    with pytest.raises(NotSettled, match=r"a run is not at its end: live_images r1 \(queued\)"):
        Watch(View(progress(), (Run("r1", "live_images", "QUEUED"),))).wait()


def test_new_records_while_waiting_begin_the_waiting_anew():
    watch = Watch(
        View(progress(), (Run("r", "j", "STARTED"),)), View(progress(high=(12, 10)), ()), settled(), settled()
    )
    assert watch.wait().landed == 2.0


def test_an_empty_topic_and_one_whose_records_are_all_gone_are_settled():
    nothing = progress(high=(0, 0), landed=(None, None), developed=(None, None))
    gone = progress(low=(10, 10), landed=(9, 9), developed=(9, 9))
    assert View(nothing, ()).settled
    assert View(gone, ()).settled


def test_the_deadline_names_the_partition_that_does_not_land_and_how_far_it_is():
    lagging = View(progress(landed=(9, 4), developed=(9, 4)), ())
    with pytest.raises(NotSettled) as caught:
        Watch(lagging).wait(Run("r7", "live_images", "FAILURE", "LakeFull: no space left"), deadline=30)
    said = str(caught.value)
    assert said.startswith(
        "Not settled after 30 s. Landing lags in partition 1 of images.raw: it is at offset 4 of offset 9"
    )
    assert "(5 to go)" in said
    assert "partition 0" not in said
    assert "No run is queued or in progress: is the sensor on" in said
    assert "live_images r7, said: LakeFull: no space left" in said
    assert "`darkroom logs daemon`" in said


def test_a_failed_run_is_told_once_when_nothing_runs_and_not_while_something_does():
    told: list[Run] = []
    failure = Run("r7", "live_images", "FAILURE", "LakeFull")
    waiting = progress(landed=(9, 4), developed=(9, 4))
    with pytest.raises(NotSettled):
        Watch(View(waiting, (Run("r8", "live_images", "STARTED"),))).wait(failure, deadline=100, failed=told.append)
    assert told == []
    with pytest.raises(NotSettled):
        Watch(View(waiting, ())).wait(failure, deadline=100, failed=told.append)
    assert told == [failure]


def test_the_deadline_names_the_partition_that_is_not_developed():
    lagging = View(progress(developed=(None, 9)), (Run("r1", "live_images", "STARTED"),))
    with pytest.raises(NotSettled, match=r"Developing lags in partition 0 of images.raw: it is at none of offset 9\."):
        Watch(lagging).wait()


def test_a_look_that_fails_in_passing_is_taken_again():
    watch = Watch(DagsterAway("restarting"), settled())
    assert watch.wait().total == 1.0


def test_a_look_that_goes_on_failing_is_in_the_sentence():
    with pytest.raises(NotSettled, match=r"Nothing could be seen\. The last look failed: the web server is away"):
        Watch(DagsterAway("the web server is away")).wait()
