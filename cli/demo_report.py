"""What the demo prints: the table of what was sent and what became of it, the sums, the refusals, and where to look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.account import Account
from transforms.reasons import Reason

WIDE = 140
"""From so many characters on, a line has room for what its number means."""


@dataclass(frozen=True)
class Seconds:
    """Wall time by part. Landing and developing begin while sending: theirs is the time after the last image."""

    send: float
    land: float
    develop: float
    settle: float
    live: float
    shop: float
    total: float


@dataclass(frozen=True)
class Report:
    """One demo: `now` counts the records since its start, `ever` all of the lake.

    `by_stream` are those of `acknowledged` that one WebSocket brought; `straight` is what was written straight to
    Kafka; `refused` what the doors refused, by kind, with status and words.
    """

    acknowledged: int
    by_stream: int
    acknowledged_ever: int
    before: int
    same: int
    straight: int
    straight_ever: int
    refused: Mapping[str, tuple[int, str]]
    resent: int
    now: Account
    ever: Account
    seconds: Seconds

    @property
    def unacknowledged(self) -> int:
        """Records landed since the demo's start that it has no acknowledgement of: lost answers, or somebody else's."""
        return self.now.landed - self.acknowledged - self.straight

    @property
    def complaints(self) -> list[str]:
        """What does not add up; empty when all is well."""
        found = []
        if self.unacknowledged < 0:
            found.append(
                f"{self.acknowledged + self.straight} records were acknowledged and {self.now.landed} landed: "
                f"{-self.unacknowledged} are missing."
            )
        for name, account in (("since the start", self.now), ("in all", self.ever)):
            if not account.adds_up:
                found.append(f"Of {account.landed} landed records {name}, {account.unexplained} are in no table.")
        return found


def rows(report: Report) -> list[tuple[str, str, str]]:
    """The table's rows: what, now, in all; "" where a number has no meaning."""
    now, ever = report.now, report.ever
    found = [
        ("sent: acknowledged by the doors", _n(report.acknowledged), _n(report.acknowledged_ever)),
        ("sent: of these by stream", _n(report.by_stream), ""),
        ("sent: written straight to Kafka", _n(report.straight), _n(report.straight_ever)),
    ]
    if report.before:
        found.append(("not sent: acknowledged before", _n(report.before), ""))
    if report.same:
        found.append(("not sent: same content as another", _n(report.same), ""))
    found += [
        ("refused by the doors", _n(len(report.refused)), ""),
        ("landed", _n(now.landed), _n(ever.landed)),
        ("processed", _n(now.processed), _n(ever.processed)),
        ("quarantined", _n(sum(now.quarantined.values())), _n(sum(ever.quarantined.values()))),
    ]
    for reason, count in ever.quarantined.items():
        found.append((f"  {reason}", _n(now.quarantined.get(reason, 0)), _n(count)))
    found.append(("resends", _n(now.resends), _n(ever.resends)))
    if ever.erased:
        found.append(("erased on request", _n(now.erased), _n(ever.erased)))
    if report.unacknowledged > 0:
        found.append(("landed without an acknowledgement", _n(report.unacknowledged), ""))
    if now.unexplained or ever.unexplained:
        found.append(("in no table", _n(now.unexplained), _n(ever.unexplained)))
    return found


def show(report: Report, console: Console) -> None:
    """Print the table, the sums, the refusals and the seconds."""
    console.print()
    console.print(f"{report.acknowledged + report.straight} new", style="bold")
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("now", justify="right")
    table.add_column("in all", justify="right")
    explained = console.width >= WIDE
    if explained:
        table.add_column("meaning", style="dim", no_wrap=True)
    for name, now, ever in rows(report):
        table.add_row(name, now, ever, *([_meaning(name)] if explained else []))
    console.print(table)
    console.print()
    ever = report.ever
    console.print(
        f"{_n(ever.landed)} landed = {_n(ever.processed)} processed + {_n(sum(ever.quarantined.values()))} quarantined "
        f"+ {_n(ever.resends)} resends"
        + (f" + {_n(ever.erased)} erased" if ever.erased else "")
        + ("" if ever.adds_up else "  [bold red]does not add up[/]"),
        soft_wrap=True,
    )
    if report.refused:
        by_status = Counter(status for status, _ in report.refused.values())
        said = ", ".join(f"{count} with {status}" for status, count in sorted(by_status.items()))
        console.print(f"Refused by the doors: {said}. Each was then written straight to Kafka.", soft_wrap=True)
        for kind, (status, detail) in report.refused.items():
            console.print(f"  {kind:<14} {status}  {escape(detail)}", soft_wrap=True)
    seconds = report.seconds
    parts = {"send": seconds.send, "land": seconds.land, "develop": seconds.develop, "last run's end": seconds.settle}
    parts |= {"live part": seconds.live, "shop": seconds.shop, "total": seconds.total}
    said = ", ".join(f"{name} {spent:.1f}" for name, spent in parts.items())
    console.print(f"Seconds: {said} (landing and developing began while sending).", soft_wrap=True)


def _n(number: int) -> str:
    return f"{number:,}"


_MEANINGS = {
    "sent: acknowledged by the doors": "the broker keeps the image",
    "sent: of these by stream": "over one WebSocket, as machines send",
    "sent: written straight to Kafka": "past the doors, unsealed: hostile kinds",
    "not sent: acknowledged before": "by the notebook HOME/state/sent.sqlite",
    "not sent: same content as another": "the same bytes, so the same image",
    "refused by the doors": "an HTTP status and a sentence each",
    "landed": "records in bronze",
    "processed": "images developed, one row each",
    "quarantined": "records that are no good image, by reason",
    "erased on request": "records that keep an offset's place, and whose words are gone",
    "resends": "records of an image that has its row",
    "landed without an acknowledgement": "an answer was lost, or somebody else was sending",
    "in no table": "must be nothing",
}


def _meaning(name: str) -> str:
    if name.startswith("  "):
        return Reason(name.strip()).sentence
    return _MEANINGS[name]
