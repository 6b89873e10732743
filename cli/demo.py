"""`darkroom demo`: real images travel from upload to developed, hostile ones to quarantine, and the sums are shown;
a model learns from the labelled ones, and names the others as they arrive. Beside it a made-up shop is loaded, and its
insights are drawn.

It uses the doors and tables that everybody uses, and leaves everything running. Everything it sent is in the
notebook, so that another demo, on any later day, finds 0 new.
"""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import current_home, current_settings, messages, output, plainly
from cli.options import UPLOADER

if TYPE_CHECKING:
    from rich.console import Console

    from cli.dagster_api import DagsterApi, Run
    from cli.demo_hostile import Refusals
    from cli.demo_learning import Learning
    from cli.demo_live import Live
    from cli.demo_report import Report
    from cli.demo_shop import ShopShown
    from cli.sending import Summary
    from cli.settle import Settled, View
    from resources.settings import Settings


def register(app: typer.Typer) -> None:
    """Add `demo`."""
    app.command("demo")(demo)


@plainly
def demo(
    deadline: Annotated[
        float, typer.Option(min=1, help="Seconds to wait, after sending, until everything is developed.")
    ] = 900.0,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Images under way at a time (default: 32 by stream, 8 by upload)."),
    ] = None,
) -> None:
    """Stream 1,797 digits, upload photographs and hostile images, learn, see labels arrive live, and fill the shop."""
    from cli.demo_people import print_people
    from cli.demo_report import show
    from resources.failures import PermanentFailure

    home, console = current_home(), messages()
    _bring_up(home, console)
    done = run(home, current_settings(), console, deadline, concurrency)
    report = done.report
    show(report, output())
    output().print(done.learning.sentence, soft_wrap=True)
    output().print(done.live.sentence, soft_wrap=True)
    output().print(done.shop.sentence, soft_wrap=True)
    print_people(home, output())
    _where_to_look(home, done.example, output())
    if report.complaints:
        raise PermanentFailure(
            f"The sums do not add up. {' '.join(report.complaints)} `darkroom logs code-server` has the runs' words."
        )


@dataclass(frozen=True)
class Done:
    """What became of everything; `example` is the id of an image that was sent."""

    report: Report
    learning: Learning
    live: Live
    shop: ShopShown
    example: str | None


def run(home: Path, settings: Settings, console: Console, deadline: float, concurrency: int | None) -> Done:
    """The demo on a running stack: what has a label first, which is learned from; then what has none, named live."""
    from cli.account import Since, take_account
    from cli.dagster_runs import dagster_of
    from cli.dataset import digits, photographs
    from cli.demo_learning import learn, look
    from cli.demo_live import send_live, wait_for_champion
    from cli.demo_report import Report, Seconds
    from cli.demo_shop import show_shop
    from cli.sending import print_unsent, send_items
    from cli.sent import Sent
    from resources.kafka import watermarks
    from resources.lake import open_lake
    from transforms.families import DIGITS

    began = time.monotonic()
    before = watermarks(settings, settings.topic)
    since = Since(before.topic, before.topic_id, {p: high for p, (_, high) in before.partitions.items()})
    every = digits()
    labelled, unseen = ([item for item in every if (item.label is None) is without] for without in (False, True))
    # Through both doors: what machines send in numbers, and what a person sends.
    streamed, uploaded = (
        send_items(
            home,
            items,
            via=via,
            uploader=UPLOADER,
            concurrency=concurrency,
            console=console,
            title=f"{title:<11}",
            keep_results=True,
        )
        for via, title, items in (("stream", "digits", labelled), ("upload", "photographs", photographs()))
    )
    print_unsent(streamed, console)
    print_unsent(uploaded, console)
    hostile, refusals = _send_hostile(home, settings, console, concurrency)
    sent_after = time.monotonic()
    settled = _settle(settings, dagster_of(home), deadline, console, sum(since.offsets.values()))
    learned = learn(home, settings, console, deadline)
    live_from = time.monotonic()
    with console.status("waiting until the sub-second lane has the champion"):
        wait_for_champion(home, DIGITS.name, learned.version)
    shown, live = send_live(home, unseen, UPLOADER, DIGITS.name, console)
    print_unsent(shown, console)
    _settle(settings, dagster_of(home), deadline, console, sum(since.offsets.values()))
    live_seconds = time.monotonic() - live_from
    shop_from = time.monotonic()
    shop = show_shop(home, settings, console, deadline)
    shop_seconds = time.monotonic() - shop_from
    lake = open_lake(settings)
    with Sent(home / "state" / "sent.sqlite") as sent:
        acknowledged_ever, straight_ever = sent.totals()
    report = Report(
        acknowledged=streamed.new + shown.new + uploaded.new + hostile.new,
        by_stream=streamed.new + shown.new,
        acknowledged_ever=acknowledged_ever,
        before=_before(streamed) + _before(shown) + _before(uploaded) + _before(hostile),
        same=_same(streamed) + _same(shown) + _same(uploaded) + _same(hostile),
        straight=len(refusals.straight),
        straight_ever=straight_ever,
        refused=refusals.refused,
        resent=streamed.resends + shown.resends + uploaded.resends + hostile.resends,
        now=take_account(lake, since),
        ever=take_account(lake),
        seconds=Seconds(
            send=sent_after - began,
            land=settled.landed,
            develop=settled.developed - settled.landed,
            settle=settled.total - settled.developed,
            live=live_seconds,
            shop=shop_seconds,
            total=time.monotonic() - began,
        ),
    )
    return Done(report, look(settings, learned.kept) or learned, live, shop, _example(streamed))


def _bring_up(home: Path, console: Console) -> None:
    """Start the stack where it does not run; `up` is harmless where it does."""
    from stack.errors import StackMissing
    from stack.status import describe
    from stack.up import start

    try:
        states = {one["state"] for one in describe(home)["services"].values()}
    except StackMissing:
        states = {"stopped"}
    if states != {"running"}:
        start(home, console=console)


def _send_hostile(
    home: Path, settings: Settings, console: Console, concurrency: int | None
) -> tuple[Summary, Refusals]:
    from cli.demo_hostile import StraightWriter, for_the_door, write_the_rest
    from cli.hostile import hostile_kinds
    from cli.sending import send_items
    from cli.sent import Sent

    kinds = hostile_kinds()
    with Sent(home / "state" / "sent.sqlite") as sent:
        items = for_the_door(kinds, sent)
    summary = send_items(
        home, items, uploader=UPLOADER, concurrency=concurrency, console=console, title="hostile    ", keep_results=True
    )
    with Sent(home / "state" / "sent.sqlite") as sent:
        return summary, write_the_rest(kinds, summary.results or [], sent, StraightWriter(settings), settings.topic)


def _settle(settings: Settings, dagster: DagsterApi, deadline: float, console: Console, base: int) -> Settled:
    """Wait with two bars, counted from where the topic stood at the demo's start."""
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from cli.settle import wait_until_settled

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[said]}"), console=console, disable=not console.is_terminal) as bar:
        landed = bar.add_task("landed ", total=None, said="")
        developed = bar.add_task("developed", total=None, said="")

        def progress(view: View) -> None:
            total = max(0, view.total - base)
            runs = ", ".join(f"{run.job} {run.status.lower()}" for run in view.runs)
            bar.update(landed, total=total, completed=max(0, view.landed - base), said=runs)
            bar.update(developed, total=total, completed=max(0, view.developed - base))

        def failed(run: Run) -> None:
            bar.console.print(
                f"[yellow]note[/] Nothing runs, and the last run of {run.job} failed: {escape(run.error)} "
                "It is asked for again, later each time.",
                soft_wrap=True,
            )

        return wait_until_settled(settings, dagster, deadline, progress, failed)


def _before(summary: Summary) -> int:
    from cli.sender import Outcome

    return summary.counts[Outcome.BEFORE]


def _same(summary: Summary) -> int:
    from cli.sender import Outcome

    return summary.counts[Outcome.SAME]


def _example(summary: Summary) -> str | None:
    """The id of the last image with a receipt, for the line that shows how to ask for one."""
    receipts = [one.receipt for one in summary.results or () if one.receipt is not None]
    return receipts[-1].id if receipts else None


def _where_to_look(home: Path, example: str | None, console: Console) -> None:
    from rich.markup import escape

    from cli.demo_people import ADMINISTRATOR, passwords_file
    from stack.doors import door_of

    door, ca = door_of(home), home / "tls" / "ca.crt"
    token = f"$(darkroom --home {shlex.quote(str(home))} token)"
    asked = (
        f'curl --cacert {shlex.quote(str(ca))} -H "Authorization: Bearer {token}" {door}/v1/images/{example or "ID"}'
    )
    lines = [
        ("Dagster", f"{door}/dagster as {ADMINISTRATOR}, with the password in {passwords_file(home)}"),
        ("MLflow", f"{door}/mlflow as the same, or: darkroom models list"),
        ("Upload service", f"{door}/docs"),
        ("An image's state", asked),
        ("Your own folder", "darkroom send FOLDER"),
        ("See it, stop it", "darkroom status, darkroom logs NAME, darkroom down"),
    ]
    console.print()
    for name, value in lines:
        console.print(f"[bold]{name:<18}[/] {escape(value)}", soft_wrap=True)
