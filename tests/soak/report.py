"""A soak's outcome, for people."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from datetime import date

from benchmarks.page import put_between
from tests.soak import leaders
from tests.soak.plan import by_kind
from tests.soak.siege import Outcome


def table(outcome: Outcome, brokers: leaders.Outcome | None) -> Iterator[str]:
    """Lines of Markdown: the figures, then each kind of fault with how soon images were taken again; then what became
    of three brokers, where that is known already."""
    refused = ", ".join(f"{count} x {name}" for name, count in sorted(outcome.refused.items())) or "none"
    jobs = ", ".join(f"{name} {count}" for name, count in sorted(outcome.jobs.items()))
    yield "| figure | value |"
    yield "| --- | --- |"
    yield f"| images acknowledged | {outcome.acknowledged:,} |"
    yield f"| told to come again, or cut off | {refused} |"
    yield f"| records of the topic of images | {outcome.records:,} |"
    yield f"| changes of items committed | {outcome.changes:,} |"
    yield f"| jobs started beside the lane | {jobs} |"
    yield f"| points of enforcement compared with the policy | {outcome.compared:,} |"
    yield f"| strikes | {len(outcome.strikes)} |"
    yield f"| longest time without an acknowledgement, faults included | {outcome.longest_stall:.0f} s |"
    yield f"| promises broken | {len(outcome.broken)} |"
    yield ""
    yield "| fault | strikes | images taken again after, in seconds: half of the times, the longest |"
    yield "| --- | --- | --- |"
    for kind, count in by_kind(outcome.strikes).items():
        times = sorted(outcome.recovery.get(kind, [])) or [0.0]
        yield f"| {kind} | {count} | {times[len(times) // 2]:.1f}, {times[-1]:.1f} |"
    yield from (f"\n- **Broken**: {said}" for said in outcome.broken)
    if brokers is None:
        return
    yield ""
    yield "| three brokers, of which two have what is acknowledged | value |"
    yield "| --- | --- |"
    yield f"| brokers killed, one of them a leader each time | {brokers.kills} |"
    yield f"| times that nothing arrived at a leader for a while | {brokers.cut_off} |"
    yield f"| times that two were dead at once, and nothing was acknowledged | {brokers.quorums_lost} |"
    yield f"| records acknowledged | {len(brokers.acknowledged):,} |"
    yield f"| given up by the producer, to be sent again | {brokers.refused.total():,} |"
    yield f"| longest time without an acknowledgement | {brokers.longest_stall:.0f} s |"
    yield f"| promises broken | {len(brokers.broken)} |"
    yield from (f"\n- **Broken**: {said}" for said in brokers.broken)


BEGIN, END = "<!-- printed by make soak -->", "<!-- end -->"


def put_into(page: str, outcome: Outcome, brokers: leaders.Outcome | None, today: date) -> str:
    """A page with the outcome between its two marks, in the place of what stood there.

    Raises:
        ValueError: it has no such marks.
    """
    command = f"make soak MINUTES={outcome.minutes:g} SEED={outcome.seed}"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    said = [f"Printed by `{command}` on {today:%d %B %Y}; {machine}.", "", *table(outcome, brokers)]
    return put_between(page, BEGIN, END, said)
