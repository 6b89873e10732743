"""`darkroom labels`: whose labels a model contradicts, who that is, and a person's word on it.

Training notes by itself whom a model contradicts (docs/recognition.md). Here a person looks, and may decide otherwise.
Opening a name is written to HOME/logs/audit.log before the name is shown; nothing is changed without --yes.
"""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from cli.context import current_settings, given_day, output, plainly
from cli.options import Who, Yes, insist_on_why, reason

WITH_VERDICT = "with the verdict"

label_commands = typer.Typer(no_args_is_help=True, help="Whose labels are believed, and whose are not.")

Pseudonym = Annotated[str, typer.Argument(help="The pseudonym; `darkroom labels suspects` shows them.")]
Day = Annotated[str, typer.Option(help="Day of the pseudonym, YYYY-MM-DD.")]
Why = Annotated[str, reason(WITH_VERDICT)]


def register(app: typer.Typer) -> None:
    """Add the group `labels`."""
    app.add_typer(label_commands, name="labels")
    label_commands.command("suspects")(suspects)
    label_commands.command("who")(who_is_it)
    label_commands.command("trust")(trust)
    label_commands.command("distrust")(distrust)


@plainly
def suspects() -> None:
    """The verdicts that stand, by pseudonym and day, newest first; no name is opened."""
    from rich.markup import escape
    from rich.table import Table

    from resources.label_trust import read_verdicts
    from resources.lake import open_lake

    verdicts = sorted(read_verdicts(open_lake(current_settings())).values(), key=lambda one: one.decided_at)
    console = output()
    if not verdicts:
        console.print("Nobody's labels are distrusted.")
        return
    shown = Table("day", "pseudonym", "labels are", "contradicted", "by", "decided (UTC)", "who", "why", box=None)
    for one in reversed(verdicts):
        shown.add_row(
            str(one.uploader.day),
            one.uploader.pseudonym,
            "trusted" if one.trusted else "left out",
            f"{one.contradicted} of {one.rows}" if one.rows else "",
            escape(one.judge),
            f"{one.decided_at:%Y-%m-%d %H:%M:%S}",
            escape(one.who),
            escape(one.why),
        )
    console.print(shown)


@plainly
def who_is_it(
    pseudonym: Pseudonym,
    day: Day,
    why: Annotated[str, typer.Option(help="Why the name is opened; kept in the audit log.")],
    who: Who = None,
) -> None:
    """The name behind a pseudonym, opened from its images' rows. Who asked, when and why is written down first."""
    from resources.audit import audited
    from resources.keys import open_key_store
    from resources.label_trust import uploaders_name
    from resources.lake import open_lake

    if not why.strip():
        raise typer.BadParameter("--why says nothing, and is kept in the audit log: say why the name is opened.")
    settings, when = current_settings(), given_day(day)
    audited(
        settings.audit_log,
        "uploader's name asked for",
        who=who or getpass.getuser(),
        why=why.strip(),
        day=when.isoformat(),
        pseudonym=pseudonym,
    )
    name = uploaders_name(open_lake(settings), open_key_store(settings), when, pseudonym)
    output().print(name, markup=False, soft_wrap=True)


@plainly
def trust(pseudonym: Pseudonym, day: Day, yes: Yes = False, why: Why = "", who: Who = None) -> None:
    """Let an uploader's labels in again, whatever a model says of them. A dry run unless --yes is given."""
    _decide(pseudonym, day, True, yes, why, who)


@plainly
def distrust(pseudonym: Pseudonym, day: Day, yes: Yes = False, why: Why = "", who: Who = None) -> None:
    """Leave an uploader's labels out of the next training set. A dry run unless --yes is given."""
    _decide(pseudonym, day, False, yes, why, who)


def _decide(pseudonym: str, day: str, trusted: bool, yes: bool, why: str, who: str | None) -> None:
    from datetime import UTC, datetime

    from resources.label_trust import Verdict, labels_of, read_verdicts, record
    from resources.lake import open_lake
    from resources.training_set import Uploader

    insist_on_why(yes, why, WITH_VERDICT)
    lake, uploader = open_lake(current_settings()), Uploader(given_day(day), pseudonym)
    labels = labels_of(lake, uploader)
    standing = read_verdicts(lake).get(uploader)
    now = "none" if standing is None else "trusted" if standing.trusted else "left out"
    then = "trusted" if trusted else "left out"
    console = output()
    told = f"Pseudonym {pseudonym} of {uploader.day} has {labels} images; verdict on its labels: {now}"
    if not yes:
        console.print(f"{told}; it would be: {then}.", soft_wrap=True)
        console.print("To do it: the same with --yes --why TEXT", soft_wrap=True)
        return
    decided = Verdict(uploader, trusted, 0, 0, "a person", who or getpass.getuser(), why.strip(), datetime.now(UTC))
    record(lake, [decided])
    console.print(f"{told} before, {then} now. It counts from the next training set on.", soft_wrap=True)
